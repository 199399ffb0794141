"""The verdict on a candidate."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from registry.errors import GateError
from registry.gate import Evidence, GatePolicy, Verdict, decide, decide_first
from registry.paired import Comparison

CLASSES = tuple("0123456789")
SIMULATIONS = 200


def drawn(seed: int, n: int, champion: float, candidate: float, origin: str, shared: float = 0.8) -> Comparison:
    """Rows on which the models have these accuracies and share a part of their luck."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, n)
    luck, own = generator.random(n), generator.random(n)
    candidate_luck = np.where(generator.random(n) < shared, luck, own)
    wrong = (labels + 1) % 10
    return Comparison(
        labels,
        np.where(luck < champion, labels, wrong),
        np.where(candidate_luck < candidate, labels, wrong),
        origin,
    )


def evidence(golden: Comparison, feedback: Comparison | None = None, **costs: float) -> Evidence:
    values: dict[str, Any] = {
        "champion_latency_p95_ms": 2.0,
        "candidate_latency_p95_ms": 2.0,
        "champion_bytes": 1000,
        "candidate_bytes": 1000,
        **costs,
    }
    return Evidence(golden, feedback, CLASSES, **values)


def outcomes(golden: tuple[float, float], feedback: tuple[float, float], rows: int = 1000) -> list[str]:
    return [
        decide(
            evidence(drawn(2 * seed, rows, *golden, "golden"), drawn(2 * seed + 1, 60, *feedback, "feedback"))
        ).outcome
        for seed in range(SIMULATIONS)
    ]


def exact(champion_right: int, candidate_right: int, n: int, label: int = 0, origin: str = "golden") -> Comparison:
    """Rows of one class where the better model is right on all rows that the other is right on."""
    labels = np.full(n, label)
    wrong = (label + 1) % 10
    rank = np.arange(n)
    return Comparison(
        labels,
        np.where(rank < champion_right, label, wrong),
        np.where(rank < candidate_right, label, wrong),
        origin,
    )


def check_of(verdict: Verdict, name: str) -> bool | None:
    return {check.name: check.passed for check in verdict.checks}[name]


def test_a_candidate_equal_to_the_champion_is_promoted_no_more_often_than_alpha() -> None:
    assert outcomes((0.97, 0.97), (0.5, 0.5)).count("promote") <= 0.05 * SIMULATIONS


def test_a_clearly_better_candidate_is_promoted() -> None:
    assert outcomes((0.97, 0.97), (0.5, 0.9)).count("promote") >= 0.95 * SIMULATIONS


def test_better_on_new_rows_but_worse_on_golden_is_never_promoted() -> None:
    assert "promote" not in outcomes((0.97, 0.92), (0.5, 0.9))


def test_a_promotion_gives_every_check_as_a_reason() -> None:
    verdict = decide(evidence(exact(970, 970, 1000), exact(30, 55, 60, origin="feedback")))
    assert verdict.outcome == "promote"
    assert [check.name for check in verdict.checks] == ["golden", "benefit", "classes", "latency", "size"]
    assert len(verdict.reasons) == 5
    assert "On 60 feedback rows the candidate is better: 25 rows gained, 0 lost" in verdict.reasons[1]


def test_a_significant_loss_on_golden_keeps_the_champion() -> None:
    verdict = decide(evidence(exact(970, 900, 1000), exact(30, 55, 60, origin="feedback")))
    assert verdict.outcome == "keep"
    assert "is worse by more than 2.0 points" in verdict.reasons[0]


def test_a_loss_that_cannot_be_ruled_out_is_inconclusive() -> None:
    verdict = decide(evidence(exact(97, 95, 100), exact(30, 55, 60, origin="feedback")))
    assert verdict.outcome == "inconclusive"
    assert "may be worse" in verdict.reasons[0]


def test_too_small_a_golden_set_rules_nothing_out() -> None:
    verdict = decide(evidence(exact(40, 40, 49), exact(30, 55, 60, origin="feedback")))
    assert check_of(verdict, "golden") is None
    assert "49 rows; 50 are needed" in verdict.reasons[0]


def test_without_benefit_the_verdict_is_inconclusive_and_says_so() -> None:
    verdict = decide(evidence(exact(970, 970, 1000), exact(30, 30, 60, origin="feedback")))
    assert verdict.outcome == "inconclusive"
    assert "shows no benefit" in verdict.reasons[0]


