"""A deployment of its own per test, as a person at a terminal has it: a folder, an environment, commands."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.core import TyperGroup
from typer.testing import CliRunner

from mlplatform.cli import app, exit_code
from mlplatform.context import AppContext
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from mlplatform.settings import Settings
from registry.catalog import Catalog
from registry.mlflow_server import quiet_environment
from registry.model_contract import image_classifier
from registry.model_package import TorchFiles
from registry.runs import TrackingStore
from tests.support.artefacts import artefact
from tests.support.monitoring_world import RULES

NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Said:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON is any of its types
        """The output, which must be one JSON value."""
        return json.loads(self.out)


Command = Callable[..., Said]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new folder with rules, no registry, and none of this machine's settings."""
    for name in [name for name in os.environ if name.startswith("PLATFORM_")]:
        monkeypatch.delenv(name)
    for name, value in quiet_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PLATFORM_MLFLOW_URI", NOWHERE)
    monkeypatch.setenv("PLATFORM_ALLOWED_RECEIVERS", '["127.0.0.1"]')
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "alerts.yaml").write_text(RULES, encoding="utf-8")


@pytest.fixture
def platform() -> Command:
    """Runs a command in this process, known errors turned into exit codes as `main` does."""

    def run(*words: str) -> Said:
        result = CliRunner().invoke(app, list(words))
        error = result.exception
        if error is None or isinstance(error, SystemExit):
            return Said(result.exit_code, result.stdout, result.stderr)
        code = exit_code(error) if isinstance(error, Exception) else None
        if code is None:
            raise error
        return Said(code, result.stdout, str(error))

    return run


@pytest.fixture
def store(tmp_path: Path, sqlite_template: Path) -> Iterator[AppContext]:
    """The context of the deployment, its database filled in."""
    (tmp_path / "home").mkdir()
    shutil.copy(sqlite_template, tmp_path / "home" / "platform.db")
    context = AppContext(Settings())
    yield context
    context.database.close()


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Path:
    """An MLflow database with two versions of the digits: the gate passed the first, not the second."""

    def build(folder: Path) -> None:
        import torch

        shutil.copy(mlflow_template, folder / "mlflow.db")
        with pytest.MonkeyPatch.context() as environment:
            for name, value in quiet_environment().items():
                environment.setenv(name, value)
            tracking = TrackingStore(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"))
            catalog = Catalog(tracking)
            torch.manual_seed(0)
            module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2), torch.nn.Softmax(1)).eval()
            with tracking.start_run("digits", "tiny") as run:
                run.log_text("model_card.md", "# digits, the whole card\n")
                example = np.zeros((2, 1, 4, 4), np.float32)
                uri = run.log_model(
                    TorchFiles(module, example, np.zeros((2, 2), np.float32)),
                    ["numpy"],
                    image_classifier(("a", "b"), 4, 4),
                )
            for gate in ("promote", "keep"):
                tags = {"gate": gate, "golden_correct": "99", "golden_total": "100"}
                catalog.register("digits", uri, run.id, tags, f"card of a version to {gate}")

    return artefact(tmp_path_factory, "mlflow-two-versions", build) / "mlflow.db"


@pytest.fixture
def registry(tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, store: AppContext) -> AppContext:
    """The deployment with a registry of its own, version 1 champion."""
    shutil.copy(mlflow_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("PLATFORM_MLFLOW_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    context = AppContext(Settings(), database=store.database)
    promotion_service(context).promote(PromotionRequest("digits", 1, None, "first", "test", "because"))
    return context


def commands(group: TyperGroup, before: str = "platform") -> list[str]:
    """Every visible command in full."""
    names = []
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            names += commands(command, f"{before} {name}")
        elif not command.hidden:
            names.append(f"{before} {name}")
    return names
