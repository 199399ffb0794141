"""After the migration a silence and a waiting label of before match every model, as they did."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from mlplatform.alerting import alert_records
from mlplatform.feedback import pending_labels
from mlplatform.store import database as database_module
from mlplatform.store.database import Database
from tests.support.platform_world import START, prediction, recorded, schema_of_its_own
from tests.support.store_rows import alert


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def old_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A store as the version before left it."""
    config = Config()
    config.set_main_option("script_location", str(Path(database_module.__file__).parent / "migrations"))
    with schema_of_its_own() if request.param == "postgres" else nullcontext(f"sqlite:///{tmp_path}/old.db") as url:
        made = Database(url)
        with made.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "0029")
        yield made
        made.close()


def test_rows_of_before_match_every_model(old_database: Database) -> None:
    at = {"at": START.replace(tzinfo=None), "until": (START + timedelta(days=1)).replace(tzinfo=None)}
    with old_database.write() as connection:
        connection.execute(
            text("INSERT INTO silences (id, rule, at, until, actor) VALUES ('s', 'accuracy-*', :at, :until, 'ann')"),
            at,
        )
        connection.execute(
            text(
                "INSERT INTO pending_labels (id, prediction_id, label, source, at, received_at) "
                "VALUES ('w', 'p', '3', 'audit', :at, :at)"
            ),
            at,
        )
    old_database.upgrade()
    recorded(old_database, prediction(prediction_id="p"))
    with old_database.read() as connection:
        [silence] = alert_records.active_silences(connection, START)
        assert silence.covers(alert(), START)
        [pending] = pending_labels.list_matched(connection, "digits", 10)
        assert pending.label.prediction_id == "p"
