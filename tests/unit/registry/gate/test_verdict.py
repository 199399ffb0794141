"""The verdict on a candidate."""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import GateError
from registry.gate.evidence import BestVersion, FirstVersionEvidence, GateEvidence, PairedConfidence
from registry.gate.paired_comparison import PairedPredictions
from registry.gate.policy import GatePolicy
from registry.gate.verdict import Verdict, first_version_verdict, gate_verdict, replay_verdict
from tests.support.gate_evidence import CLASSES, arranged, evidence, exact

SIMULATIONS = 300
RECENT = exact(30, 55, 60, origin="feedback")


@cache
def outcomes(
    golden_change: float, recent_change: float, rows: int = 1000, recent: int = 150, runs: int = SIMULATIONS
) -> Counter[str]:
    """What the gate says of candidates that truly change the accuracies 0.97 and 0.70 so much."""
    generator = np.random.default_rng(7)
    return Counter(
        gate_verdict(
            evidence(
                arranged(generator, rows, 0.97, 0.97 + golden_change, 0.02, "golden"),
                arranged(generator, recent, 0.70, 0.70 + recent_change, 0.10, "feedback"),
            )
        ).outcome
        for _ in range(runs)
    )


def check_of(verdict: Verdict, name: str) -> bool | None:
    return {check.name: check.passed for check in verdict.checks}[name]


def test_a_candidate_equal_to_the_champion_is_promoted_no_more_often_than_alpha() -> None:
    assert outcomes(0.0, 0.0)["promote"] <= 0.05 * SIMULATIONS
    assert outcomes(0.0, 0.0, rows=400, recent=500)["promote"] <= 0.05 * SIMULATIONS


def test_a_candidate_that_loses_the_whole_margin_is_promoted_no_more_often_than_alpha() -> None:
    noise = 3 * (0.05 * 0.95 / SIMULATIONS) ** 0.5
    assert outcomes(-0.02, 0.15)["promote"] <= (0.05 + noise) * SIMULATIONS


@pytest.mark.parametrize("rows", [400, 1000])
def test_a_candidate_that_loses_two_points_beyond_the_margin_is_never_promoted(rows: int) -> None:
    assert outcomes(-0.04, 0.15, rows=rows)["promote"] <= 0.01 * SIMULATIONS


def test_a_clearly_better_candidate_is_promoted() -> None:
    assert outcomes(0.0, 0.15)["promote"] >= 0.93 * SIMULATIONS


def test_margins_do_not_add_up_over_promotions() -> None:
    """Each candidate is truly 1.5 points worse than the one before and better on the recent rows."""
    generator = np.random.default_rng(1)
    lowest = {False: 1.0, True: 1.0}
    for remembers in lowest:
        ranks = generator.permutation(5000)
        labels, wrong, score, marks = np.zeros(5000, np.int64), np.ones(5000, np.int64), 0.98, ranks < 0.98 * 5000
        first, champion = BestVersion(1, int(marks.sum()), 5000, marks.astype(np.int64)), marks
        for _ in range(6):
            candidate = ranks < (score - 0.015) * 5000
            golden = PairedPredictions(
                labels, np.where(champion, labels, wrong), np.where(candidate, labels, wrong), "golden"
            )
            best, policy = first if remembers else None, GatePolicy(golden_tolerance=0.02)
            if gate_verdict(evidence(golden, RECENT, best=best, policy=policy)).outcome != "promote":
                break
            champion, score = candidate, score - 0.015
        lowest[remembers] = score
    assert lowest[False] < 0.90
    assert lowest[True] == pytest.approx(0.965)


@pytest.mark.parametrize("rows", [1000, 3000, 10_000])
def test_more_golden_rows_let_no_larger_loss_through(rows: int) -> None:
    """1.5 points lost on golden rows, 15 won now: with a margin of 2 points alone, 80 % pass at 10 000 rows."""
    share = outcomes(-0.015, 0.15, rows=rows, runs=100)["promote"] / 100
    assert share <= 0.3
    assert outcomes(0.0, 0.15, rows=rows, runs=100)["promote"] >= 88


