"""What many tests begin with and takes long to make: made once a run, for all its processes, then copied."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from mlplatform.store.database import Database
from registry.mlflow_server import quiet_environment
from registry.runs import TrackingStore


def artefact(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """The folder that `build` fills, in the run's own folder: the first process that asks makes it, the others wait.

    Nobody changes what is in it: a test that wants to works on a copy. A build that fails is tried anew.
    """
    base = factory.getbasetemp()
    run = base.parent if base.name.startswith("popen-") else base  # processes of pytest-xdist have a folder each
    folder = run / "artefacts" / name  # never moved: MLflow keeps whole paths
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (whole := folder.with_suffix(".whole")).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            whole.touch()
    return folder


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store's file."""

    def build(folder: Path) -> None:
        database = Database(f"sqlite:///{folder / 'platform.db'}")
        database.upgrade()
        database.close()

    return artefact(tmp_path_factory, "store", build) / "platform.db"


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store's file: making its tables takes MLflow seconds."""

    def build(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in quiet_environment().items():
                environment.setenv(name, value)
            TrackingStore(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts")).check()

    return artefact(tmp_path_factory, "mlflow", build) / "mlflow.db"
