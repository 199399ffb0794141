"""The questions of the gate."""

from dataclasses import replace

import numpy as np
import pytest

from registry.errors import GateError
from registry.gate import benefit_checks, harm_checks
from registry.gate.checks import GateCheck
from registry.gate.evidence import BestVersion, PairedConfidence
from registry.gate.paired_comparison import PairedPredictions
from registry.gate.policy import GatePolicy
from registry.gate.verdict import gate_verdict, replay_verdict
from tests.support.gate_evidence import arranged, evidence, exact


def asked(check: GateCheck | None) -> GateCheck:
    assert check is not None
    return check


def test_what_was_not_measured_is_not_asked() -> None:
    seen = evidence(exact(9, 9, 10), groups=("north",) * 9 + ("",))
    for question in (
        benefit_checks.check_best_version,
        harm_checks.check_groups,
        harm_checks.check_calibration,
        harm_checks.check_robustness,
    ):
        assert question(seen) is None


def marks(right: int, n: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    return (np.arange(n) < right).astype(np.int64)


@pytest.mark.parametrize(
    ("candidate", "n", "passed", "limit"), [(985, 1000, True, 2.0), (960, 1000, False, 0.5), (196, 200, None, 2.0)]
)
def test_a_candidate_better_than_its_champion_must_also_reach_the_best_there_was(
    candidate: int, n: int, passed: bool | None, limit: float
) -> None:
    record = BestVersion(2, 99 * n // 100, n, marks(99 * n // 100, n))
    seen = evidence(exact(95 * n // 100, candidate, n), best=record)
    check = asked(benefit_checks.check_best_version(seen))
    assert benefit_checks.check_golden_accuracy(seen).passed is True
    assert check.passed is passed
    assert f"than version 2, the best champion so far, by more than {limit} points" in check.detail


def test_counts_alone_settle_less_than_rows() -> None:
    golden = exact(985, 985, 1000)
    by_rows = asked(
        benefit_checks.check_best_version(evidence(golden, best=BestVersion(2, 990, 1000, marks(990, 1000))))
    )
    by_counts = asked(benefit_checks.check_best_version(evidence(golden, best=BestVersion(2, 990, 1000))))
    assert "from its counts alone" in by_counts.detail
    assert by_counts.numbers["low"] < by_rows.numbers["low"] < -0.005 < by_rows.numbers["high"]
    assert by_counts.numbers["difference"] == pytest.approx(by_rows.numbers["difference"])
    assert (
        asked(benefit_checks.check_best_version(evidence(exact(195, 195, 200), best=BestVersion(2, 198, 200)))).passed
        is None
    )
    assert (
        asked(benefit_checks.check_best_version(evidence(exact(900, 900, 1000), best=BestVersion(2, 999, 1000)))).passed
        is False
    )


def test_few_golden_rows_rule_no_harm_out() -> None:
    seen = evidence(exact(40, 40, 49), best=BestVersion(2, 40, 49))
    assert (
        benefit_checks.check_golden_accuracy(seen).passed,
        asked(benefit_checks.check_best_version(seen)).passed,
    ) == (None, None)


def sides(north: tuple[int, int], south: tuple[int, int], n: int = 200) -> GateCheck:
    """The finding where champion and candidate are right so often in the north and in the south."""
    rows = exact(*north, n).concatenate(exact(*south, n))
    return asked(harm_checks.check_groups(evidence(rows, groups=("north",) * n + ("south",) * n)))


def test_a_group_that_is_left_behind_blocks() -> None:
    check = sides(north=(190, 190), south=(180, 140))
    assert check.passed is False
    assert "for south (+20.0 points, at least +" in check.detail


@pytest.mark.parametrize(
    ("north", "south"),
    [
        ((190, 170), (190, 170)),
        ((190, 190), (180, 172)),
        ((160, 196), (190, 192)),
        ((190, 190), (140, 140)),
    ],
    ids=["both lose", "little", "catches up", "was behind"],
)
def test_a_gap_that_is_not_shown_to_grow_does_not_block(north: tuple[int, int], south: tuple[int, int]) -> None:
    assert sides(north, south).passed is True


def test_untagged_rows_belong_to_no_group() -> None:
    rows = exact(100, 100, 100).concatenate(exact(100, 40, 100)).concatenate(exact(100, 0, 100))
    tags = ("north",) * 100 + ("south",) * 100 + ("",) * 100
    check = asked(harm_checks.check_groups(evidence(rows, groups=tags)))
    assert check.numbers["change_south"] == pytest.approx(0.6)


def test_a_gap_that_grows_by_the_limit_blocks_no_more_often_than_alpha() -> None:
    generator = np.random.default_rng(3)
    blocked = 0
    for _ in range(200):
        rows = arranged(generator, 300, 0.95, 0.95, 0.05, "golden").concatenate(
            arranged(generator, 200, 0.85, 0.80, 0.05, "golden")
        )
        check = asked(harm_checks.check_groups(evidence(rows, groups=("north",) * 300 + ("south",) * 200)))
        blocked += check.passed is False
    assert blocked <= 0.08 * 200


def sure(before: float, after: float, golden: PairedPredictions | None = None) -> GateCheck:
    """The finding where both models are right on 90 of 100 rows with these confidences."""
    rows = golden or exact(90, 90, 100)
    return asked(
        harm_checks.check_calibration(
            evidence(rows, confidence=PairedConfidence(np.full(100, before), np.full(100, after)))
        )
    )


def test_confidence_that_deserves_less_trust_blocks() -> None:
    assert sure(0.9, 0.4).passed is False
    assert sure(0.9, 1.0).passed is True
    assert sure(0.4, 0.9).passed is True
    assert sure(0.9, 0.4).numbers["error_candidate"] == pytest.approx(0.5)
    assert sure(0.9, 0.4).numbers["brier_champion"] == pytest.approx(0.09)


def test_calibration_that_is_worse_by_the_limit_blocks_no_more_often_than_alpha() -> None:
    generator, blocked = np.random.default_rng(4), 0
    for _ in range(400):
        right = np.where(generator.random(400) < 0.8, 0, 1)
        rows = PairedPredictions(np.zeros(400, np.int64), right, right, "golden")
        worse = 0.8 - np.sqrt(0.02)  # the Brier score of a constant p is (p - 0.8)**2 + 0.16
        confidence = PairedConfidence(np.full(400, 0.8), np.full(400, worse))
        blocked += asked(harm_checks.check_calibration(evidence(rows, confidence=confidence))).passed is False
    assert blocked <= 0.08 * 400


def test_golden_rows_that_are_missing_say_nothing_of_calibration() -> None:
    check = asked(
        harm_checks.check_calibration(evidence(exact(0, 0, 0), confidence=PairedConfidence(np.ones(0), np.ones(0))))
    )
    assert (check.passed, check.numbers["low"], check.numbers["high"]) == (True, -1.0, 1.0)


def test_a_disturbance_that_is_shown_to_cost_more_than_the_limit_blocks() -> None:
    seen = {"noise": exact(180, 120, 200), "blur": exact(180, 176, 200)}
    check = asked(harm_checks.check_robustness(evidence(exact(9, 9, 10), robustness=seen)))
    assert check.passed is False
    assert "under noise -30.0 points (-" in check.detail
    assert "blur" not in check.detail
    assert check.numbers["difference_blur"] == pytest.approx(-0.02)


def test_a_disturbance_that_may_cost_more_than_the_limit_does_not_block() -> None:
    check = asked(harm_checks.check_robustness(evidence(exact(9, 9, 10), robustness={"noise": exact(36, 30, 40)})))
    assert check.passed is True
    assert "noise -15.0 points" in check.detail


def test_margins_are_taken_from_the_policy() -> None:
    seen = {"noise": exact(180, 120, 200)}
    lenient = GatePolicy(robustness_margin=0.5)
    assert (
        asked(harm_checks.check_robustness(evidence(exact(9, 9, 10), robustness=seen, policy=lenient))).passed is True
    )


def test_what_a_strong_disturbance_costs_is_told_and_blocks_only_where_the_policy_says_so() -> None:
    """Contrast at level 3: 0.675 before, 0.250 now, on 400 rows; noise explains the others."""
    strong = {"contrast 3": exact(270, 100, 400), "noise 3": exact(300, 298, 400), "blur 3": exact(200, 260, 400)}
    rows = (exact(970, 970, 1000), exact(30, 55, 60, origin="feedback"))
    seen = evidence(*rows, robustness={"noise": exact(36, 36, 40)}, strong=strong)
    verdict = gate_verdict(seen)
    assert verdict.outcome == "promote"
    assert verdict.reasons[-1].startswith(
        "Warning: under strong disturbances the candidate reads worse than the champion: contrast 3 -42.5 points ("
    )
    assert "noise 3" not in verdict.reasons[-1]
    assert replay_verdict(seen.to_json()) == verdict
    strict = replace(seen, policy=GatePolicy(strong_loss_max=0.3))
    assert gate_verdict(strict).outcome == "keep"
    assert "(30.0 points under strong ones) under contrast 3 -42.5 points" in gate_verdict(strict).reasons[0]


def test_noise_under_strong_disturbances_is_no_warning() -> None:
    generator = np.random.default_rng(4)
    warned = 0
    for _ in range(300):
        strong = {f"kind {k}": arranged(generator, 400, 0.6, 0.6, 0.3, "kind") for k in range(8)}
        warned += harm_checks.strong_disturbance_warning(evidence(exact(9, 9, 10), strong=strong)) is not None
    assert warned / 300 <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_a_policy_that_cannot_be_is_refused() -> None:
    with pytest.raises(GateError, match="strong_loss_max"):
        GatePolicy(strong_loss_max=1.1)
    with pytest.raises(GateError, match="latency_floor_ms"):
        GatePolicy(latency_floor_ms=-1.0)
