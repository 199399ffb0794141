"""Minutes laid out in days and hours: each once, in few stretches; and what was counted before is summed."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import MetaData, insert, select

from mlplatform.store import database as database_module
from mlplatform.store.database import Database
from mlplatform.store.rollups import DAY_MINUTES, HOUR_MINUTES, cover
from mlplatform.store.tables.feedback import label_count_rollups, label_counts
from mlplatform.store.tables.predictions import prediction_count_rollups, prediction_counts
from tests.support.history import fill
from tests.support.platform_world import schema_of_its_own

pytestmark = pytest.mark.both_databases


@given(st.integers(0, 10**8), st.integers(0, 60 * DAY_MINUTES))
def test_each_minute_is_covered_once_by_spans_that_begin_at_their_multiples(first: int, length: int) -> None:
    laid = sorted(cover(first, first + length), key=lambda each: each[1])
    reached = first
    for span, begins, ends in laid:
        assert begins == reached
        assert begins < ends
        assert begins % span == ends % span == 0
        reached = ends
    assert reached == first + length


@given(st.integers(0, 10**8), st.integers(0, 60 * DAY_MINUTES))
def test_a_window_of_weeks_is_read_from_a_few_hundred_rows(first: int, length: int) -> None:
    rows = sum((ends - begins) // span for span, begins, ends in cover(first, first + length))
    assert rows <= length // DAY_MINUTES + 2 * 23 + 2 * 59


def test_a_day_and_a_bit_is_a_day_an_hour_and_minutes() -> None:
    assert list(cover(DAY_MINUTES - HOUR_MINUTES - 2, 2 * DAY_MINUTES + 1)) == [
        (1, DAY_MINUTES - HOUR_MINUTES - 2, DAY_MINUTES - HOUR_MINUTES),
        (HOUR_MINUTES, DAY_MINUTES - HOUR_MINUTES, DAY_MINUTES),
        (DAY_MINUTES, DAY_MINUTES, 2 * DAY_MINUTES),
        (1, 2 * DAY_MINUTES, 2 * DAY_MINUTES + 1),
    ]
    assert list(cover(7, 7)) == []


@contextmanager
def before_the_sums(on_sqlite: bool, folder: Path) -> Iterator[Database]:
    """A store as the migration before left it."""
    config = Config()
    config.set_main_option("script_location", str(Path(database_module.__file__).parent / "migrations"))
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    [earlier] = [each.down_revision for each in scripts if Path(each.path).stem.endswith("sums_of_hours_and_days")]
    with nullcontext(f"sqlite:///{folder / 'old.db'}") if on_sqlite else schema_of_its_own() as url:
        made = Database(url)
        with made.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, str(earlier))
        yield made
        made.close()


@pytest.mark.slow
def test_the_migration_sums_what_was_counted_before_as_the_writers_would_have(
    database: Database, tmp_path: Path
) -> None:
    fill.by_writers(database, 700, fill.prepare(database))
    filled = fill.content(database)
    with before_the_sums(database.is_sqlite, tmp_path) as old:
        with old.write() as connection:
            for table, name_then in ((label_counts, "label_counts"), (prediction_counts, "tallies")):
                earlier = table.to_metadata(MetaData(), name=name_then)
                connection.execute(insert(earlier), [_without_nones(row) for row in filled[table.name]])
        old.upgrade()
        with old.read() as connection:
            for table in (label_count_rollups, prediction_count_rollups):
                rows = connection.execute(select(table).order_by(*table.primary_key)).mappings()
                assert [dict(row) for row in rows] == filled[table.name]
    assert len(filled["prediction_count_rollups"]) > 100


def _without_nones(row: dict[str, object]) -> dict[str, object]:
    """Columns that came later than the migration are empty here."""
    return {name: value for name, value in row.items() if value is not None}
