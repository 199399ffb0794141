"""The doctor imports the pipeline that trainings use, in a process of its own, and says what it found."""

from pathlib import Path

import pytest

from mlplatform.context import AppContext, create_context
from mlplatform.errors import SettingsError
from mlplatform.operations.doctor.pipeline_diagnostics import import_pipeline
from mlplatform.operations.scaffold import rules_for
from mlplatform.settings import Settings
from tests.support.diagnostics_world import look

PARTS = """
import sys
print("loading the parts")
from mlplatform.pipeline import CARD_KEYS, image_pipeline

def load(folder):
    raise AssertionError("nothing is loaded to look at a pipeline")

PIPELINE = image_pipeline(
    name="parts", title="Parts", classes=("dent", "good"), height=12, width=12, load=load,
    card={key: "as said" for key in CARD_KEYS}, recipes={"one": object()}, default_recipe="one",
)
"""


def context_of(tmp_path: Path, pipeline: str, model: str = "parts") -> AppContext:
    return create_context(Settings(_env_file=None, home=tmp_path / "home", pipeline=pipeline, model=model))


@pytest.fixture
def parts(tmp_path: Path) -> str:
    (tmp_path / "parts.py").write_text(PARTS)
    return f"{tmp_path / 'parts.py'}:PIPELINE"


def test_a_built_in_pipeline_is_not_imported(deployment: AppContext) -> None:
    assert look(deployment, "pipeline") == [("ok", "digits is built in")]


def test_a_model_that_nothing_here_makes_is_told_of_its_retrainings(deployment: AppContext) -> None:
    adopted = deployment.replace(settings=deployment.settings.model_copy(update={"model": "leavers"}))
    adopted.settings.alerts_file.write_text(rules_for("leavers", "table"))
    [(mark, text)] = look(adopted, "pipeline")
    assert mark == "problem"
    assert "nothing here makes versions of leavers" in text
    assert "the retrainings that accuracy-drop ask for will fail: write `action: none`" in text

    adopted.settings.alerts_file.write_text(rules_for("leavers", "table", retrains=False))
    rewritten = adopted.replace(settings=adopted.settings)
    [(mark, text)] = look(rewritten, "pipeline")
    assert mark == "note"
    assert text.endswith("An adopted model is served and watched without")


def test_a_pipeline_of_ones_own_is_imported_elsewhere_and_its_output_harms_nothing(tmp_path: Path, parts: str) -> None:
    found = look(context_of(tmp_path, parts), "pipeline")
    assert [mark for mark, _ in found] == ["ok"]
    assert "was imported in" in found[0][1]


def test_a_pipeline_that_makes_another_model_is_a_problem(tmp_path: Path, parts: str) -> None:
    assert look(context_of(tmp_path, parts, "valves"), "pipeline")[1] == (
        "problem",
        f"{parts} makes versions of parts, and valves is served and watched; set PLATFORM_MODEL=parts",
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("import no_such_package\n", "No module named 'no_such_package'"),
        ("raise SystemExit(3)\n", "exit code 3"),
        ("PIPELINE = 3\n", "holds no PIPELINE that is a Pipeline, but a int"),
        ("import os\nos._exit(4)\n", "exit code 4"),
    ],
)
def test_what_cannot_be_imported_is_said_with_its_reason(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "broken.py").write_text(content)
    with pytest.raises(SettingsError, match="cannot be imported") as raised:
        import_pipeline(f"{tmp_path / 'broken.py'}:PIPELINE")
    assert said in str(raised.value)


def test_an_import_that_does_not_end_is_ended(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(600)\n")
    with pytest.raises(SettingsError, match="keep work out of its module's level"):
        import_pipeline(f"{tmp_path / 'slow.py'}:PIPELINE", seconds=4.0)


def test_classes_and_inputs_that_are_not_the_champions_are_said(deployment: AppContext, tmp_path: Path) -> None:
    changed = PARTS.replace('"parts", title', '"digits", title').replace('("dent", "good")', '("0", "dent")')
    (tmp_path / "digits.py").write_text(changed)
    settings = deployment.settings.model_copy(
        update={"pipeline": f"{tmp_path / 'digits.py'}:PIPELINE", "model": "digits"}
    )
    context = AppContext(settings, deployment.clock, catalog=deployment.catalog, database=deployment.database)
    imported, inputs, classes = look(context, "pipeline")
    assert imported[0] == "ok"
    assert inputs[0] == "problem"
    assert "inputs are not those of the champion" in inputs[1]
    assert classes == (
        "note",
        (
            "since the champion the pipeline has gained dent and lost 1, 2, 3, 4, 5, 6, 7, 8, 9; a person promotes the "
            "first such version"
        ),
    )
