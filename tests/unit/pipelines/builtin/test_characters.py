"""The family of handwritten characters, on drawn glyphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.builtin.characters import CLASSES, class_by_folder
from pipelines.data import images_of
from pipelines.discovery import find_pipeline
from pipelines.engines.exportable import build_exportable
from pipelines.engines.torch_engine import TorchEngine
from pipelines.errors import CorruptDataError, MissingDataError
from pipelines.evaluation.classification_scores import score_predictions
from pipelines.recipe import network_recipe
from pipelines.training.network import network_for
from pipelines.training.training_loop import fit
from pipelines.training.training_mix import mix_epoch_rows
from registry.model_contract import image_inputs
from tests.support.drawn_data import draw_glyphs


def test_small_letters_and_codes_belong_to_the_capitals_class() -> None:
    places = class_by_folder()
    assert places["a"] == places["A"] == places["61"] == places["41"] == CLASSES.index("A")
    assert places["7"] == places["37"] == 7
    assert set(places.values()) == set(range(36))


def test_without_data_it_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="NIST SD 19"):
        find_pipeline("characters").load(None)
    (tmp_path / "zz").mkdir()
    with pytest.raises(CorruptDataError, match=r"\['zz'\], which are no classes"):
        find_pipeline("characters").load(tmp_path)


@pytest.mark.slow
def test_glyphs_of_both_cases_are_learnt_as_their_classes(tmp_path: Path) -> None:
    draw_glyphs(tmp_path, "0247ABEHKMRabehkmr", 22)
    family = find_pipeline("characters")
    split = family.load(tmp_path)
    assert images_of(split.train.batch)[:, 0].mean() < 10  # bright on dark
    recipe = replace(network_recipe(family.recipe()), epochs=25, batch_size=16)
    network = network_for(family.contract, recipe)
    fitted = fit(network, recipe, mix_epoch_rows(split.train, None, recipe), split.validation, seed=0)
    predictor = TorchEngine(
        build_exportable(fitted.network),
        family.classes,
        *image_inputs(family.contract).size,
    )
    judgement = score_predictions(predictor(split.golden.batch), split.golden.labels, family.classes)
    assert judgement.n > 50
    assert judgement.accuracy >= 0.9
    assert {score.name for score in judgement.per_class if score.n} == set("0247ABEHKMR")
