"""Answers counted as they are recorded."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from mlplatform.predictions import prediction_counts, prediction_records
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.store.database import Database
from monitors.windows.latency_bins import latency_bin
from tests.support.platform_world import START, prediction

pytestmark = pytest.mark.both_databases

MINUTE = timedelta(minutes=1)
SPAN = (START, START + 10 * MINUTE)


def kept(database: Database, *rows: PredictionWithInput, instance: str = "one") -> None:
    with database.write() as connection:
        prediction_records.insert_predictions(connection, rows, instance)


def on(host: str, made: PredictionWithInput) -> PredictionWithInput:
    return replace(made, host_class=host)


def test_answers_are_counted_by_version_and_minute(database: Database) -> None:
    kept(database, *(prediction(START + n * MINUTE, seed=n) for n in range(4)), prediction(START, version=2))
    kept(database, prediction(START + 30 * timedelta(seconds=1)), instance="another server")
    with database.read() as connection:
        assert prediction_counts.prediction_total(connection, "digits", 1, *SPAN) == 5
        assert prediction_counts.prediction_total(connection, "digits", 1, START, START) == 2
        assert prediction_counts.prediction_total(connection, "digits", 2, *SPAN) == 1
        assert prediction_counts.prediction_total(connection, "letters", 1, *SPAN) == 0


def test_a_prediction_recorded_twice_is_counted_once(database: Database) -> None:
    rows = [prediction(seed=n) for n in range(3)]
    kept(database, *rows)
    kept(database, *rows, prediction(seed=4))
    with database.read() as connection:
        assert prediction_counts.prediction_total(connection, "digits", 1, *SPAN) == 4


def test_a_transaction_that_fails_counts_nothing(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            prediction_records.insert_predictions(connection, [prediction()], "one")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.read() as connection:
        assert prediction_counts.prediction_total(connection, "digits", 1, *SPAN) == 0


def test_latencies_are_kept_apart_by_host_class_and_a_request_counts_once(database: Database) -> None:
    many = [prediction(latency_ms=9.0) for _ in range(3)]
    together = [replace(row, prediction=replace(row.prediction, request_id="one")) for row in many]
    kept(database, *(on("slow", row) for row in together), on("slow", prediction(latency_ms=9.0)))
    kept(database, on("fast", prediction(START + MINUTE, latency_ms=1.0)))
    with database.read() as connection:
        found = prediction_counts.latency_histograms(connection, "digits", 1, *SPAN)
        assert found == {"slow": {latency_bin(9.0): 2}, "fast": {latency_bin(1.0): 1}}


def test_answers_are_counted_by_label_and_confidence(database: Database) -> None:
    shares = (("3", 0.999), ("3", 0.999), ("3", 0.92), ("7", 0.31))
    kept(database, *(prediction(label=label, confidence=share) for label, share in shares))
    with database.read() as connection:
        assert prediction_counts.class_counts(connection, "digits", 1, *SPAN) == {"3": {50: 1, 56: 2}, "7": {15: 1}}


def noted(
    database: Database, statuses: dict[str, int], *, version: int = 1, minutes: int = 0, instance: str = "one"
) -> None:
    key = (version, prediction_counts.minute_index(START + minutes * MINUTE))
    with database.write() as connection:
        prediction_counts.record_request_counts(connection, instance, "digits", {key: statuses})


def test_requests_are_summed_over_servers_and_minutes_and_a_repeated_count_replaces_the_old(database: Database) -> None:
    noted(database, {"200": 1})
    noted(database, {"200": 5, "422": 1})
    noted(database, {"200": 2, "500": 1}, minutes=3)
    noted(database, {"200": 7}, instance="two")
    noted(database, {"503": 4}, version=prediction_counts.NO_MODEL_VERSION)
    noted(database, {"500": 9}, version=2)
    noted(database, {"500": 9}, minutes=30)
    with database.read() as connection:
        assert prediction_counts.request_status_counts(connection, "digits", 1, *SPAN) == {
            200: 14,
            422: 1,
            500: 1,
            503: 4,
        }
        assert prediction_counts.request_status_counts(connection, "letters", 1, *SPAN) == {}


def test_counts_of_requests_are_neither_answers_nor_a_sign_of_them(database: Database) -> None:
    kept(database, on("host", prediction(START, latency_ms=9.0)))
    noted(database, {"200": 5}, minutes=5)
    with database.read() as connection:
        assert prediction_counts.prediction_total(connection, "digits", 1, *SPAN) == 1
        assert prediction_counts.last_prediction_minute(connection, "digits", 1) == START
        assert {
            host: sum(bins.values())
            for host, bins in prediction_counts.latency_histograms(connection, "digits", 1, *SPAN).items()
            if bins
        } == {"host": 1}
        assert set(prediction_counts.class_counts(connection, "digits", 1, *SPAN)) == {"3"}


def test_recording_an_answer_leaves_the_counts_of_requests_alone(database: Database) -> None:
    noted(database, {"200": 5})
    kept(database, prediction(START))
    kept(database, prediction(START, seed=1))
    with database.read() as connection:
        assert prediction_counts.request_status_counts(connection, "digits", 1, *SPAN) == {200: 5}
        assert prediction_counts.prediction_total(connection, "digits", 1, *SPAN) == 2


@pytest.mark.parametrize("hours", [(0, 60), (1, 49), (13, 14), (12, 36), (5, 5)])
def test_a_long_window_counts_each_answer_once(database: Database, hours: tuple[int, int]) -> None:
    moments = [START + timedelta(hours=n, minutes=7 * n % 60) for n in range(60)]
    kept(database, *(on("slow", prediction(at, latency_ms=1.0 + n)) for n, at in enumerate(moments)))
    start, end = (START + timedelta(hours=each) for each in hours)
    inside = [n for n, at in enumerate(moments) if start <= at < end + MINUTE]
    with database.read() as connection:
        assert prediction_counts.prediction_total(connection, "digits", 1, start, end) == len(inside)
        slow = prediction_counts.latency_histograms(connection, "digits", 1, start, end).get("slow", {})
        assert slow == Counter(latency_bin(1.0 + n) for n in inside)
        labels = prediction_counts.class_counts(connection, "digits", 1, start, end)
        assert labels == ({"3": {50: len(inside)}} if inside else {})


def test_minutes_are_read_in_order_after_a_cursor_with_all_servers_of_a_minute_together(database: Database) -> None:
    for number in (0, 1, 3):
        kept(database, prediction(START + number * MINUTE, confidence=0.31))
    kept(database, prediction(START + MINUTE, label="7", confidence=0.31), instance="two")
    first = prediction_counts.minute_index(START)
    three, both = {"3": {15: 1}}, {"3": {15: 1}, "7": {15: 1}}
    with database.read() as connection:
        everything = prediction_counts.class_counts_by_minute(connection, "digits", 1, 0, first + 3, 100)
        assert everything == [(first, three), (first + 1, both), (first + 3, three)]
        assert prediction_counts.class_counts_by_minute(connection, "digits", 1, first, first + 2, 100) == [
            (first + 1, both)
        ]
        assert prediction_counts.class_counts_by_minute(connection, "digits", 1, 0, first + 3, 2) == [(first, three)], (
            "half a minute waits"
        )
        assert prediction_counts.class_counts_by_minute(connection, "digits", 2, 0, first + 3, 100) == []
