"""The past as it was: labels, latencies and alarms at any earlier moment, from what is kept today."""

import shutil
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlplatform.feedback import label_history, label_records, outcome_counts, outcomes
from mlplatform.feedback.label_precedence import SOURCES_BY_TRUST
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.monitoring.backtest.history_windows import LabelTimeline, LabelWindow, LatencyTimeline, LatencyWindow
from mlplatform.predictions import latency_history, prediction_counts, sampling_plans
from mlplatform.predictions.prediction_records import insert_predictions
from mlplatform.store.database import Database
from monitors.rules.alerts_config import Source
from monitors.windows.window_counts import Outcome
from tests.support.platform_world import START, prediction, recorded
from tests.support.version_folder import DIGITS

pytestmark = pytest.mark.both_databases

MINUTE = timedelta(minutes=1)
WINDOW = timedelta(minutes=5)
Given = tuple[int, str, str, str, int]
BATCHES = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.sampled_from(["3", "5"]),
            st.sampled_from(SOURCES_BY_TRUST),
            st.sampled_from(["ann", "bob"]),
            st.integers(-5, 0),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda each: each[0],
    ),
    max_size=12,
)


def fresh(folder: str, template: Path) -> Database:
    path = Path(folder) / "platform.db"
    shutil.copy(template, path)
    return Database(f"sqlite:///{path}")


SOURCES: Final[tuple[Source, ...]] = ("audit", "delayed", "correction")


def numberless(rows: Sequence[Outcome]) -> list[tuple[object, ...]]:
    return [
        (row.prediction_id, row.truth, row.source, [*row.source_sequence], row.known_at, row.weight, row.share)
        for row in rows
    ]


