"""A platform of real processes for the fault tests: one trained home, copied for each test."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import make_url

from mlplatform.clock import utc_now
from mlplatform.context import AppContext, create_context
from mlplatform.feedback import label_records
from mlplatform.host.processes import ManagedProcess, ProcessGroup
from mlplatform.ids import uuid7
from mlplatform.operations.local_stack import platform_command
from mlplatform.operations.operator_actions import promote_version
from mlplatform.predictions import prediction_records
from mlplatform.settings import Settings
from mlplatform.store import prediction
from pipelines.data import content_hash, image_row, images_of
from pipelines.datasets.optdigits import load_optdigits
from tests.support.artefacts import artefact
from tests.support.platform_world import POSTGRES, schema_of_its_own
from tests.support.tcp_proxy import TcpProxy

RULES = """\
version: 1
model: digits
schedule: {every: 1s}
retraining: {cooldown: 0s, daily_cap: 10, min_feedback: 10}
channels:
  events: {type: webhook, url: "${PLATFORM_WEBHOOK_URL:-}", secret: "${PLATFORM_WEBHOOK_SECRET:-}"}
rules:
  - {name: accuracy-drop, metric: accuracy_drop, above: 0.5 points, window: 1h, min_samples: 50, severity: critical,
      action: retrain, notify: [events]}
  - {name: latency, metric: latency_ratio, above: 50 x, window: 1h, min_samples: 200, action: none}
"""
QUICK = {
    "PLATFORM_POLL_SECONDS": "0.2",
    "PLATFORM_LEASE_SECONDS": "2",
    "PLATFORM_HEARTBEAT_SECONDS": "0.5",
    "PLATFORM_ABANDONED_SECONDS": "6",
    "PLATFORM_BASELINE_CALLS": "40",
    "PLATFORM_LOG_LEVEL": "info",
    "PLATFORM_ALLOWED_RECEIVERS": '["127.0.0.1"]',
}

WATCHER = Path(__file__).with_name("watcher_process.py")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with version 1 trained and champion; later tests copy its databases."""

    def build(home: Path) -> None:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORM_")}
        env = {**outside, **QUICK, "PLATFORM_HOME": str(home), "PLATFORM_RECIPE": "compact"}
        subprocess.run(platform_command("train", "--json"), env=env, cwd=home.parent, check=True, capture_output=True)

    return artefact(tmp_path_factory, "trained", build)


def copy_home(trained: Path, home: Path) -> None:
    """A home for one test that begins as the trained one."""
    home.mkdir()
    for name in ("platform.db", "mlflow.db"):
        shutil.copy(trained / name, home / name)
    shutil.copytree(trained / "artifacts", home / "artifacts")


@dataclass
class World:
    """One platform: its settings as environment, its processes, and a view into its store."""

    env: Mapping[str, str]
    fleet: ProcessGroup
    context: AppContext
    used: int = field(default=0)

    def start(self, name: str, *words: str, **env: str) -> ManagedProcess:
        """Start a command of the platform."""
        return self.fleet.start(name, platform_command(*words), {**self.env, **env})

    def start_watcher(self, name: str, *words: str, **env: str) -> ManagedProcess:
        """Start a watcher that draws nothing by Evidently, for tests of what watchers decide and share.

        With COPIES its retrainings copy the champion instead of training.
        """
        return self.fleet.start(name, [sys.executable, "-P", str(WATCHER), *words], {**self.env, **env})

    def kill(self, child: ManagedProcess) -> None:
        """kill -9, that process alone."""
        os.kill(child.process.pid, signal.SIGKILL)
        child.process.wait()
        self.fleet.processes.remove(child)

    def wait(self, what: str, happened: Callable[[], bool], seconds: float = 90.0) -> None:
        """Wait until it happens, or fail with the logs."""
        deadline = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in self.fleet.logs.glob("*"))
                pytest.fail(f"{what} did not happen within {seconds:g} s\n{logs}")
            time.sleep(0.1)

    def record(self, rows: int, *, right: float) -> list[str]:
        """Write predictions of real digits with audit labels; a share of them right. Returns their ids."""
        digits = load_optdigits()
        chosen = range(self.used, self.used + rows)
        self.used += rows
        rng = np.random.default_rng(self.used)
        now, made, labels = utc_now(), [], []
        for index in chosen:
            image, truth = images_of(digits.batch)[index % len(digits)], int(digits.labels[index % len(digits)])
            said = truth if rng.random() < right else (truth + 1) % 10
            row = prediction.PredictionRecord(
                uuid7(), now, "digits", 1, content_hash(image), str(said), [0.1] * 10, 0.5, 2.0, "r", "c"
            )
            made.append(prediction_records.PredictionWithInput(row, image_row(image)))
            labels.append(label_records.SubmittedLabel(row.id, str(truth), "audit", "test", now))
        with self.context.database.write() as connection:
            prediction_records.insert_predictions(connection, made)
            label_records.insert_labels(connection, labels, now)
        return [row.prediction.id for row in made]


