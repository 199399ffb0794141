"""No process of the platform speaks to anybody it was not told to, and none leaves a device id with its user."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from mlplatform.context import create_context
from mlplatform.host.processes import ProcessGroup, free_port, http_ok
from mlplatform.operations.local_stack import platform_command
from mlplatform.retraining import retraining_queue
from mlplatform.settings import Settings
from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.edge.export import copy_edge_server
from tests.support.outbound_calls import Outbound, compiled
from tests.support.platform_processes import QUICK, RULES, World, copy_home

KEPT_BY_LIBRARIES = {".cache/matplotlib", ".config/matplotlib"}
"""What matplotlib keeps for itself in the user's home: fonts and settings, no identity."""
OUTSIDE = ("PLATFORM_DATABASE_URL", "PLATFORM_DATA_DIR", "PLATFORM_PIPELINE")


@dataclass(frozen=True)
class Deployment:
    """A trained platform beside its MLflow server, and what is seen of the calls of all its processes."""

    folder: Path
    settings: Settings
    env: Mapping[str, str]
    mlflow: ProcessGroup
    outbound: Outbound


@pytest.fixture(scope="module")
def deployment(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A platform whose every process is watched, with a home of its own for its user, beside an MLflow server."""
    folder = tmp_path_factory.mktemp("watched")
    copy_home(trained, folder / "home")
    (folder / "user").mkdir()
    rules = folder / "alerts.yaml"
    rules.write_text(RULES, encoding="utf-8")
    mlflow_port, outbound = free_port(), compiled(folder)
    settings = Settings(
        _env_file=None, home=folder / "home", alerts_file=rules, mlflow_uri=f"http://127.0.0.1:{mlflow_port}"
    )
    env = {
        **QUICK,
        **outbound.env,
        **dict.fromkeys(OUTSIDE, ""),
        "HOME": str(folder / "user"),
        "PLATFORM_HOME": str(settings.home),
        "PLATFORM_ALERTS_FILE": str(rules),
        "PLATFORM_MLFLOW_URI": settings.mlflow_uri,
        "PLATFORM_MLFLOW_PORT": str(mlflow_port),
        "PLATFORM_RECIPE": "compact",
    }
    unset = ("ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    env |= dict.fromkeys(unset, "")
    with ProcessGroup(folder / "logs", cwd=folder) as mlflow:
        server = mlflow.start("mlflow", platform_command("mlflow"), env)
        mlflow.wait_healthy(server, http_ok(f"{settings.mlflow_uri}/health"), 90)
        yield Deployment(folder, settings, env, mlflow, outbound)


@pytest.fixture
def watched(deployment: Deployment, tmp_path: Path) -> Iterator[World]:
    """The deployment with this test's processes.

    At the end these are stopped: neither they nor MLflow called anybody outside or left a mark in the user's home.
    """
    with ProcessGroup(tmp_path / "logs", cwd=tmp_path) as fleet:
        world = World(deployment.env, fleet, create_context(deployment.settings))
        yield world
        assert all(child.is_running for child in (*fleet.processes, *deployment.mlflow.processes))
        fleet.stop()
    world.context.database.close()
    assert deployment.outbound.calls == []
    assert marks(deployment.folder / "user") == set()


@pytest.fixture
def outbound(tmp_path: Path) -> Outbound:
    return compiled(tmp_path)


def run(world: World, *words: str) -> str:
    """A command of the platform, to its end."""
    done = subprocess.run(
        platform_command(*words), env={**os.environ, **world.env}, capture_output=True, text=True, timeout=240
    )
    assert done.returncode in (0, 1, 10), done.stderr[-3000:]
    return done.stdout


def test_calls_of_python_and_of_native_code_are_seen_and_refused(outbound: Outbound) -> None:
    code = (
        "import ctypes, socket\n"
        "for call in (lambda: socket.getaddrinfo('telemetry.example', 443),\n"
        "             lambda: socket.create_connection(('192.0.2.1', 80), 1)):\n"
        "    try: call()\n"
        "    except OSError: continue\n"
        "    raise SystemExit('it was let through')\n"
        "ctypes.CDLL(None).gethostbyname(b'native.example')\n"
        "with socket.create_server(('127.0.0.1', 0)) as server: socket.create_connection(server.getsockname())\n"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **outbound.env}, check=True, timeout=60)
    assert [line.split(" ", 1)[1] for line in outbound.calls] == [
        "getaddrinfo telemetry.example",
        "connect 192.0.2.1:80",
        "gethostbyname native.example",
    ]


def test_onnx_runtime_by_itself_leaves_a_mark_so_that_its_absence_below_means_something(
    outbound: Outbound, tmp_path: Path
) -> None:
    env = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    env |= {**outbound.env, "HOME": str(tmp_path), "XDG_CACHE_HOME": ""}
    subprocess.run([sys.executable, "-c", "import onnxruntime"], env=env, check=True, timeout=60)
    if not marks(tmp_path):
        pytest.skip("this ONNX Runtime keeps nothing")


def marks(home: Path) -> set[str]:
    """What was left in a user's home besides the caches that hold no identity."""
    found = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    return {path for path in found if path.startswith(".") and not path.startswith(tuple(KEPT_BY_LIBRARIES))}


def test_training_and_mlflow_call_nobody_they_were_not_told_to(watched: World) -> None:
    url = watched.context.settings.mlflow_uri
    assert json.loads(run(watched, "train", "--json"))
    for page in (f"{url}/", f"{url}/ajax-api/3.0/mlflow/ui-telemetry"):
        httpx.get(page, timeout=30)


def test_serving_calls_nobody_it_was_not_told_to(watched: World) -> None:
    api = f"http://127.0.0.1:{free_port()}"
    serve = watched.start("serve", "serve", "--port", api.rpartition(":")[2])
    watched.fleet.wait_healthy(serve, http_ok(f"{api}/readyz"), 90)
    answered = httpx.post(f"{api}/v1/predict", json=digit(), timeout=30).json()["predictions"][0]
    watched.wait("a recorded row", lambda: httpx.get(f"{api}/v1/predictions/{answered['id']}").is_success)
    httpx.get(f"{api}/docs", timeout=30)
    for words in (("status",), ("doctor",)):
        run(watched, *words, "--json")


def test_watching_and_retraining_call_nobody_they_were_not_told_to(watched: World) -> None:
    watched.start("watch", "watch")
    watched.record(200, right=0.2)

    def retrained() -> bool:
        with watched.context.database.read() as connection:
            return any(row.state in ("succeeded", "failed") for row in retraining_queue.recent(connection))

    watched.wait("a retraining in a process of its own", retrained, 240)
    for words in (("check",), ("models", "list")):
        run(watched, *words, "--json")


def test_export_and_edge_call_nobody_they_were_not_told_to(watched: World, tmp_path: Path) -> None:
    exported = tmp_path / "digits.onnx"
    run(watched, "export", "--out", str(exported), "--json")
    run(watched, "export", "--format", "onnx-int8", "--out", str(tmp_path / "small.onnx"), "--json")
    ask_edge(watched, exported, digit(), tmp_path)


def digit() -> dict[str, object]:
    """A request to read one digit."""
    return {"images": [images_of(load_optdigits().batch)[0].tolist()]}


def ask_edge(world: World, model: Path, digit: Mapping[str, object], folder: Path) -> None:
    """The exported model behind the edge server, by the command and as files by themselves on a device."""
    (device := folder / "device").mkdir()
    copy_edge_server(device)
    code = device / "edge.py"
    ports = [str(free_port()), str(free_port())]
    edges = [
        world.start("edge", "edge", "serve", str(model), "--port", ports[0]),
        world.fleet.start("edge-file", [sys.executable, str(code), str(model), "--port", ports[1]], world.env),
    ]
    for child, port in zip(edges, ports, strict=True):
        world.fleet.wait_healthy(child, http_ok(f"http://127.0.0.1:{port}/readyz"), 60)
        told = httpx.post(f"http://127.0.0.1:{port}/v1/predict", content=json.dumps(digit), timeout=30)
        assert told.is_success or told.status_code == 415, told.text
