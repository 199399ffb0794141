"""A tiny torch model, a SQLite store and a live MLflow server for the registry's tests."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from registry.catalog import Catalog
from registry.mlflow_server import quiet_environment, server_command, store_environment
from registry.model_contract import image_classifier
from registry.model_package import TorchFiles
from registry.runs import TrackingStore

CONTRACT = image_classifier(("even", "odd"), 4, 4)
START_SECONDS = 120.0


@dataclass(frozen=True)
class Logged:
    """A model logged in a finished run."""

    uri: str
    run_id: str


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in quiet_environment().items():
            environment.setenv(name, value)
        torch.set_num_threads(1)
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Path:
    """The folder that direct clients and the server share."""
    made = tmp_path_factory.mktemp("store")
    shutil.copy(mlflow_template, made / "mlflow.db")
    return made


@pytest.fixture(scope="session")
def tracking(folder: Path) -> TrackingStore:
    return TrackingStore(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts"))


@pytest.fixture(scope="session")
def catalog(tracking: TrackingStore) -> Catalog:
    return Catalog(tracking)


@pytest.fixture(scope="session")
def logged(tracking: TrackingStore) -> Logged:
    return log_tiny_model(tracking)


@pytest.fixture(scope="session")
def server(tracking: TrackingStore, folder: Path) -> Iterator[str]:
    """The address of an MLflow server over the same database and the same artifact folder."""
    tracking.check()
    port = free_port()
    command = server_command("127.0.0.1", port, (folder / "artifacts").as_uri())
    address = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **quiet_environment(), **store_environment(tracking.uri)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until_healthy(address, process, folder / "server.log")
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait(10)


def tiny_module() -> torch.nn.Module:
    torch.manual_seed(7)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2), torch.nn.Softmax(1)).eval()


def log_tiny_model(tracking: TrackingStore, experiment: str = "tiny", onnx: bytes | None = None) -> Logged:
    with tracking.start_run(experiment, "tiny model") as run:
        images = np.zeros((2, 1, 4, 4), np.float32)
        answers = np.zeros((2, 2), np.float32)
        uri = run.log_model(TorchFiles(tiny_module(), images, answers, onnx), ["torch==2.13.0", "numpy"], CONTRACT)
    return Logged(uri, run.id)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_healthy(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"The MLflow server did not become healthy:\n{log.read_text()}")