def state(database: Database, now: datetime) -> tuple[object, ...]:
    """What the store answers now about all labels, those of a window, and the last one."""
    with database.read() as connection:
        return (
            numberless(outcomes.outcomes_after(connection, "digits", 1, 0, 100)),
            [
                outcome_counts.source_label_counts(connection, "digits", 1, now - WINDOW, now, source)
                for source in SOURCES
            ],
            outcomes.latest_label_time(connection, "digits", 1, ["audit", "delayed"]),
            outcomes.latest_label_time(connection, "digits", 1, ["delayed"]),
        )


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES)
def test_labels_stand_at_every_moment_as_they_stood_then(sqlite_template: Path, batches: list[list[Given]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = fresh(folder, sqlite_template)
        ids = recorded(database, *(prediction(START + seed * MINUTE, seed=seed) for seed in range(6)))
        with database.write() as connection:
            sampling_plans.publish(connection, "digits", 1, {"uniform": 0.5, "strata": {}}, START + 3 * MINUTE)
        then: list[tuple[datetime, tuple[object, ...]]] = []
        for place, batch in enumerate(batches, start=6):
            now = START + place * MINUTE
            labels = [
                SubmittedLabel(ids[n], told, source, who, now + ago * MINUTE)  # type: ignore[arg-type]
                for n, told, source, who, ago in batch
            ]
            with database.write() as connection:
                label_records.insert_labels(connection, labels, now)
            then.append((now, state(database, now)))
        with database.read() as connection:
            labels_again = LabelTimeline(label_history.label_events(connection, "digits", 1, DIGITS.task))
        database.close()
        window = LabelWindow(labels_again, WINDOW)
        for now, held in then:
            labels_again.advance_to(now)
            window.advance_to(now)
            assert (
                numberless(labels_again.since(0, 100)[0]),
                [window.counts(source) for source in SOURCES],
                labels_again.last_label_at(["audit", "delayed"]),
                labels_again.last_label_at(["delayed"]),
            ) == held


def test_a_cursor_reads_a_label_again_when_a_better_source_speaks(database: Database) -> None:
    [key] = recorded(database, prediction())
    for place, source in enumerate(("correction", "delayed", "audit")):
        at = START + place * MINUTE
        with database.write() as connection:
            label_records.insert_labels(connection, [SubmittedLabel(key, "5", source, "ann", at)], at)  # type: ignore[arg-type]
    with database.read() as connection:
        labels = LabelTimeline(label_history.label_events(connection, "digits", 1, DIGITS.task))
    read, cursor = [], 0
    for place in range(3):
        labels.advance_to(START + place * MINUTE)
        rows, cursor = labels.since(cursor, 10)
        read += [(row.source, row.source_sequence) for row in rows]
    assert read == [
        ("correction", {"correction": 1}),
        ("delayed", {"correction": 1, "delayed": 2}),
        ("audit", {"correction": 1, "delayed": 2, "audit": 3}),
    ]


def test_a_clock_that_was_set_back_keeps_the_order_of_labels(database: Database) -> None:
    ids = recorded(database, *(prediction(seed=seed) for seed in range(3)))
    for key, minutes in zip(ids, (30, 10, 40), strict=True):
        at = START + minutes * MINUTE
        with database.write() as connection:
            label_records.insert_labels(connection, [SubmittedLabel(key, "5", "audit", "ann", at)], at)
    with database.read() as connection:
        heard = label_history.label_events(connection, "digits", 1, DIGITS.task)
    assert [each.outcome.prediction_id for each in heard] == ids
    assert [each.at for each in heard] == [START + minutes * MINUTE for minutes in (30, 30, 40)]


def test_latencies_stand_at_every_moment_as_they_stood_then(database: Database) -> None:
    moments, then = [], []
    for place in range(40):
        now = START + place * timedelta(seconds=25)
        with database.write() as connection:
            insert_predictions(connection, [prediction(now, latency_ms=1.0 + place)], "server")
        with database.read() as connection:
            then.append(prediction_counts.latency_histograms(connection, "digits", 1, now - WINDOW, now))
        moments.append(now)
    with database.read() as connection:
        latencies = LatencyTimeline(
            latency_history.latency_by_minute(connection, "digits", 1, START, moments[-1]),
            latency_history.partial_minute_latencies(connection, "digits", 1, moments),
        )
        newest = prediction_counts.last_prediction_minute(connection, "digits", 1)
    window = LatencyWindow(latencies, WINDOW)
    assert [window.at(now) for now in moments] == then
    assert latencies.last_prediction_at(moments[-1]) == newest
    assert latencies.last_prediction_at(START - MINUTE) is None
    assert latencies.last_prediction_at(START + timedelta(days=1)) == newest
    assert latencies.ambiguous_slots == 0


@pytest.mark.parametrize("jump", [timedelta(minutes=4), timedelta(hours=2), timedelta(days=2)])
def test_windows_move_over_gaps(database: Database, jump: timedelta) -> None:
    for at in (START, START + jump):
        with database.write() as connection:
            rows = [prediction(at, latency_ms=3.0)]
            insert_predictions(connection, rows, "server")
            label_records.insert_labels(
                connection, [SubmittedLabel(rows[0].prediction.id, "5", "audit", "ann", at)], at
            )
    with database.read() as connection:
        labels = LabelTimeline(label_history.label_events(connection, "digits", 1, DIGITS.task))
        bins = latency_history.latency_by_minute(connection, "digits", 1, START, START + jump)
        begun = latency_history.partial_minute_latencies(connection, "digits", 1, [START, START + jump])
    counted = LabelWindow(labels, WINDOW)
    timed = LatencyWindow(LatencyTimeline(bins, begun), WINDOW)
    inside = []
    for at in (START, START + jump):
        labels.advance_to(at)
        counted.advance_to(at)
        inside.append(
            (
                sum(each.n for each in counted.counts("audit")),
                sum(n for host in timed.at(at).values() for n in host.values()),
            )
        )
    assert inside == [(1, 1), (2, 2) if jump < WINDOW else (1, 1)]
