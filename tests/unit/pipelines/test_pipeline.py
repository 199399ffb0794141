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
from pipelines.recipe import network_recipe
from pipelines.training.network import network_for
from pipelines.training.training_loop import fit
from pipelines.training.training_mix import mix_epoch_rows
from registry.model_contract import image_inputs

PARITY = '''
"""The family of odd and even digits."""
from dataclasses import replace
from pipelines.data import images_of, split_by_hash
from pipelines.builtin.digits import COMPACT
from pipelines.image_pipeline import image_pipeline
from pipelines.pipeline import CARD_KEYS
from pipelines.datasets.optdigits import load_optdigits
from pipelines.image.image_examples import image_examples


def load(folder):
    digits = load_optdigits()
    parity = image_examples(images_of(digits.batch), digits.labels % 2, "parity")
    return split_by_hash(parity, {"train": 0.2, "validation": 0.1, "golden": 0.2})


PIPELINE = image_pipeline(
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
    assert pipeline_names() == ("arabic", "characters", "digits", "parity_test", "strings")
    family = find_pipeline("parity_test")
    recipe, split = network_recipe(family.recipe()), family.load(None)
    network = network_for(family.contract, recipe)
    fitted = fit(network, recipe, mix_epoch_rows(split.train, None, recipe), split.validation, seed=0)
    predictor = TorchEngine(
        build_exportable(fitted.network),
        family.classes,
        *image_inputs(family.contract).size,
    )
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


OWN = PARITY.replace("from pipelines.data import", "from mlplatform.pipeline import").replace("parity_test", "parity")


def test_a_pipeline_is_found_in_a_file_and_nothing_else_is_imported_from_there(tmp_path: Path) -> None:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").write_text("raise RuntimeError('another package of that name')")
    file = tmp_path / "parity.py"
    file.write_text(OWN)
    places = list(sys.path)
    assert find_pipeline(f"{file}:PIPELINE").name == "parity"
    assert sys.path == places


def test_a_pipeline_is_found_by_module_and_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_models.py").write_text(OWN)
    (tmp_path / "acme_broken.py").write_text("raise RuntimeError('imported though nobody named it')")
    packaged = tmp_path / "acme-1.0.dist-info"
    packaged.mkdir()
    (packaged / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    offered = "[mlplatform.pipelines]\nparity = acme_models:PIPELINE\nbroken = acme_broken:PIPELINE\n"
    (packaged / "entry_points.txt").write_text(offered)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_pipeline("acme_models:PIPELINE").name == "parity"
    assert find_pipeline("parity").name == "parity"
    with pytest.raises(
        UnknownPipelineError, match="known: arabic, characters, digits, strings; installed: broken, parity"
    ):
        find_pipeline("letters")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("nowhere.py:PIPELINE", "there is no file .*nowhere.py"),
        ("no_such_package.models:CHURN", "module 'no_such_package.models' cannot be imported"),
        ("no-module:CHURN", "'no-module' is no module's name"),
        ("pipelines.builtin.digits:load_split", "holds no load_split that is a Pipeline, but a function; .*: PIPELINE"),
        ("pipelines.errors:CHURN", "but nothing; pipelines there: none"),
        (":CHURN", "'' is no module's name"),
    ],
)
def test_a_place_without_a_pipeline_is_named_with_what_is_there(name: str, complaint: str) -> None:
    with pytest.raises(UnknownPipelineError, match=complaint):
        find_pipeline(name)


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownPipelineError, match="no recipe 'huge'; known: best, compact, reference"):
        network_recipe(find_pipeline("digits").recipe("huge"))


def test_finding_a_family_imports_no_heavy_library() -> None:
    code = (
        "import sys; from pipelines.discovery import find_pipeline; find_pipeline('digits'); "
        "import pipelines.image.simulated_shift, pipelines.training.training_mix; "
        "import pipelines.evaluation.classification_scores; "
        "print([m for m in ('torch', 'sklearn', 'scipy', 'matplotlib', 'PIL', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
