"""What was kept of pictures before there were other inputs says its size after the migration."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, select, text

from mlplatform.predictions import prediction_records
from mlplatform.store import database as database_module
from mlplatform.store.database import Database
from mlplatform.store.tables.predictions import inputs, predictions
from pipelines.image.grey_png import encode_png
from tests.support.platform_world import START, schema_of_its_own


def migrate(old: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database_module.__file__).parent / "migrations"))
    with old.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def old_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A store as the version before left it."""
    with schema_of_its_own() if request.param == "postgres" else nullcontext(f"sqlite:///{tmp_path}/old.db") as url:
        made = Database(url)
        migrate(made, "0021")
        yield made
        made.close()


def test_pictures_of_before_say_their_size_and_predictions_have_no_reference(old_database: Database) -> None:
    pngs = {"a": encode_png(np.zeros((28, 28), np.uint8)), "b": encode_png(np.ones((12, 9), np.uint8)), "c": b""}
    at = {"at": START.replace(tzinfo=None)}
    with old_database.write() as connection:
        for key, png in pngs.items():
            connection.execute(
                text("INSERT INTO images (hash, png, at) VALUES (:key, :png, :at)"), {"key": key, "png": png} | at
            )
        connection.execute(
            text(
                "INSERT INTO predictions (id, at, model_name, model_version, image_hash, label, probabilities, "
                "confidence, latency_ms, request_id) VALUES ('p', :at, 'digits', 1, 'b', '3', '[]', 0.9, 1, 'r')"
            ),
            at,
        )
    old_database.upgrade()
    with old_database.read() as connection:
        kept = {row.hash: (row.form, bytes(row.content)) for row in connection.execute(select(inputs))}
        assert kept == {"a": ("28x28", pngs["a"]), "b": ("12x9", pngs["b"]), "c": ("", b"")}
        assert prediction_records.find(connection, "p").reference == ""
        assert prediction_records.load_image(connection, "b") == pngs["b"]
        assert "images" not in inspect(connection).get_table_names()
        [foreign] = inspect(connection).get_foreign_keys("predictions")
        assert (foreign["referred_table"], foreign["constrained_columns"]) == ("inputs", ["image_hash"])
        assert connection.scalars(select(predictions.c.image_hash)).all() == ["b"]
