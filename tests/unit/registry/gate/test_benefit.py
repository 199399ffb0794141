"""Simulations of the question whether a candidate is better, with rows as they really come."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import special

from registry.errors import GateError
from registry.gate.benefit_checks import check_benefit
from registry.gate.checks import attempt_level
from registry.gate.paired_comparison import (
    PairedPredictions,
    accuracy_bounds,
    benefit_p_value,
    difference_bounds,
    mcnemar_exact,
)
from registry.gate.verdict import gate_verdict
from tests.support.gate_evidence import arranged, evidence, exact
from tests.support.gate_simulations import (
    NetworkPair,
    better_in_doubtful_answers,
    discordant_rows,
    drawn_rows,
    equal_networks,
)


@pytest.mark.parametrize(("world", "before"), [(equal_networks, 0.06), (better_in_doubtful_answers, 0.2)])
def test_rows_drawn_by_the_champions_doubt_do_not_favour_another_model(
    world: Callable[[np.random.Generator, int], NetworkPair], before: float
) -> None:
    """Counted as if they were drawn alike, too many candidates that are no better pass at a level of 5 %."""
    generator, runs = np.random.default_rng(7), 40
    golden, alike, weighted = exact(9, 9, 10), 0, 0
    for _ in range(runs):
        recent = drawn_rows(generator, world(generator, 20_000), 2000)
        alike += mcnemar_exact(recent.losses, recent.gains) < 0.05
        weighted += check_benefit(evidence(golden, recent)).passed is True
    assert alike >= before * runs
    assert weighted <= 0.05 * runs


def test_a_candidate_that_is_better_is_seen_on_weighted_rows() -> None:
    """5 points better, half of the rows drawn with more than three times the smallest chance."""
    generator, shown = np.random.default_rng(3), 0
    for _ in range(40):
        recent = arranged(generator, 300, 0.90, 0.95, 0.02, "feedback")
        doubtful = generator.random(300) < 0.5
        shown += benefit_p_value(replace(recent, shares=np.where(doubtful, 0.3, 1.0))) < 0.03
    assert shown >= 34


@pytest.mark.parametrize("loss", [0.02, 0.05, 0.10])
def test_harm_now_is_not_hidden_by_a_gain_on_golden_rows_where_recent_rows_are_few(loss: float) -> None:
    """One point better on golden rows and worse now, 49 recent rows: pooled, up to 69 % of these were promoted."""
    generator, promoted = np.random.default_rng(4), 0
    for _ in range(100):
        golden = arranged(generator, 3000, 0.95, 0.96, 0.04, "golden")
        recent = arranged(generator, 49, 0.95, 0.95 - loss, 0.04, "feedback")
        promoted += gate_verdict(evidence(golden, recent)).outcome == "promote"
    assert promoted <= 5


def test_few_recent_rows_that_show_nothing_leave_it_unsettled() -> None:
    verdict = gate_verdict(evidence(exact(900, 960, 1000), exact(30, 31, 40, origin="feedback")))
    assert verdict.outcome == "inconclusive"
    assert "shows no benefit, and 40 rows cannot rule out harm" in verdict.reasons[0]


def test_golden_and_recent_rows_speak_together_where_the_recent_ones_rule_harm_out() -> None:
    golden = exact(900, 960, 1000)
    check = check_benefit(evidence(golden, exact(240, 241, 250, origin="feedback")))
    assert check.passed is True
    assert "On 1250 golden+feedback rows the candidate shows a benefit" in check.detail
    doubtful = arranged(np.random.default_rng(1), 250, 0.9, 0.9, 0.2, "feedback")
    assert check_benefit(evidence(golden, doubtful)).passed is None


@pytest.mark.parametrize("recent", [0, 200, 1000])
def test_more_recent_rows_do_not_take_a_benefit_away_that_is_everywhere(recent: int) -> None:
    """One point better on 3 000 golden rows and now: with 200 recent rows 10 % were promoted, with none 99 %."""
    generator, passed = np.random.default_rng(5), 0
    for _ in range(40):
        golden = arranged(generator, 3000, 0.98, 0.99, 0.006, "golden")
        now = arranged(generator, recent, 0.98, 0.99, 0.006, "feedback") if recent else None
        passed += check_benefit(evidence(golden, now)).passed is True
    assert passed >= 36


def test_the_levels_of_all_attempts_add_up_to_alpha() -> None:
    assert sum(attempt_level(0.05, attempt) for attempt in range(1, 20_000)) == pytest.approx(0.05, rel=1e-4)
    gained, recent = exact(970, 970, 1000), exact(30, 37, 60, origin="feedback")
    assert check_benefit(evidence(gained, recent)).passed is True
    third = check_benefit(evidence(gained, recent, attempt=3))
    assert third.passed is None
    assert third.detail.endswith("exact McNemar p = 0.0078; attempt 3 needs less than 0.0034.")


def test_fifty_attempts_that_are_no_better_seldom_bring_a_promotion() -> None:
    """At a level of 5 % each, three quarters of the series end with one."""
    generator, runs, before, now = np.random.default_rng(8), 2000, 0.0, 0.0
    gained = generator.binomial(20, 0.5, (runs, 50))
    p_values = special.betainc(np.maximum(gained, 1e-9), 21 - gained, 0.5)
    levels = np.array([attempt_level(0.05, attempt) for attempt in range(1, 51)])
    before, now = (float(np.mean((p_values < level).any(axis=1))) for level in (0.05, levels))
    assert before > 0.5
    assert now <= 0.05


@pytest.mark.parametrize("size", [5, 20])
def test_rows_that_are_wrong_together_are_one_observation(size: int) -> None:
    """Counted one by one, 24 to 42 % of candidates that are no better pass at a level of 5 %."""
    generator, runs, alike, together = np.random.default_rng(9), 60, 0, 0
    for _ in range(runs):
        sheets = np.repeat(np.arange(600 // size), size)
        rows = discordant_rows(generator, 600 // size, 0.05, 0.05, "feedback").take(sheets)
        alike += mcnemar_exact(rows.losses, rows.gains) < 0.05
        together += benefit_p_value(replace(rows, blocks=sheets)) < 0.05
    assert alike > 0.1 * runs
    assert together <= 0.1 * runs


def test_weighted_rows_and_blocks_have_wider_bounds_than_plain_ones() -> None:
    plain = arranged(np.random.default_rng(6), 200, 0.9, 0.9, 0.1, "feedback")
    weighted = replace(plain, shares=np.tile([1.0, 0.25], 100))
    in_blocks = replace(plain, blocks=np.arange(200) // 4)
    width = {name: np.diff(difference_bounds(rows, 0.05)) for name, rows in
             (("plain", plain), ("weighted", weighted), ("blocks", in_blocks))}  # fmt: skip
    assert width["plain"] < width["weighted"]
    assert width["plain"] < width["blocks"]
    share, low, high = accuracy_bounds(weighted, weighted.candidate_correct, 0.05)
    assert low < share < high
    assert not weighted.concatenate(plain).is_plain
    assert plain.concatenate(plain).is_plain


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shares": np.array([1.0, 0.0])}, "above 0"),
        ({"shares": np.ones(3)}, "above 0"),
        ({"blocks": np.ones(3)}, "3 blocks"),
    ],
)
def test_shares_and_blocks_that_do_not_fit_are_refused(wrong: dict[str, Any], message: str) -> None:
    rows = PairedPredictions(np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros(2, np.int64), "feedback")
    with pytest.raises(GateError, match=message):
        replace(rows, **wrong)
