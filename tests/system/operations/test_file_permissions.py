"""Whatever the umask and whoever made the home before: nobody but its owner reads what the platform keeps."""

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mlplatform.host.processes import free_port, http_ok
from mlplatform.operations.local_stack import platform_command
from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.image.grey_png import encode_png
from tests.support.platform_processes import World


def open_paths(home: Path) -> list[str]:
    """What others may use below a home, links not followed."""
    modes = {path: path.lstat().st_mode for path in (home, *home.rglob("*")) if not path.is_symlink()}
    return [f"{path.relative_to(home)} {mode & 0o777:o}" for path, mode in modes.items() if mode & 0o077]


def test_a_training_leaves_files_for_their_owner_alone(trained: Path) -> None:
    assert open_paths(trained) == []


@pytest.fixture
def careless(world: World) -> Iterator[World]:
    """A platform whose home is open to everybody, started by the most careless parent."""
    home = world.context.settings.home
    for path in (home, *home.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    before = os.umask(0)
    try:
        yield world
    finally:
        os.umask(before)


def assert_private(world: World, *names: str) -> None:
    """Nobody else may use what is in the home, which holds these names."""
    home = world.context.settings.home
    assert open_paths(home) == []
    assert set(names) <= {path.name for path in home.iterdir()}


def test_the_mlflow_server_repairs_a_home_and_an_export_keeps_it_private(careless: World) -> None:
    port = free_port()
    careless.start("mlflow", "mlflow", PLATFORM_MLFLOW_PORT=str(port))
    careless.wait("MLflow", http_ok(f"http://127.0.0.1:{port}/health"))
    home, env = careless.context.settings.home, {**os.environ, **careless.env}
    subprocess.run(platform_command("export"), env=env, cwd=home, check=True, capture_output=True, timeout=120)
    assert_private(careless, "platform.db", "mlflow.db", "artifacts")


def test_serving_and_watching_repair_a_home_and_keep_it_private(careless: World) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    careless.start("api", "serve", "--port", str(port))
    careless.start("watcher", "watch")
    careless.wait("the model", http_ok(f"{url}/readyz"))
    image = base64.b64encode(encode_png(images_of(load_optdigits().batch)[0])).decode()
    made = httpx.post(f"{url}/v1/predict", json={"images": [image]}).raise_for_status().json()
    label = {"prediction_id": made["predictions"][0]["id"], "label": "3", "source": "audit", "reviewer": "ann"}
    httpx.post(f"{url}/v1/feedback", json=label).raise_for_status()
    env = {**os.environ, **careless.env}
    subprocess.run(platform_command("audit", "anchor"), env=env, check=True, capture_output=True, timeout=60)
    assert_private(careless, "platform.db", "mlflow.db", "artifacts", "spool", "models", "audit-anchors.jsonl")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_spool_of_another_user_is_not_taken_over(world: World) -> None:
    spool = world.context.settings.spool_folder
    (spool / "stranger-1").mkdir(parents=True)
    os.chown(spool / "stranger-1", 12345, 12345)
    env = {**os.environ, **world.env, "PLATFORM_PORT": "0"}
    done = subprocess.run(platform_command("serve"), env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "belongs to user 12345" in done.stderr
    shutil.rmtree(spool)
