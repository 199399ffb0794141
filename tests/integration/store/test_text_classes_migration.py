"""Answers of before are counted as themselves after the migration, and a label that waits may be a long text."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import insert, select, text

from mlplatform.feedback.outcomes import outcomes_after
from mlplatform.predictions import prediction_records
from mlplatform.store import database as database_module
from mlplatform.store.database import Database
from mlplatform.store.tables.feedback import pending_label_rows
from tests.support.platform_world import START, schema_of_its_own


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def old_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A store as the version before left it."""
    config = Config()
    config.set_main_option("script_location", str(Path(database_module.__file__).parent / "migrations"))
    with schema_of_its_own() if request.param == "postgres" else nullcontext(f"sqlite:///{tmp_path}/old.db") as url:
        made = Database(url)
        with made.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "0028")
        yield made
        made.close()


def test_answers_of_before_are_counted_as_themselves(old_database: Database) -> None:
    at = {"at": START.replace(tzinfo=None)}
    with old_database.write() as connection:
        connection.execute(text("INSERT INTO inputs (hash, content, at, form) VALUES ('b', '', :at, '')"), at)
        connection.execute(
            text(
                "INSERT INTO predictions (id, at, model_name, model_version, image_hash, label, probabilities, "
                "confidence, latency_ms, request_id) VALUES ('p', :at, 'digits', 1, 'b', '3', '[]', 0.9, 1, 'r')"
            ),
            at,
        )
        connection.execute(
            text(
                "INSERT INTO outcomes (prediction_id, seq, model_name, model_version, at, known_at, label, truth, "
                "source, seen, confidence, weight) VALUES ('p', 1, 'digits', 1, :at, :at, '3', '5', 'audit', "
                "'audit:1', 0.9, 1)"
            ),
            at,
        )
    old_database.upgrade()
    waiting = {"id": "w", "prediction_id": "q", "label": "7" * 900, "source": "audit", "at": START}
    with old_database.write() as connection:
        assert prediction_records.find(connection, "p").counted_as == "3"
        [outcome] = outcomes_after(connection, "digits", 1, 0, 10)
        assert (outcome.counted_label, outcome.counted_truth) == ("3", "5")
        connection.execute(insert(pending_label_rows), [{**waiting, "received_at": START}])
        assert connection.scalar(select(pending_label_rows.c.label)) == "7" * 900
