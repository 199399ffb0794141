"""A platform around `examples/churn`: its rows, its settings in the environment, its first version."""

from __future__ import annotations

import random
import runpy
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

from mlplatform.context import AppContext, create_context
from mlplatform.host.processes import ProcessGroup
from mlplatform.retraining.training_pipeline import training_pipeline
from mlplatform.retraining.worker import training_worker
from mlplatform.settings import Settings, load_settings
from tests.support.artefacts import artefact
from tests.support.platform_processes import QUICK, World, copy_home

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "churn"
PIPELINE: Final = f"{EXAMPLE / 'churn.py'}:PIPELINE"
COLUMNS: Final = ("age", "income", "balance", "plan", "region")
RULES: Final = """\
version: 1
model: churn
schedule: {every: 1s}
retraining: {cooldown: 0s, daily_cap: 10, min_feedback: 50}
rules:
  - {name: accuracy-drop, metric: accuracy_drop, above: 2 points, window: 1h, min_samples: 100, severity: critical,
      mature: 0s, action: retrain}
  - {name: unknown-categories, metric: column_unseen, above: 1 points, window: 1h, min_samples: 100, action: none}
"""


def make_customers(count: int, first: str, last: str, seed: int = 0) -> pd.DataFrame:
    """Customers of the example between two days."""
    made = runpy.run_path(str(EXAMPLE / "make_customers.py"))["make_customers"]
    frame: pd.DataFrame = made(count, pd.Timestamp(first), pd.Timestamp(last), seed)
    return frame


def as_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The customers as rows of a request: null where a value is missing."""
    columns = frame[list(COLUMNS)].astype(object)
    return [dict(row) for row in columns.where(columns.notna(), None).to_dict("records")]


def draw_rows(chance: random.Random, count: int) -> dict[str, object]:
    """So many rows of a request that nobody sent before, with missing values, plans unknown and ages out of range."""
    rows = [
        {
            "age": chance.randrange(18, 140),
            "income": chance.choice((None, round(chance.lognormvariate(8, 0.4), 2))),
            "balance": round(chance.gauss(300, 900), 2),
            "plan": chance.choice(("basic", "silver", "gold", "platinum", None)),
            "region": chance.choice(("north", "south", "east", "west")),
        }
        for _ in range(count)
    ]
    names = [f"customer {chance.randrange(10**12)}" for _ in rows]
    return {"rows": rows, "references": names, "subjects": names, "tags": [{"shop": "north"}, *[None] * (count - 1)]}


@pytest.fixture(scope="session")
def trained_churn(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Path:
    """A home in which version 1 of the example is champion, its data and rules beside it; tests copy it."""

    def build(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as environment:
            world = churn_world(folder, mlflow_template, environment)
            context = world.context()
            world.train(context)
            context.database.close()

    return artefact(tmp_path_factory, "trained-churn", build)


@pytest.fixture
def churn(trained_churn: Path, tmp_path: Path) -> Iterator[World]:
    """A platform in processes on SQLite whose champion is version 1 of the example."""
    home, rules = tmp_path / "home", trained_churn / "alerts.yaml"
    copy_home(trained_churn / "home", home)
    settings = Settings(_env_file=None, home=home, alerts_file=rules, model="churn")
    env = {**QUICK, "PLATFORM_HOME": str(home), "PLATFORM_ALERTS_FILE": str(rules), "PLATFORM_MODEL": "churn"}
    env |= {"PLATFORM_PIPELINE": PIPELINE, "PLATFORM_DATA_DIR": str(trained_churn / "data")}
    env |= dict.fromkeys(("PLATFORM_DATABASE_URL", "PLATFORM_MLFLOW_URI"), "")
    context = create_context(settings)
    with ProcessGroup(tmp_path / "logs", cwd=tmp_path) as fleet:
        yield World(env, fleet, context)
    context.database.close()


@dataclass(frozen=True)
class ChurnWorld:
    """A home in which version 1 is champion, made from the customers of before the price rise."""

    settings: Settings
    data: Path

    def context(self) -> AppContext:
        """As another process would make it."""
        return create_context(self.settings)

    def train(self, context: AppContext) -> int:
        """Train by hand in this process, as `platform train` does; returns the version."""
        pipeline = training_pipeline(self.settings)
        return training_worker(context).train(pipeline, "for a test", "test").candidate.version


def churn_world(
    tmp_path: Path,
    mlflow_template: Path,
    environment: pytest.MonkeyPatch,
    rules: str = RULES,
    *,
    count: int = 6000,
    first: str = "2026-01-01",
) -> ChurnWorld:
    """The platform's settings, in the environment for the processes that it starts; nothing is trained yet.

    So many customers are known, from the first day on.
    """
    home, data, rules_file = tmp_path / "home", tmp_path / "data", tmp_path / "alerts.yaml"
    home.mkdir()
    data.mkdir()
    shutil.copy(mlflow_template, home / "mlflow.db")
    rules_file.write_text(rules, encoding="utf-8")
    make_customers(count, first, "2026-07-31").to_parquet(data / "customers.parquet", index=False)
    for name in ("DATABASE_URL", "MLFLOW_URI", "RECIPE"):
        environment.setenv(f"PLATFORM_{name}", "")
    for name, value in {
        "HOME": home,
        "DATA_DIR": data,
        "ALERTS_FILE": rules_file,
        "PIPELINE": PIPELINE,
        "MODEL": "churn",
        "POLL_SECONDS": 0.2,
        "BASELINE_CALLS": 40,
        "ALLOWED_HOSTS": '["api"]',
    }.items():
        environment.setenv(f"PLATFORM_{name}", str(value))
    return ChurnWorld(load_settings(), data)
