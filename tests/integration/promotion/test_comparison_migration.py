"""Probations and rollouts of an earlier version: what is over keeps its counts, what runs counts anew."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from mlplatform.promotion import probations, rollouts
from mlplatform.store import database as database_module
from mlplatform.store.database import Database
from monitors.decisions.version_comparison import VersionComparison
from tests.support.platform_world import schema_of_its_own

PURSES = json.dumps({"wealth": [1.5] * 8, "n": 40, "lost": 9, "won": 4, "highest": 2.5})


def migrate(old: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database_module.__file__).parent / "migrations"))
    with old.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_comparisons_of_an_earlier_version_can_be_read(kind: str, tmp_path: Path) -> None:
    with schema_of_its_own() if kind == "postgres" else nullcontext(f"sqlite:///{tmp_path}/old.db") as url:
        old = Database(url)
        migrate(old, "0019")
        with old.write() as connection:
            for seq, state in ((1, "passed"), (2, "running")):
                connection.execute(
                    text(
                        "INSERT INTO promotions (seq, model_name, to_version, kind, at, actor, reason, fence) "
                        f"VALUES ({seq}, 'digits', {seq}, 'promote', '2026-03-01', 'a', 'r', 1)"
                    )
                )
                connection.execute(
                    text(
                        "INSERT INTO probations (promotion_seq, model_name, version, before, state, at, until, "
                        "label_level, latency_level, duel, latency_until) VALUES "
                        f"({seq}, 'digits', {seq}, 1, '{state}', '2026-03-01', '2026-03-08', 0.008, 0.002, :duel, "
                        "'2026-03-01')"
                    ),
                    {"duel": PURSES},
                )
            connection.execute(
                text(
                    "INSERT INTO rollouts (id, model_name, version, beside, role, share, state, at, actor, reason, "
                    "duel) VALUES ('t', 'digits', 2, 1, 'shadow', 0, 'stopped', '2026-03-01', 'a', 'r', :duel)"
                ),
                {"duel": PURSES},
            )
        old.upgrade()
        with old.read() as connection:
            running, passed = probations.list_probations(connection, "digits")
            rollout = rollouts.latest_rollout(connection, "digits")
        counted = VersionComparison(compared=40, differing=13, labelled=13, lost=9, won=4)
        assert VersionComparison.from_json(running.duel) == VersionComparison()
        assert VersionComparison.from_json(passed.duel) == counted
        assert rollout is not None
        assert VersionComparison.from_json(rollout.duel) == counted
        old.close()
