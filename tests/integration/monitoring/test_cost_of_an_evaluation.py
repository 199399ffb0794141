"""A decision costs the same however long the history; counted in the database's own steps, which no load changes."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlplatform.alerting import evaluations
from mlplatform.context import AppContext
from mlplatform.feedback import label_records, outcome_counts, outcomes
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.operations.scaffold import rules_template
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from tests.support.history import fill, world
from tests.support.platform_world import (
    START,
    DigitContracts,
    FakeCatalog,
    FakeClock,
    prediction,
    recorded,
    schema_of_its_own,
)

pytestmark = pytest.mark.both_databases

STEP = 20
END = world.START + timedelta(days=world.DAYS)


@pytest.fixture
def other(database: Database, tmp_path: Path) -> Iterator[Database]:
    """A second empty store of the same kind."""
    if database.is_sqlite:
        yield from _opened(f"sqlite:///{tmp_path / 'other.db'}")
    else:
        with schema_of_its_own() as url:
            yield from _opened(url)


def _opened(url: str) -> Iterator[Database]:
    made = Database(url)
    made.upgrade()
    yield made
    made.close()


@pytest.mark.slow
def test_a_history_filled_in_bulk_has_the_rows_of_the_platforms_own_writers(
    database: Database, other: Database
) -> None:
    fill.by_writers(database, 1_500, fill.prepare(database))
    fill.in_bulk(other, 1_500, fill.prepare(other))
    written, filled = fill.content(database), fill.content(other)
    assert all(written.values()), "no table is empty"
    for name, rows in written.items():
        assert rows == filled[name], name


@contextmanager
def history(folder: Path, rows: int, rules: str) -> Iterator[AppContext]:
    """A platform on SQLite that looks back on so many answers."""
    alerts = folder / "alerts.yaml"
    alerts.write_text(rules, encoding="utf-8")
    url = f"sqlite:///{folder / f'{rows}.db'}"
    context = AppContext(
        Settings(_env_file=None, home=folder, alerts_file=alerts, database_url=url),
        FakeClock(END),
        contracts=DigitContracts(FakeCatalog),
    )
    fill.in_bulk(context.database, rows, fill.prepare(context.database))
    yield context
    context.database.close()


def copied(template: Path, path: Path) -> Database:
    """An empty store on SQLite."""
    shutil.copy(template, path)
    return Database(f"sqlite:///{path}")


def steps(database: Database, work: Callable[[], object]) -> int:
    """How many steps of its virtual machine SQLite takes for the work, in units of STEP."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    with database.read() as connection:
        handle = connection.connection.dbapi_connection  # the work gets it next: no other is open
    assert handle is not None
    handle.set_progress_handler(count, STEP)
    try:
        work()
    finally:
        handle.set_progress_handler(None, 0)
    assert taken, "the work used this connection"
    return taken


def read(database: Database, query: Callable[..., Any], *words: object) -> Any:  # noqa: ANN401
    """What a query of the store answers about the version."""
    with database.read() as connection:
        return query(connection, "digits", 1, *words)


@pytest.mark.slow
def test_a_latency_window_of_thirty_days_takes_few_more_steps_after_forty_times_the_history(tmp_path: Path) -> None:
    wide = "\n".join("    window: 30d" if "    window:" in line else line for line in rules_template().splitlines())
    taken = []
    for rows in (1_000, 40_000):
        with history(tmp_path, rows, wide) as context:
            rule = next(rule for rule in context.rules.rules if rule.name == "latency")
            later = context.clock() + timedelta(minutes=5)
            taken.append(steps(context.database, partial(evaluate, context, rule, later)))
            with context.database.read() as connection:
                [newest] = evaluations.recent(connection, limit=1)
            assert newest.findings[0]["n"] == rows, "all of them were judged"
    assert taken[1] < 1.5 * taken[0] + 5


@pytest.mark.slow
def test_labels_of_thirty_days_are_counted_in_few_more_steps_after_ten_times_as_many(
    tmp_path: Path, sqlite_template: Path
) -> None:
    taken = []
    for labels in (300, 3_000):
        made = copied(sqlite_template, tmp_path / f"{labels}.db")
        moments = [START + timedelta(days=29) * place / labels for place in range(labels)]
        ids = recorded(made, *(prediction(at) for at in moments))
        with made.write() as connection:
            given = [SubmittedLabel(key, "3", "delayed", "ada", START) for key in ids]
            label_records.insert_labels(connection, given, START)
        count = partial(read, made, outcome_counts.window_label_counts, moments[0], moments[-1])
        assert sum(cell.n for cell in count()) == labels
        taken.append(steps(made, count))
        made.close()
    assert taken[1] < 1.5 * taken[0] + 5


def test_the_newest_label_is_found_without_reading_the_complaints_that_came_after_it(
    tmp_path: Path, sqlite_template: Path
) -> None:
    taken = []
    for complaints in (20, 600):
        made = copied(sqlite_template, tmp_path / f"{complaints}.db")
        ids = recorded(made, *(prediction() for _ in range(complaints + 1)))
        with made.write() as connection:
            label_records.insert_labels(connection, [SubmittedLabel(ids[0], "3", "audit", "ada", START)], START)
            later = [SubmittedLabel(key, "5", "correction", "bob", START) for key in ids[1:]]
            label_records.insert_labels(connection, later, START + timedelta(hours=1))
        assert read(made, outcomes.latest_label_time, {"audit", "delayed"}) == START
        taken.append(steps(made, partial(read, made, outcomes.latest_label_time, {"audit", "delayed"})))
        made.close()
    assert taken[1] <= taken[0] + 5
