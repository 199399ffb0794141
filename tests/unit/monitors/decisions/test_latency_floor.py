"""Answers that are fast enough are no slow ones, however fast they were before: in rules, on probation, at the gate."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from monitors.decisions.decision import decide
from monitors.decisions.finding import Finding
from monitors.decisions.latency_regression import find_latency_regression
from monitors.windows.latency_bins import latency_bin
from registry.gate.verdict import GatePolicy
from registry.gate.verdict import gate_verdict as verdict_on
from tests.support.gate_evidence import evidence, exact
from tests.support.monitor_examples import golden, row, rule, tally


def latency(milliseconds: float, before: float, n: int = 400, **written: object) -> Finding:
    rows = [row(number, latency_ms=milliseconds) for number in range(n)]
    [found] = decide(rule("latency_ratio", **written), tally(rows), golden(1, 1, before, 300))
    return found


@pytest.mark.parametrize(("now", "before"), [(0.3, 0.1), (0.9, 0.1), (0.98, 0.01)])
def test_three_times_next_to_nothing_is_no_breach_and_ends_an_alert(now: float, before: float) -> None:
    found = latency(now, before)
    assert (found.state, found.clear, found.baseline) == ("ok", True, before)
    assert found.value == pytest.approx(now / before, rel=0.02)
    assert "The rule allows 2.00 x, and whatever takes at most 1 ms." in found.sentence


def test_numbers_below_a_millisecond_are_told_apart() -> None:
    assert "took at most 0.30 ms, 2.98 times" in latency(0.3, 0.1).sentence
    assert "the 0.10 ms measured at promotion" in latency(0.3, 0.1).sentence


def test_above_the_floor_the_ratio_decides() -> None:
    assert latency(1.2, 0.1).state == "breach"
    assert latency(1.2, 1.0).state == "ok"


def test_the_floor_is_the_rules_own() -> None:
    assert latency(0.3, 0.1, floor_ms=0).state == "breach"
    assert latency(8.0, 2.0).state == "breach"
    assert (latency(8.0, 2.0, floor_ms=10).state, latency(8.0, 2.0, floor_ms=10).clear) == ("ok", True)


def test_a_tail_that_is_surely_within_the_floor_only_in_part_is_suspect() -> None:
    rows = [row(number, latency_ms=0.9 if number % 100 < 94 else 1.5) for number in range(400)]
    [found] = decide(rule("latency_ratio"), tally(rows), golden(1, 1, 0.1, 300))
    assert (found.state, found.clear) == ("suspect", False)


def test_too_few_fast_answers_still_decide_nothing() -> None:
    found = latency(0.3, 0.1, n=10)
    assert (found.state, found.clear) == ("insufficient", False)


@pytest.mark.parametrize("floor", [-1, float("inf"), float("nan"), "fast"])
def test_a_floor_that_cannot_be_is_refused(floor: object) -> None:
    with pytest.raises(ValidationError, match="floor_ms"):
        rule("latency_ratio", floor_ms=floor)


def test_a_floor_means_nothing_for_other_metrics() -> None:
    with pytest.raises(ValidationError, match="means nothing for metric accuracy_drop"):
        rule(floor_ms=2)


def test_no_version_is_sent_back_for_answers_that_are_fast_enough() -> None:
    seen = {"host": {latency_bin(0.4): 1000}}
    assert find_latency_regression(seen, {"host": 0.1}, 2.0, 200, 1e-5) is None
    assert find_latency_regression(seen, {"host": 0.1}, 2.0, 200, 1e-5, floor_ms=0.1) is not None


def test_the_gate_takes_a_candidate_that_is_fast_enough() -> None:
    rows = (exact(970, 970, 1000), exact(30, 55, 60, origin="feedback"))
    quick = evidence(*rows, champion_latency_p95_ms=0.1, candidate_latency_p95_ms=0.3)
    verdict = verdict_on(quick)
    assert verdict.outcome == "promote"
    assert any("It is 0.3 ms, and up to 1 ms are fast enough." in reason for reason in verdict.reasons)
    assert verdict_on(replace(quick, candidate_latency_p95_ms=1.2)).outcome == "keep"
    assert verdict_on(replace(quick, policy=GatePolicy(latency_floor_ms=0))).outcome == "keep"
