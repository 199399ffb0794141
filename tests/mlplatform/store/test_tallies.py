"""Answers counted as they are recorded."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from mlplatform.store import predictions, tallies
from mlplatform.store.database import Database
from mlplatform.store.predictions import Recorded
from monitors.tally import latency_bin
from tests.mlplatform.conftest import START, prediction

MINUTE = timedelta(minutes=1)
SPAN = (START, START + 10 * MINUTE)


def kept(database: Database, *rows: Recorded, instance: str = "one") -> None:
    with database.write() as connection:
        predictions.record(connection, rows, instance)


def on(host: str, made: Recorded) -> Recorded:
    return replace(made, host_class=host)


def test_answers_are_counted_by_version_and_minute(database: Database) -> None:
    kept(database, *(prediction(START + n * MINUTE, seed=n) for n in range(4)), prediction(START, version=2))
    kept(database, prediction(START + 30 * timedelta(seconds=1)), instance="another server")
    with database.read() as connection:
        assert tallies.answers(connection, "digits", 1, *SPAN) == 5
        assert tallies.answers(connection, "digits", 1, START, START) == 2
        assert tallies.answers(connection, "digits", 2, *SPAN) == 1
        assert tallies.answers(connection, "letters", 1, *SPAN) == 0


def test_a_prediction_recorded_twice_is_counted_once(database: Database) -> None:
    rows = [prediction(seed=n) for n in range(3)]
    kept(database, *rows)
    kept(database, *rows, prediction(seed=4))
    with database.read() as connection:
        assert tallies.answers(connection, "digits", 1, *SPAN) == 4


def test_a_transaction_that_fails_counts_nothing(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            predictions.record(connection, [prediction()], "one")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.read() as connection:
        assert tallies.answers(connection, "digits", 1, *SPAN) == 0


def test_latencies_are_kept_apart_by_host_class_and_a_request_counts_once(database: Database) -> None:
    many = [prediction(latency_ms=9.0) for _ in range(3)]
    together = [replace(row, prediction=replace(row.prediction, request_id="one")) for row in many]
    kept(database, *(on("slow", row) for row in together), on("slow", prediction(latency_ms=9.0)))
    kept(database, on("fast", prediction(START + MINUTE, latency_ms=1.0)))
    with database.read() as connection:
        found = tallies.latency(connection, "digits", 1, *SPAN)
        assert found == {"slow": {latency_bin(9.0): 2}, "fast": {latency_bin(1.0): 1}}


def test_answers_are_counted_by_label_and_confidence(database: Database) -> None:
    shares = (("3", 0.999), ("3", 0.999), ("3", 1.0), ("7", 0.31))
    kept(database, *(prediction(label=label, confidence=share) for label, share in shares))
    with database.read() as connection:
        assert tallies.labels(connection, "digits", 1, *SPAN) == {"3": {49: 3}, "7": {15: 1}}


@pytest.mark.parametrize("hours", [(0, 60), (1, 49), (13, 14), (12, 36), (5, 5)])
def test_a_long_window_counts_each_answer_once(database: Database, hours: tuple[int, int]) -> None:
    moments = [START + timedelta(hours=n, minutes=7 * n % 60) for n in range(60)]
    kept(database, *(on("slow", prediction(at, latency_ms=1.0 + n)) for n, at in enumerate(moments)))
    start, end = (START + timedelta(hours=each) for each in hours)
    inside = [n for n, at in enumerate(moments) if start <= at < end + MINUTE]
    with database.read() as connection:
        assert tallies.answers(connection, "digits", 1, start, end) == len(inside)
        slow = tallies.latency(connection, "digits", 1, start, end).get("slow", {})
        assert slow == Counter(latency_bin(1.0 + n) for n in inside)
        labels = tallies.labels(connection, "digits", 1, start, end)
        assert labels == ({"3": {45: len(inside)}} if inside else {})