@pytest.fixture
def world(trained: Path, tmp_path: Path) -> Iterator[World]:
    """A platform on SQLite whose champion is the trained version 1."""
    home = tmp_path / "home"
    copy_home(trained, home)
    rules = tmp_path / "alerts.yaml"
    rules.write_text(RULES, encoding="utf-8")
    settings = Settings(_env_file=None, home=home, alerts_file=rules)
    env = {**QUICK, "PLATFORM_HOME": str(home), "PLATFORM_ALERTS_FILE": str(rules)}
    env |= dict.fromkeys(("PLATFORM_DATABASE_URL", "PLATFORM_MLFLOW_URI", "PLATFORM_DATA_DIR", "PLATFORM_PIPELINE"), "")
    context = create_context(settings)
    with ProcessGroup(tmp_path / "logs", cwd=tmp_path) as fleet:
        yield World(env, fleet, context)
    context.database.close()


def stop(pid: int) -> None:
    """Stop a process and wait until each of its threads stands.

    The call returns before that: a thread that goes on for a moment may take a lock that was free when looked at.
    """
    os.kill(pid, signal.SIGSTOP)
    while any(state != "T" for state in thread_states(pid)):
        time.sleep(0.001)


def thread_states(pid: int) -> list[str]:
    states = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            states.append((thread / "stat").read_text().rpartition(")")[2].split()[0])
    return states


@contextmanager
def behind_a_door(world: World) -> Iterator[tuple[World, TcpProxy]]:
    """The platform on PostgreSQL; its processes reach it through a door, the test itself does not."""
    settings = world.context.settings
    with schema_of_its_own() as url:
        target = make_url(POSTGRES)
        proxy = TcpProxy(target.host or "127.0.0.1", target.port or 5432)
        through = make_url(url).set(host="127.0.0.1", port=proxy.local_port).render_as_string(hide_password=False)
        context = create_context(settings.model_copy(update={"database_url": url}))
        try:
            promote_version(context, 1, "moved to PostgreSQL", "test", force=True)
            yield World({**world.env, "PLATFORM_DATABASE_URL": through}, world.fleet, context), proxy
        finally:
            world.fleet.stop()
            proxy.close()
            context.database.close()


@contextmanager
def on_postgres(world: World) -> Iterator[World]:
    """The same platform with its store in a schema of its own, where version 1 is champion too."""
    settings = world.context.settings
    with schema_of_its_own() as url:
        context = create_context(settings.model_copy(update={"database_url": url}))
        try:
            promote_version(context, 1, "moved to PostgreSQL", "test", force=True)
            yield World({**world.env, "PLATFORM_DATABASE_URL": url}, world.fleet, context)
        finally:
            world.fleet.stop()
            context.database.close()


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process that is not our child ends (a zombie nobody collects counts as ended)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False
