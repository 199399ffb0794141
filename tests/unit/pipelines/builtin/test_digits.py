"""The family of handwritten digits."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.datasets.qmnist import has_writers
from pipelines.discovery import find_pipeline
from pipelines.engines.exportable import build_exportable
from pipelines.engines.torch_engine import TorchEngine
from pipelines.errors import MissingDataError
from pipelines.evaluation.classification_scores import score_predictions
from pipelines.recipe import network_recipe
from pipelines.training.network import build_network
from pipelines.training.training_loop import fit
from pipelines.training.training_mix import mix_epoch_rows
from registry.model_contract import image_inputs

SIDES = ("train", "validation", "golden", "stream")


def test_the_bundled_digits_are_split_without_overlap() -> None:
    split = find_pipeline("digits").load(None)
    sizes = [len(getattr(split, side)) for side in SIDES]
    assert sum(sizes) == 1797
    assert sizes[3] >= 640
    assert len(set().union(*(getattr(split, side).ids for side in SIDES))) == 1797


def test_the_golden_set_is_frozen() -> None:
    assert (
        find_pipeline("digits").load(None).golden.digest
        == "c57c674d9f088b0dd8c6ffaee82b0935cb4e854faa72ea6959b7b2c7be156f93"
    )


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="platform data fetch mnist"):
        find_pipeline("digits").load(tmp_path)


@pytest.mark.skipif("PLATFORM_TEST_MNIST_DIR" not in os.environ, reason="PLATFORM_TEST_MNIST_DIR names no MNIST folder")
def test_mnist_keeps_its_two_files_apart() -> None:
    split = find_pipeline("digits").load(Path(os.environ["PLATFORM_TEST_MNIST_DIR"]))
    assert len(split.train) + len(split.validation) == 60_000
    assert len(split.golden) + len(split.stream) == 10_000
    assert 2_800 < len(split.golden) < 3_200
    assert not set(split.stream.ids) & set(split.train.ids)


@pytest.mark.skipif("PLATFORM_TEST_MNIST_DIR" not in os.environ, reason="PLATFORM_TEST_MNIST_DIR names no MNIST folder")
def test_mnist_with_its_writers_keeps_every_hand_on_one_side(tmp_path: Path) -> None:
    mnist = Path(os.environ["PLATFORM_TEST_MNIST_DIR"])
    labels = mnist.parent / "qmnist-labels"
    if not has_writers(labels):
        pytest.skip(f"{labels} holds no extended labels of QMNIST")
    for folder in (mnist, labels):
        for path in folder.iterdir():
            (tmp_path / path.name).symlink_to(path)
    split = find_pipeline("digits").load(tmp_path)
    hands = [set(getattr(split, side).groups) for side in SIDES]
    assert all(hands)
    assert sum(len(each) for each in hands) == len(set().union(*hands))
    assert 1_500 < len(split.validation) < 4_500


@pytest.mark.slow
@pytest.mark.skipif("PLATFORM_TEST_MNIST_DIR" not in os.environ, reason="PLATFORM_TEST_MNIST_DIR names no MNIST folder")
def test_one_epoch_of_the_best_recipe_on_a_part_of_mnist_reads_90_percent() -> None:
    """Two thousand images, judged on a thousand it has not seen. Without bfloat16 in the processor each costs 25 ms."""
    family = find_pipeline("digits")
    split = family.load(Path(os.environ["PLATFORM_TEST_MNIST_DIR"]))
    recipe = replace(
        network_recipe(family.recipe("best")), epochs=1, max_train_rows=2_000, batch_size=32, averaging=0.0, threads=1
    )
    network = build_network(recipe, len(family.classes), seed=0)
    validation, unseen = split.validation.take(range(200)), split.golden.take(range(1_000))
    fitted = fit(network, recipe, mix_epoch_rows(split.train, None, recipe), validation, seed=0)
    predictor = TorchEngine(
        build_exportable(fitted.network),
        family.classes,
        *image_inputs(family.contract).size,
    )
    judgement = score_predictions(predictor(unseen.batch), unseen.labels, family.classes)
    assert judgement.accuracy >= 0.90