def test_a_candidate_significantly_worse_on_feedback_is_not_taken() -> None:
    verdict = decide(evidence(exact(970, 970, 1000), exact(55, 30, 60, origin="feedback")))
    assert verdict.outcome == "keep"
    assert check_of(verdict, "benefit") is False


@pytest.mark.parametrize(
    ("feedback", "used"),
    [
        (exact(30, 55, 60, origin="feedback"), "60 feedback rows"),
        (exact(10, 20, 20, origin="feedback"), "1020 golden+feedback rows"),
        (None, "1000 golden rows"),
        (exact(0, 0, 0, origin="feedback"), "1000 golden rows"),
    ],
)
def test_benefit_is_judged_where_there_are_rows_enough(feedback: Comparison | None, used: str) -> None:
    verdict = decide(evidence(exact(970, 970, 1000), feedback))
    assert used in verdict.checks[1].detail


def test_a_class_that_is_given_up_keeps_the_champion() -> None:
    golden = exact(900, 900, 900).joined(exact(48, 20, 50, label=7))
    verdict = decide(evidence(golden, exact(30, 60, 60, origin="feedback")), GatePolicy(golden_margin=0.1))
    assert verdict.outcome == "keep"
    assert verdict.reasons == ("The candidate loses more than 10.0 points on 7 (56.0 points of 50 rows).",)


def test_a_small_but_certain_loss_in_a_class_is_tolerated() -> None:
    golden = exact(900, 950, 1000).joined(exact(500, 470, 500, label=7))
    verdict = decide(evidence(golden), GatePolicy(golden_margin=0.1))
    assert check_of(verdict, "classes") is True


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        ({"candidate_latency_p95_ms": 3.1}, "p95 latency is 1.55 times"),
        ({"candidate_bytes": 1600}, "model file is 1.60 times"),
    ],
)
def test_a_slower_or_larger_candidate_is_not_taken(cost: dict[str, float], reason: str) -> None:
    verdict = decide(evidence(exact(970, 970, 1000), exact(30, 55, 60, origin="feedback"), **cost))
    assert verdict.outcome == "keep"
    assert reason in verdict.reasons[0]


@pytest.mark.parametrize(("correct", "outcome"), [(390, "promote"), (300, "keep"), (358, "inconclusive"), (0, "keep")])
def test_a_first_version_must_surely_reach_the_floor(correct: int, outcome: str) -> None:
    verdict = decide_first(correct, 395)
    assert verdict.outcome == outcome
    assert "a first version needs 90.0 %" in verdict.reasons[0]


def test_a_first_version_without_golden_rows_is_inconclusive() -> None:
    assert decide_first(0, 0).outcome == "inconclusive"


def test_a_verdict_survives_json() -> None:
    verdict = decide(evidence(drawn(1, 400, 0.97, 0.97, "golden")))
    assert Verdict.from_json(verdict.to_json()) == verdict


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"outcome": "maybe", "reasons": [], "checks": []}', '{"checks": [{"x": 1}]}']
)
def test_text_that_is_no_verdict_is_refused(text: str) -> None:
    with pytest.raises(GateError):
        Verdict.from_json(text)


@pytest.mark.parametrize(
    "setting",
    [{"alpha": 0.0}, {"alpha": 0.6}, {"golden_margin": -0.1}, {"class_margin": 1.0}, {"min_rows": 0}],
)
def test_a_policy_that_means_nothing_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(GateError, match=next(iter(setting))):
        replace(GatePolicy(), **setting)


def test_evidence_without_measured_costs_or_with_foreign_labels_is_refused() -> None:
    with pytest.raises(GateError, match="measure both models"):
        evidence(exact(9, 9, 10), champion_bytes=0)
    with pytest.raises(GateError, match=r"outside 0\.\.9"):
        evidence(exact(9, 9, 10, label=10))


def test_a_large_loss_in_a_small_class_that_rows_cannot_settle_is_inconclusive() -> None:
    small = exact(champion_right=20, candidate_right=16, n=20, label=1)
    large = exact(champion_right=900, candidate_right=960, n=1000, label=0)
    verdict = decide(evidence(large.joined(small)))
    assert check_of(verdict, "classes") is None
    assert verdict.outcome == "inconclusive"
    assert "may lose more than 10.0 points" in " ".join(verdict.reasons)