def test_a_promotion_gives_every_check_as_a_reason() -> None:
    verdict = gate_verdict(evidence(exact(970, 970, 1000), exact(30, 55, 60, origin="feedback")))
    assert verdict.outcome == "promote"
    assert [check.name for check in verdict.checks] == ["pinned", "golden", "benefit", "classes", "latency", "size"]
    assert len(verdict.reasons) == 6
    assert "On 60 feedback rows the candidate shows a benefit: 25 rows gained, 0 lost" in verdict.reasons[2]


def test_a_significant_loss_on_golden_keeps_the_champion() -> None:
    verdict = gate_verdict(evidence(exact(970, 900, 1000), exact(30, 55, 60, origin="feedback")))
    assert verdict.outcome == "keep"
    assert "is worse by more than 0.5 points" in verdict.reasons[0]


def test_a_loss_that_cannot_be_ruled_out_is_inconclusive() -> None:
    verdict = gate_verdict(evidence(exact(97, 95, 100), exact(30, 55, 60, origin="feedback")))
    assert verdict.outcome == "inconclusive"
    assert "may be worse" in verdict.reasons[0]


def test_too_small_a_golden_set_rules_nothing_out() -> None:
    verdict = gate_verdict(evidence(exact(40, 40, 49), exact(30, 55, 60, origin="feedback")))
    assert check_of(verdict, "golden") is None
    assert "49 rows; 50 are needed" in verdict.reasons[0]


def test_a_benefit_that_is_not_shown_is_not_settled() -> None:
    for right in (30, 33):
        verdict = gate_verdict(evidence(exact(970, 970, 1000), exact(30, right, 60, origin="feedback")))
        assert verdict.outcome == "inconclusive"
        assert "shows no benefit" in verdict.reasons[0]


@pytest.mark.parametrize(("least", "outcome"), [(0.0, "promote"), (0.3, "promote"), (0.4, "inconclusive")])
def test_a_benefit_must_be_shown_to_exceed_the_least_that_is_wanted(least: float, outcome: str) -> None:
    verdict = gate_verdict(evidence(exact(970, 970, 1000), RECENT, policy=GatePolicy(min_benefit=least)))
    assert verdict.outcome == outcome
    assert least == 0 or f"benefit of more than {100 * least:.1f} points" in " ".join(verdict.reasons)


def test_too_few_rows_cannot_show_a_benefit() -> None:
    verdict = gate_verdict(evidence(exact(20, 40, 40)))
    assert check_of(verdict, "benefit") is None
    assert verdict.outcome == "inconclusive"
    assert "as 50 rows are needed" in verdict.reasons[1]


def test_harm_on_few_recent_rows_is_not_hidden_by_gains_on_the_golden_ones() -> None:
    verdict = gate_verdict(evidence(exact(900, 960, 1000), exact(30, 10, 40, origin="feedback")))
    assert verdict.outcome == "keep"
    assert "On 40 feedback rows the candidate is worse: 0 rows gained, 20 lost" in verdict.reasons[0]


def test_golden_rows_that_a_model_may_have_learnt_settle_nothing_whatever_their_digest() -> None:
    better = exact(900, 990, 1000)
    for digest in ("", "a" * 64):
        seen = evidence(better, RECENT, golden_digest="a" * 64, champion_digest=digest, unlearnt=False)
        verdict = gate_verdict(seen)
        assert verdict.outcome == "inconclusive"
        assert "known to have taught neither model" in verdict.reasons[0]
        assert replay_verdict(seen.to_json()) == verdict


def test_a_verdict_says_when_most_labels_are_set_aside_for_the_rows_that_judge() -> None:
    same = exact(970, 970, 1000)
    many = gate_verdict(evidence(same, RECENT, labels=400, labels_set_aside=201))
    assert many.reasons[-1].startswith("201 of 400 labels neither trained nor judged")
    settled = gate_verdict(evidence(same, RECENT, labels=400, labels_set_aside=300, unlearnt=False))
    assert settled.reasons[-1].startswith("300 of 400 labels")
    few = gate_verdict(evidence(same, RECENT, labels=400, labels_set_aside=200))
    assert few == gate_verdict(evidence(same, RECENT))


