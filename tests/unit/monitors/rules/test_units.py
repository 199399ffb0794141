from datetime import timedelta

import pytest

from monitors.rules.quantities import number_text, parse_duration, parse_threshold


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        (" 6 h ", timedelta(hours=6)),
        ("1d", timedelta(days=1)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta(0)),
    ],
)
def test_a_duration_reads_as_written(written: str, meant: timedelta) -> None:
    assert parse_duration(written) == meant


@pytest.mark.parametrize("written", [5, "5", "m", "-5m", "1.5h", "5 min", "", None, True, "5m5s", "٣m x"])
def test_what_is_not_a_duration_is_refused_with_examples(written: object) -> None:
    with pytest.raises(ValueError, match="whole number and a unit, like 30s, 5m"):
        parse_duration(written)


def test_an_endless_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than ten years"):
        parse_duration("999999999w")


@pytest.mark.parametrize(
    ("written", "metric", "meant"),
    [
        ("0.5 points", "accuracy_drop", 0.005),
        ("0.5 %", "accuracy_drop", 0.005),
        ("0 points", "accuracy_drop", 0.0),
        ("10%", "class_error", 0.1),
        ("2 x", "latency_ratio", 2.0),
        ("1.25x", "latency_ratio", 1.25),
        ("100 answers", "volume", 100.0),
        ("2d", "label_lag", 172_800.0),
        (0.25, "python:a.b:c", 0.25),
        ("3", "evidently:F1Score", 3.0),
    ],
)
def test_a_threshold_becomes_a_share_a_ratio_a_count_or_seconds(written: object, metric: str, meant: float) -> None:
    assert parse_threshold(written, metric) == pytest.approx(meant)


@pytest.mark.parametrize(
    ("written", "metric", "remedy"),
    [
        ("2 x", "accuracy_drop", "0.5 points"),
        ("0.5 points", "class_error", "10 %"),
        ("50 %", "latency_ratio", "2 x"),
        (0.5, "accuracy_drop", "0.5 points"),
        ("-1 %", "class_error", "10 %"),
        ("nan %", "class_error", "10 %"),
        ("0.5 x", "latency_ratio", "at least 1 x"),
        ("100 %", "class_error", "below 100 %"),
        ("100", "volume", "100 answers"),
        ("2", "label_lag", "like 30s, 5m"),
        (True, "python:a.b:c", "a plain number"),
        (float("nan"), "python:a.b:c", "a plain number"),
        ("3 %", "evidently:F1Score", "a plain number"),
    ],
)
def test_a_threshold_that_does_not_fit_says_what_would(written: object, metric: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        parse_threshold(written, metric)


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [
        (1394.6, 3, "1,395"),
        (999.7, 3, "1,000"),
        (999.4, 3, "999"),
        (0.04567, 3, "0.0457"),
        (0.0, 3, "0"),
        (12.34, 2, "12"),
        (123456.0, 4, "123,456"),
        (-5000.0, 3, "-5,000"),
    ],
)
def test_numbers_for_people_have_no_exponent_where_they_are_large(value: float, digits: int, said: str) -> None:
    assert number_text(value, digits) == said
