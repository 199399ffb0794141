from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from monitors.errors import WindowError
from monitors.windows.window import Baseline, HostLatency, Row
from tests.support.monitor_examples import NOON, row, window


def test_rows_come_in_the_order_of_time() -> None:
    assert [r.prediction_id for r in window([row(2), row(0), row(1)]).rows] == ["p0", "p1", "p2"]


def test_only_truths_of_the_asked_sources_count() -> None:
    rows = [row(0, truth="1", source="audit"), row(1, truth="1", source="correction"), row(2)]
    assert [r.prediction_id for r in window(rows).labelled(("audit", "delayed"))] == ["p0"]


def test_a_naive_time_is_refused() -> None:
    naive = datetime(2026, 3, 1, 12)  # noqa: DTZ001 - the fault under test
    with pytest.raises(WindowError, match="no time zone"):
        replace(row(0), at=naive)
    with pytest.raises(WindowError, match=r"window start .* no time zone"):
        replace(window([]), start=naive)


def test_a_row_outside_the_window_is_refused() -> None:
    with pytest.raises(WindowError, match="outside the window"):
        window([replace(row(0), at=NOON + timedelta(days=1))])


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(WindowError, match="start must be before end"):
        replace(window([]), end=NOON)


@pytest.mark.parametrize("strange", [row(0, label="x"), row(0, truth="x")])
def test_a_class_the_version_does_not_have_is_refused(strange: Row) -> None:
    with pytest.raises(WindowError, match="pass the classes of version 3"):
        window([strange])


def test_classes_must_be_given_once_each() -> None:
    with pytest.raises(WindowError, match="each once"):
        window([], classes=("1", "1"))
    with pytest.raises(WindowError, match="each once"):
        window([], classes=())


@pytest.mark.parametrize("latency", [float("nan"), float("inf"), -1.0])
def test_an_impossible_latency_is_refused(latency: float) -> None:
    with pytest.raises(WindowError, match="latency"):
        row(0, latency_ms=latency)


@pytest.mark.parametrize("confidence", [float("nan"), 1.1, -0.1])
def test_an_impossible_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(WindowError, match="confidence"):
        replace(row(0), confidence=confidence)


def test_a_truth_without_a_source_is_refused() -> None:
    with pytest.raises(WindowError, match="go together"):
        replace(row(0), truth="1")


def test_impossible_baselines_are_refused() -> None:
    with pytest.raises(WindowError, match="5 correct of 4"):
        Baseline(5, 4)
    for p95_ms, calls in ((0.0, 300), (float("nan"), 300), (5.0, -1)):
        with pytest.raises(WindowError, match="baseline latency"):
            HostLatency(p95_ms, calls)


def test_a_host_that_was_not_measured_is_held_against_the_slowest_that_was() -> None:
    fast, slow = HostLatency(2.0, 300), HostLatency(9.0, 300)
    baseline = Baseline(1, 1, {"fast": fast, "slow": slow})
    assert (baseline.latency_of("fast"), baseline.latency_of("new")) == (fast, slow)
    assert Baseline(1, 1).latency_of("new") is None