def test_few_days_of_golden_rows_settle_nothing_and_the_reason_says_how_many() -> None:
    same = replace(exact(970, 970, 1000), blocks=np.arange(1000) // 100)
    best = BestVersion(1, 970, 1000, same.champion_correct.astype(np.int64))
    verdict = gate_verdict(evidence(same, RECENT, best=best))
    assert (check_of(verdict, "golden"), check_of(verdict, "best")) == (None, None)
    assert any("they are of 10 days, and of fewer than 20" in reason for reason in verdict.reasons)
    more = replace(exact(970, 970, 1000), blocks=np.arange(1000) // 25)
    verdict = gate_verdict(evidence(more, RECENT, best=best))
    assert (check_of(verdict, "golden"), check_of(verdict, "best")) == (True, True)


def test_another_golden_set_settles_nothing_and_says_what_to_do() -> None:
    verdict = gate_verdict(evidence(exact(970, 900, 1000), RECENT, golden_digest="a" * 64, champion_digest="b" * 64))
    assert (verdict.outcome, len(verdict.reasons)) == ("inconclusive", 1)
    assert "is aaaaaaaaaaaa, the champion was judged on bbbbbbbbbbbb" in verdict.reasons[0]
    assert "Bring the old golden set back" in verdict.reasons[0]
    same = gate_verdict(evidence(exact(970, 970, 1000), RECENT, golden_digest="a" * 64, champion_digest="a" * 64))
    assert same.outcome == "promote"


def test_a_trade_of_the_old_world_for_the_new_is_named_and_left_to_people() -> None:
    lost, doubtful = exact(970, 900, 1000), exact(97, 95, 100)
    for golden, outcome in ((lost, "keep"), (doubtful, "inconclusive")):
        verdict = gate_verdict(evidence(golden, RECENT))
        assert verdict.outcome == outcome
        assert "a person may accept this trade" in verdict.reasons[-1]
    without = gate_verdict(evidence(lost, exact(30, 30, 60, origin="feedback")))
    assert "a person may accept" not in " ".join(without.reasons)


def test_a_candidate_significantly_worse_on_feedback_is_not_taken() -> None:
    verdict = gate_verdict(evidence(exact(970, 970, 1000), exact(55, 30, 60, origin="feedback")))
    assert verdict.outcome == "keep"
    assert check_of(verdict, "benefit") is False


@pytest.mark.parametrize(
    ("feedback", "used"),
    [
        (exact(30, 55, 60, origin="feedback"), "60 feedback rows"),
        (exact(10, 20, 20, origin="feedback"), "20 feedback rows"),
        (None, "1000 golden rows"),
        (exact(0, 0, 0, origin="feedback"), "1000 golden rows"),
    ],
)
def test_benefit_is_judged_where_the_world_moved(feedback: PairedPredictions | None, used: str) -> None:
    verdict = gate_verdict(evidence(exact(970, 970, 1000), feedback))
    assert used in verdict.checks[2].detail


def test_a_class_that_is_given_up_keeps_the_champion() -> None:
    golden = exact(900, 900, 900).concatenate(exact(48, 20, 50, label=7))
    lenient = GatePolicy(golden_margin=0.1, golden_tolerance=0.1)
    verdict = gate_verdict(evidence(golden, exact(30, 60, 60, origin="feedback"), policy=lenient))
    assert verdict.outcome == "keep"
    assert verdict.reasons == (
        "The candidate is proved to lose, here more than 10.0 points, on 7 (56.0 points of 50 rows).",
    )


def test_a_small_but_certain_loss_in_a_class_is_tolerated() -> None:
    golden = exact(900, 950, 1000).concatenate(exact(500, 470, 500, label=7))
    verdict = gate_verdict(evidence(golden, policy=GatePolicy(golden_margin=0.1)))
    assert check_of(verdict, "classes") is True


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        ({"candidate_latency_p95_ms": 3.1}, "p95 latency is 1.55 times"),
        ({"candidate_bytes": 1600}, "model file is 1.60 times"),
    ],
)
def test_a_slower_or_larger_candidate_is_not_taken(cost: dict[str, float], reason: str) -> None:
    verdict = gate_verdict(evidence(exact(970, 970, 1000), exact(30, 55, 60, origin="feedback"), **cost))
    assert verdict.outcome == "keep"
    assert reason in verdict.reasons[0]


