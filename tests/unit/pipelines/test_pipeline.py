"""Model families and how they are found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipelines.builtin
from pipelines.discovery import find_pipeline, pipeline_names
from pipelines.engines.exportable import build_exportable
from pipelines.engines.torch_engine import TorchEngine
from pipelines.errors import UnknownPipelineError
from pipelines.evaluation.classification_scores import score_predictions
from pipelines.training.network import build_network
from pipelines.training.training_loop import fit
from pipelines.training.training_mix import mix_epoch_rows

PARITY = '''
"""The family of odd and even digits."""
from dataclasses import replace
from pipelines.data import ImageSet, Split, split_by_hash
from pipelines.builtin.digits import COMPACT
from pipelines.pipeline import CARD_KEYS, Pipeline
from pipelines.datasets.optdigits import load_optdigits


def load(folder):
    digits = load_optdigits()
    parity = ImageSet(digits.images, digits.labels % 2, "parity")
    return split_by_hash(parity, {"train": 0.2, "validation": 0.1, "golden": 0.2})


PIPELINE = Pipeline(
    name="parity_test",
    title="Odd or even",
    classes=("even", "odd"),
    height=28,
    width=28,
    recipes={"short": replace(COMPACT, name="short", epochs=4)},
    default_recipe="short",
    load=load,
    card={key: "A test." for key in CARD_KEYS},
)
'''


@pytest.fixture
def families_folder(tmp_path: Path) -> Iterator[Path]:
    """A second folder that family modules may live in."""
    pipelines.builtin.__path__.append(str(tmp_path))
    yield tmp_path
    pipelines.builtin.__path__.remove(str(tmp_path))


def test_a_second_family_is_one_new_file(families_folder: Path) -> None:
    (families_folder / "parity_test.py").write_text(PARITY)
    assert pipeline_names() == ("arabic", "characters", "digits", "parity_test")
    family = find_pipeline("parity_test")
    recipe, split = family.recipe(), family.load(None)
    network = build_network(recipe, len(family.classes), height=family.height, width=family.width)
    fitted = fit(network, recipe, mix_epoch_rows(split.train, None, recipe), split.validation, seed=0)
    predictor = TorchEngine(build_exportable(fitted.network), family.classes, family.height, family.width)
    judgement = score_predictions(predictor(split.golden.batch), split.golden.labels, family.classes)
    assert judgement.accuracy > 0.8
    assert "golden_recall_odd" in judgement.as_metrics("golden")


def test_a_family_module_without_a_family_is_refused(families_folder: Path) -> None:
    (families_folder / "hollow_test.py").write_text("")
    with pytest.raises(UnknownPipelineError, match="holds no PIPELINE"):
        find_pipeline("hollow_test")


@pytest.mark.parametrize("name", ["letters", "", "../digits", "os.path", "digits.x"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownPipelineError, match="known: arabic, characters, digits"):
        find_pipeline(name)


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownPipelineError, match="no recipe 'huge'; known: best, compact, reference"):
        find_pipeline("digits").recipe("huge")


def test_finding_a_family_imports_no_heavy_library() -> None:
    code = (
        "import sys; from pipelines.discovery import find_pipeline; find_pipeline('digits'); "
        "import pipelines.image.simulated_shift, pipelines.training.training_mix; "
        "import pipelines.evaluation.classification_scores; "
        "print([m for m in ('torch', 'sklearn', 'scipy', 'matplotlib', 'PIL', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
