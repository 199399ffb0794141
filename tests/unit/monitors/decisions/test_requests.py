"""Requests and volume: shares with exact limits, and a count that luck has no part in."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from monitors.decisions.decision import decide
from monitors.decisions.finding import Finding, missing_data_of
from monitors.rules.quantities import metric_value_text
from tests.support.monitor_examples import NOON, golden, rule, tally


def asked(metric: str, requests: Mapping[int, int], **written: object) -> Finding:
    made = rule(metric, **{"min_samples": 100, **written})
    [found] = decide(made, replace(tally([]), requests=requests), golden(1, 1))
    return found


def test_failures_are_those_of_the_server_and_violations_those_of_the_client() -> None:
    requests = {200: 900, 422: 60, 413: 20, 500: 15, 503: 5}
    failed = asked("error_rate", requests, above="1 %")
    assert (failed.value, failed.n, failed.state) == (0.02, 1000, "breach")
    assert failed.sentence.startswith("20 of 1,000 prediction requests failed on the server's side, 2.0 %. With 99 %")
    refused = asked("schema_violations", requests, above="2 %")
    assert (refused.value, refused.state) == (0.08, "breach")
    assert "80 of 1,000 prediction requests were refused as input that cannot be used" in refused.sentence


def test_few_failures_are_suspect_and_few_requests_decide_nothing() -> None:
    assert asked("error_rate", {200: 980, 500: 11}, above="1 %").state == "suspect"
    found = asked("error_rate", {200: 10, 500: 30})
    assert (found.state, found.needed) == ("insufficient", 60)
    assert found.sentence.endswith("The rule decides from 100 requests on; 60 more needed.")


def test_no_request_is_no_data() -> None:
    assert asked("error_rate", {}).state == "no-data"


def test_a_server_that_fails_just_as_often_as_allowed_is_blamed_as_often_as_promised() -> None:
    failures = np.random.default_rng(3).binomial(500, 0.01, 20_000)
    states = {int(k): asked("error_rate", {200: 500 - int(k), 500: int(k)}).state for k in np.unique(failures)}
    assert np.mean([states[int(k)] == "breach" for k in failures]) < 0.01


def volume(answers: int, *, hours: float = 48, **written: object) -> Finding:
    """Answers of the day before `end`, by a version that has served for so long."""
    counted = tally([])
    since = counted.end - timedelta(hours=hours)
    [found] = decide(
        rule("volume", **written), replace(counted, predictions=answers, serving_since=since), golden(1, 1)
    )
    return found


def test_too_few_answers_are_a_breach_at_once_even_none() -> None:
    low: dict[str, Any] = {"above": None, "below": "100 answers"}
    for answers, state in ((0, "breach"), (99, "breach"), (100, "ok"), (500, "ok")):
        assert volume(answers, **low).state == state
    assert volume(1, **low).sentence == (
        "Version 3 gave 1 answer in the window; the rule allows no fewer than 100 answers."
    )


def test_too_many_answers_are_a_breach_too() -> None:
    assert volume(101, above="100 answers").state == "breach"
    assert volume(100, above="100 answers").state == "ok"


def test_a_version_that_has_not_served_for_the_whole_window_is_not_blamed_for_few_answers() -> None:
    found = volume(3, hours=23, above=None, below="100 answers")
    assert (found.state, found.clear) == ("insufficient", False)
    assert volume(101, hours=1, above="100 answers").state == "breach"


def test_silence_about_requests_is_silence_of_answers() -> None:
    made = rule("volume", no_data="1h")
    found = missing_data_of(made, tally([]), NOON)
    assert found is not None
    assert found.state == "breach"
    assert found.sentence.startswith("The last answer came 2026-03-01 12:00 UTC")


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("volume", 1.0, "1 answer"),
        ("volume", 1234.0, "1,234 answers"),
        ("label_lag", 200_000.0, "2.3d"),
        ("label_lag", 90.0, "1.5m"),
        ("python:a.b:c", 0.123456, "0.1235"),
        ("group_gap", 0.031, "3.1 points"),
    ],
)
def test_values_are_shown_with_their_units(metric: str, value: float, shown: str) -> None:
    assert metric_value_text(metric, value) == shown
