"""Attacks, robustness numbers, and the cuts of an exported graph that they need."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.data import images_of
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.graph_split import logits_module, split_at_last_conv
from pipelines.engines.torch_engine import TorchEngine, load_torch_engine, to_tensor
from pipelines.errors import DataError, ModelFormatError
from pipelines.evaluation.adversarial import count_correct, fgsm, pgd
from pipelines.evaluation.robustness import adversarial_robustness, corruption_robustness, quick_robustness
from pipelines.training.network import build_network
from pipelines.training.training_loop import fit
from tests.support.bars import TINY, draw_bars

CLASSES = ("upright", "lying")
ROWS = draw_bars(60, 5)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    made = build_network(TINY, 2, height=12, width=12, seed=1)
    return fit(made, TINY, draw_bars(200, 1), draw_bars(40, 2), seed=1).network


@pytest.fixture(scope="module")
def served(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    path = tmp_path_factory.mktemp("served") / "model.pt2"
    save_exportable(build_exportable(network, height=12, width=12, temperature=1.7), path)
    return load_torch_engine(path, CLASSES)


def test_the_logits_of_an_exported_graph_are_the_networks_over_the_temperature(
    network: nn.Module, served: TorchEngine
) -> None:
    images = to_tensor(images_of(ROWS.batch))
    with torch.inference_mode():
        wanted = network(images) / 1.7
        assert torch.allclose(logits_module(served.module)(images), wanted, atol=1e-5)
        cut = split_at_last_conv(served.module)
        assert torch.allclose(cut(images), wanted, atol=1e-5)
        assert cut.body(images).shape == (60, TINY.channels[1], 6, 6)
        assert bool((cut.body(images) >= 0).all())


def test_a_module_without_a_graph_or_a_convolution_is_refused() -> None:
    with pytest.raises(ModelFormatError, match="no graph to cut"):
        logits_module(nn.Flatten())
    flat = build_exportable(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), height=8, width=8)
    assert logits_module(flat)(torch.zeros((3, 1, 8, 8))).shape == (3, 2)
    with pytest.raises(ModelFormatError, match="no convolution"):
        split_at_last_conv(flat)


def test_an_attack_stays_within_epsilon_and_within_the_range(served: TorchEngine) -> None:
    logits, images, labels = (
        logits_module(served.module),
        to_tensor(images_of(ROWS.batch)),
        torch.from_numpy(ROWS.labels),
    )
    for changed in (fgsm(logits, images, labels, 0.1), pgd(logits, images, labels, 0.1, steps=5)):
        assert float((changed - images).abs().max()) <= 0.1 + 1e-6
        assert 0 <= float(changed.min()) <= float(changed.max()) <= 1


def test_many_small_steps_fool_more_than_one_large_one_and_epsilon_zero_fools_nobody(served: TorchEngine) -> None:
    logits, labels = logits_module(served.module), torch.from_numpy(ROWS.labels)
    clean = count_correct(logits, to_tensor(images_of(ROWS.batch)), labels)
    found = {(each.kind, each.level): each.correct for each in adversarial_robustness(logits, ROWS, (0.0, 0.2, 0.4))}
    assert found["fgsm", 0.0] == found["pgd", 0.0] == clean
    assert found["pgd", 0.2] <= found["fgsm", 0.2] < clean
    assert found["pgd", 0.4] < found["pgd", 0.2] or found["pgd", 0.2] == 0


def test_an_epsilon_that_is_no_share_is_refused(served: TorchEngine) -> None:
    with pytest.raises(DataError, match="epsilon is 8"):
        fgsm(logits_module(served.module), to_tensor(images_of(ROWS.batch)), torch.from_numpy(ROWS.labels), 8.0)


def test_what_a_run_looks_at_has_stable_names_and_counts_all_rows(served: TorchEngine) -> None:
    found = quick_robustness(served, ROWS)
    names = [each.metric_name for each in found]
    assert len(set(names)) == len(names)
    assert {"noise_1", "rotation_3", "thin_strokes_3", "fgsm_0p1", "pgd_0p05"} <= set(names)
    assert all(each.rows == 60 and 0 <= each.correct <= 60 for each in found)
    clean = int((served(ROWS.batch).argmax(axis=1) == ROWS.labels).sum())
    assert np.mean([each.correct for each in corruption_robustness(served, ROWS, (3,))]) < clean
