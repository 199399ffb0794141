"""The family of Eastern-Arabic digits."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.discovery import find_pipeline
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.torch_engine import load_torch_engine
from pipelines.errors import MissingDataError
from pipelines.evaluation.classification_scores import score_predictions
from pipelines.recipe import network_recipe
from pipelines.training.network import build_network, network_for, parameter_count
from pipelines.training.training_loop import fit
from pipelines.training.training_mix import mix_epoch_rows
from registry.model_contract import image_inputs

MADBASE = Path(os.environ.get("PLATFORM_TEST_MNIST_DIR", "")).parent / "madbase"
has_madbase = pytest.mark.skipif(
    "PLATFORM_TEST_MNIST_DIR" not in os.environ or not MADBASE.is_dir(),
    reason="no madbase folder beside PLATFORM_TEST_MNIST_DIR",
)


def test_its_network_is_deeper_and_reads_larger_pictures() -> None:
    family = find_pipeline("arabic")
    assert (*image_inputs(family.contract).size, len(family.classes)) == (
        48,
        48,
        10,
    )
    layers = [
        str(layer) for layer in build_network(network_recipe(family.recipe()), 10, height=48, width=48).children()
    ]
    assert sum(layer.startswith("Conv2d") for layer in layers) == 8
    assert parameter_count(build_network(network_recipe(family.recipe()), 10, height=48, width=48)) < 200_000


def test_without_data_it_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"MADBase.*PLATFORM_DATA_DIR"):
        find_pipeline("arabic").load(None)
    with pytest.raises(MissingDataError, match="holds no pair"):
        find_pipeline("arabic").load(tmp_path)


@pytest.mark.slow
@has_madbase
def test_madbase_is_learnt_and_read_from_the_registered_file(tmp_path: Path) -> None:
    family = find_pipeline("arabic")
    split = family.load(MADBASE)
    assert len(split.golden) > 1_300
    recipe = replace(network_recipe(family.recipe()), epochs=3, max_train_rows=1_500)
    network = network_for(family.contract, recipe)
    validation = split.validation.take(range(200))
    fitted = fit(network, recipe, mix_epoch_rows(split.train, None, recipe), validation, seed=0)
    save_exportable(build_exportable(fitted.network, height=48, width=48), tmp_path / "model.pt2")
    golden = split.golden.take(range(400))
    judgement = score_predictions(
        load_torch_engine(tmp_path / "model.pt2", family.classes)(golden.batch), golden.labels, family.classes
    )
    assert judgement.accuracy >= 0.95
