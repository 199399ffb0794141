"""A store that is away for a moment is waited for where hours of work depend on it, and nowhere else."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from registry.catalog import Catalog
from registry.errors import RegistryError, RegistryUnavailableError
from registry.mlflow_connection import MlflowConnection, retry_for, retry_while_unavailable
from registry.model_contract import image_classifier
from registry.model_package import TorchFiles
from registry.runs import TrackingStore

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Slept:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


class Flickering(MlflowConnection):
    """A store that is away before, or loses the answers of, so many of the next calls."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.refuses = self.loses = 0

    @contextmanager
    def speaking(self, missing: Callable[[], RegistryError] | None = None) -> Iterator["MlflowClient"]:
        if self.refuses:
            self.refuses -= 1
            raise RegistryUnavailableError("away")
        with super().session(missing) as client:
            yield client
        if self.loses:
            self.loses -= 1
            raise RegistryUnavailableError("the answer was lost")


def test_a_call_is_made_again_until_it_succeeds_or_patience_ends() -> None:
    left, time = [3], Slept()

    @retry_while_unavailable
    def ask() -> str:
        if left[0]:
            left[0] -= 1
            raise RegistryUnavailableError("away")
        return "here"

    with retry_for(60, time.sleep, time):
        assert ask() == "here"
    left[0] = 10**6
    with retry_for(60, time.sleep, time), pytest.raises(RegistryUnavailableError):
        ask()
    assert left[0] < 10**6 - 5
    left[0] = 1
    with pytest.raises(RegistryUnavailableError):
        ask()


def test_other_failures_are_not_repeated() -> None:
    calls: list[int] = []

    @retry_while_unavailable
    def ask() -> None:
        calls.append(1)
        raise RegistryError("refused")

    with retry_for(60), pytest.raises(RegistryError, match="refused"):
        ask()
    assert calls == [1]


def test_a_model_is_logged_and_registered_once_through_outages_and_lost_answers(
    tmp_path: Path, mlflow_template: Path
) -> None:
    shutil.copy(mlflow_template, tmp_path / "mlflow.db")
    tracking, time = TrackingStore(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "artifacts")), Slept()
    tracking.connection = store = Flickering(tracking.uri)
    catalog, module = Catalog(tracking), torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval()
    example = np.zeros((2, 1, 4, 4), np.float32)
    with retry_for(60, time.sleep, time), tracking.start_run("bars", "r") as run:
        store.refuses = 2
        run.log_metrics({"loss": 1.0})
        store.refuses = 3
        uri = run.log_model(
            TorchFiles(module, example, np.zeros((2, 2), np.float32)), ["numpy"], image_classifier(("a", "b"), 4, 4)
        )
        store.loses = 1
        version = catalog.register("bars", uri, run.id)
        store.refuses = 1
        catalog.set_alias("bars", "challenger", version)
    assert [each.version for each in catalog.versions("bars")] == [version]
    assert catalog.alias("bars", "challenger") == version
