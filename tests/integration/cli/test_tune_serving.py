"""`platform tune-serving` measures the champion on this host, keeps the result, and forgets it when told."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.predictions import compute_configs
from mlplatform.settings import Settings
from pipelines.engines.onnx_engine import export_onnx
from registry.catalog import CHAMPION
from registry.model_contract import image_classifier
from registry.model_package import TorchFiles
from tests.support.api_server import CLASSES, module
from tests.support.command_line import Command


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: AppContext) -> AppContext:
    """A deployment whose champion reads digits, on both engines."""
    monkeypatch.setenv("PLATFORM_MLFLOW_URI", f"sqlite:///{tmp_path / 'own.db'}")
    monkeypatch.setenv("PLATFORM_BASELINE_CALLS", "20")
    context = AppContext(Settings(), database=store.database)
    made = module(3)
    with context.tracking.start_run("digits", "tiny") as run:
        example = np.zeros((2, 1, 28, 28), np.float32)
        answers = np.zeros((2, 10), np.float32)
        uri = run.log_model(
            TorchFiles(made, example, answers, export_onnx(made)), ["numpy"], image_classifier(CLASSES, 28, 28)
        )
    context.catalog.set_alias("digits", CHAMPION, context.catalog.register("digits", uri, run.id))
    return context


@pytest.mark.slow
def test_before_and_after_are_shown_kept_and_forgotten(platform: Command, digits: AppContext) -> None:
    said = platform("tune-serving", "--json")
    assert said.code == 0
    told = said.json
    assert told["before"]["engine"] == "onnx"
    assert {each["engine"] for each in told["tried"]} == {"onnx", "torch"}
    with digits.database.read() as connection:
        kept = compute_configs.find(connection, "digits", told["host_class"])
        assert audit_entries.recent_entries(connection, limit=1)[0]["action"] == "tune-serving"
    assert kept is not None
    assert kept.run_id == told["run_id"] != ""
    assert '"before"' in str(digits.tracking.read_text(told["run_id"], "tuning.json"))
    assert platform("tune-serving", "--forget", "--json").json["forgotten"] is True
    assert platform("tune-serving", "--forget").out.startswith("nothing was tuned on ")


@pytest.mark.slow
def test_the_table_says_each_plan_in_words(platform: Command, digits: AppContext) -> None:
    out = platform("tune-serving").out
    assert "onnx on cpu, 1 thread(s)" in out
    assert "plans were measured" in out


def test_without_a_champion_the_error_says_so(
    platform: Command, mlflow_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(mlflow_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("PLATFORM_MLFLOW_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    said = platform("tune-serving")
    assert said.code != 0
    assert "No version of 'digits' is champion" in said.err