@pytest.mark.parametrize(("correct", "outcome"), [(390, "promote"), (300, "keep"), (358, "inconclusive"), (0, "keep")])
def test_a_first_version_must_surely_reach_the_floor(correct: int, outcome: str) -> None:
    verdict = first_version_verdict(correct, 395)
    assert verdict.outcome == outcome
    assert "a first version needs 90.0 %" in verdict.reasons[0]


def test_a_first_version_without_golden_rows_is_inconclusive() -> None:
    assert first_version_verdict(0, 0).outcome == "inconclusive"


def test_a_verdict_survives_json() -> None:
    verdict = gate_verdict(evidence(exact(97, 99, 100)))
    assert Verdict.from_json(verdict.to_json()) == verdict


shares = st.floats(0, 1, allow_nan=False)
costs = st.floats(1e-3, 1e6)


@st.composite
def comparisons(draw: st.DrawFn, origin: str, most: int = 80) -> PairedPredictions:
    n, seed = draw(st.integers(0, most)), draw(st.integers(0, 2**32 - 1))
    labels, champion, candidate = np.random.default_rng(seed).integers(0, 10, (3, n))
    kind = draw(st.sampled_from([0, 1, 2]))
    return PairedPredictions(labels, labels if kind == 1 else champion, labels if kind == 2 else candidate, origin)


@st.composite
def whole_evidence(draw: st.DrawFn) -> GateEvidence:
    golden, feedback = draw(comparisons("golden")), draw(st.none() | comparisons("feedback"))
    n, total = golden.n, golden.n + (0 if feedback is None else feedback.n)
    bits = draw(st.lists(st.sampled_from([0, 1]), min_size=n, max_size=n))
    counts = BestVersion(3, draw(st.integers(0, 50)), 50)
    rows = BestVersion(3, sum(bits), n, np.array(bits, np.int64)) if n else counts
    sure = st.lists(st.floats(0, 1, width=32), min_size=n, max_size=n)
    tags = st.lists(st.sampled_from(["", "north", "south"]), min_size=total, max_size=total)
    return GateEvidence(
        golden,
        feedback,
        CLASSES,
        draw(costs),
        draw(costs),
        draw(st.integers(1, 10**9)),
        draw(st.integers(1, 10**9)),
        policy=GatePolicy(alpha=draw(st.floats(0.001, 0.4)), min_benefit=draw(st.floats(0, 0.9))),
        golden_digest=draw(st.sampled_from(["", "a", "b"])),
        champion_digest=draw(st.sampled_from(["", "a", "b"])),
        best=draw(st.sampled_from([None, counts, rows])),
        confidence=draw(
            st.none()
            | st.builds(lambda a, b: PairedConfidence(np.array(a, np.float32), np.array(b, np.float32)), sure, sure)
        ),
        robustness=draw(st.dictionaries(st.sampled_from(["noise", "blur"]), comparisons("golden"))),
        groups=tuple(draw(st.just([]) | tags)),
    )


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(whole_evidence())
def test_stored_evidence_leads_to_the_same_verdict_to_the_last_bit(seen: GateEvidence) -> None:
    stored = seen.to_json()
    again = replay_verdict(stored)
    assert again == gate_verdict(seen)
    assert again.to_json() == gate_verdict(seen).to_json()


@given(st.integers(0, 50), st.integers(50, 99), shares)
def test_a_first_version_s_evidence_leads_to_the_same_verdict(correct: int, total: int, floor: float) -> None:
    seen = FirstVersionEvidence(correct, total, floor)
    assert replay_verdict(seen.to_json()) == gate_verdict(seen) == first_version_verdict(correct, total, floor)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"outcome": "maybe", "reasons": [], "checks": []}', '{"checks": [{"x": 1}]}']
)
def test_text_that_is_no_verdict_is_refused(text: str) -> None:
    with pytest.raises(GateError):
        Verdict.from_json(text)


def test_a_large_loss_in_a_small_class_that_rows_cannot_settle_is_inconclusive() -> None:
    small = exact(champion_right=20, candidate_right=16, n=20, label=1)
    large = exact(champion_right=900, candidate_right=960, n=1000, label=0)
    verdict = gate_verdict(evidence(large.concatenate(small)))
    assert check_of(verdict, "classes") is None
    assert verdict.outcome == "inconclusive"
    assert "may lose more than 10.0 points" in " ".join(verdict.reasons)
