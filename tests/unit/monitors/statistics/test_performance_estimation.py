"""The accuracy to expect by calibrated confidence, and its detector."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from monitors.decisions.decision import decide, resolved_streams
from monitors.decisions.finding import Finding
from monitors.decisions.performance_estimation import (
    BLOCK_SIZE,
    MinuteCounts,
    detector_digest,
    expected_error_share,
    null_hypothesis,
    update_performance_detector,
)
from monitors.errors import WindowError
from monitors.rules.alerts_config import Rule
from monitors.statistics.e_detector import Detector, simple_null, start_detector
from monitors.statistics.golden_evidence import golden_mean_null
from monitors.statistics.intervals import bounded_mean
from monitors.windows.window import Baseline, ErrorByConfidence
from monitors.windows.window_counts import WindowCounts
from tests.support.monitor_examples import DIGITS, NOON, golden, rule

ERRORS = {0: 0.6, 1: 0.3, 2: 0.1, 3: 0.02, 4: 0.001}
DOUBTS = ErrorByConfidence(ERRORS, {1: 3, 2: 12, 3: 85, 4: 900})
HEALTHY = np.array([0.0, 0.003, 0.012, 0.085, 0.9])
WORSE = np.array([0.05, 0.07, 0.08, 0.1, 0.7])
BASELINE = replace(golden(990, 1000), error_by_confidence=DOUBTS)
WATCHED = rule("expected_drop", false_alarms="1 per 90d", confidence=0.99)


def minutes(seed: int, n: int, chances: np.ndarray, rate: int = 30, first: int = 1) -> list[MinuteCounts]:
    generator = np.random.default_rng(seed)
    made = []
    for number in range(first, first + n):
        drawn = generator.multinomial(rate, chances)
        steps = {step: int(count) for step, count in enumerate(drawn) if count}
        made.append(MinuteCounts(number, NOON + timedelta(minutes=number), steps))
    return made


def window(steps: dict[int, int], end: datetime = NOON) -> WindowCounts:
    given = {"3": steps} if steps else {}
    total = sum(steps.values())
    return WindowCounts("digits", 3, DIGITS, end - timedelta(days=1), end, total, predictions_by_confidence=given)


def only(
    written: Rule, tally: WindowCounts, baseline: Baseline = BASELINE, detector: Detector | None = None
) -> Finding:
    [finding] = decide(written, tally, baseline, {} if detector is None else {"": detector})
    return finding


def test_the_errors_to_expect_are_the_mean_chance_over_the_steps() -> None:
    assert expected_error_share(DOUBTS, {0: 1, 4: 1}) == pytest.approx(0.3005)


def test_the_null_is_the_golden_set_with_its_evidence_plus_the_threshold() -> None:
    chances = {ERRORS[step]: n for step, n in DOUBTS.golden_counts.items()}
    assert null_hypothesis(WATCHED, DOUBTS, 3) == golden_mean_null(chances, 0.6, 0.02, versions=3)
    certain = ErrorByConfidence({4: 0.0}, {4: 10})
    assert null_hypothesis(WATCHED, certain, 1) == simple_null(0.02)


def test_the_golden_evidence_finds_a_rise_sooner_than_a_limit_of_the_golden_set() -> None:
    few = ErrorByConfidence(ERRORS, {1: 2, 2: 5, 3: 33, 4: 355})
    limit = bounded_mean({ERRORS[step]: n for step, n in few.golden_counts.items()}, 0.99).high + 0.02
    rise = 0.4 * HEALTHY + 0.6 * WORSE
    delays: dict[str, list[int]] = {"limit": [], "evidence": []}
    for seed in range(9):
        every = minutes(seed, 1200, rise)
        state, _ = update_performance_detector(WATCHED, few, None, every, NOON - timedelta(hours=1))
        old, _ = update_performance_detector(
            WATCHED, few, start_detector(limit, NOON - timedelta(hours=1)), every, NOON - timedelta(hours=1)
        )
        delays["evidence"].append(state.n if state.alarmed_at else 1200)
        delays["limit"].append(old.n if old.alarmed_at else 1200)
    assert np.median(delays["evidence"]) < 0.5 * np.median(delays["limit"])


def test_a_healthy_year_of_minutes_calls_no_alarm_and_a_worse_hour_does() -> None:
    healthy, last = update_performance_detector(
        WATCHED, DOUBTS, None, minutes(1, 20_000, HEALTHY), NOON - timedelta(hours=1)
    )
    assert (healthy.alarmed_at, last) == (None, 20_000)
    worse, _ = update_performance_detector(WATCHED, DOUBTS, healthy, minutes(2, 60, WORSE, first=20_001), NOON)
    assert worse.alarmed_at is not None


@pytest.mark.slow
def test_at_the_very_edge_of_health_alarms_stay_within_the_budget() -> None:
    """Golden sets are drawn anew each time: the chances to expect are the true golden ones plus what is allowed."""
    often = rule("expected_drop", false_alarms="1 per 5d", confidence=0.99)
    chances = np.array(list(ERRORS.values()))
    edge = HEALTHY + 0.02 / (chances[1] - chances[4]) * np.array([0, 1, 0, 0, -1])
    assert edge @ chances == pytest.approx(HEALTHY @ chances + 0.02)
    alarms, generator = 0, np.random.default_rng(5)
    for seed in range(120):  # a day each, begun with the hour that a version is given
        drawn = dict(enumerate(generator.multinomial(400, HEALTHY).tolist()))
        state, _ = update_performance_detector(
            often, ErrorByConfidence(ERRORS, drawn), None, minutes(seed, 1440, edge), NOON - timedelta(hours=1)
        )
        alarms += state.alarmed_at is not None
    expected = 120 * 25 / (24 * 5)
    assert alarms <= expected + 3 * expected**0.5


def test_reading_minutes_in_pieces_changes_nothing() -> None:
    every = minutes(3, 400, WORSE, rate=3)
    whole, last = update_performance_detector(WATCHED, DOUBTS, None, every, NOON)
    state: Detector | None = None
    cursor = 0
    for end in (1, 2, 90, 91, 250, 400):
        state, read = update_performance_detector(
            WATCHED, DOUBTS, state, [each for each in every[:end] if each.number > cursor], NOON
        )
        cursor = cursor if read is None else read
    assert state == whole
    assert cursor == last


def test_quiet_minutes_wait_until_they_make_a_block() -> None:
    few = minutes(4, 5, HEALTHY, rate=3)
    state, last = update_performance_detector(WATCHED, DOUBTS, None, few, NOON)
    assert (state.n, last) == (0, None)
    state, last = update_performance_detector(WATCHED, DOUBTS, None, minutes(4, 8, HEALTHY, rate=3), NOON)
    assert (state.n, last) == (1, BLOCK_SIZE // 3 + 1)


def test_one_doubtful_picture_sent_again_and_again_in_a_minute_counts_as_one_observation() -> None:
    burst = [MinuteCounts(1, NOON + timedelta(minutes=1), {0: 100_000})]
    state, _ = update_performance_detector(WATCHED, DOUBTS, None, burst, NOON - timedelta(hours=1))
    assert state.n == 1
    assert state.evidence < 0.1


def test_a_rule_without_a_budget_has_no_detector() -> None:
    with pytest.raises(WindowError, match="has no false_alarms, so it has no detector"):
        update_performance_detector(rule("expected_drop"), DOUBTS, None, [], NOON)


def test_the_memory_begins_anew_when_what_it_rests_on_changes() -> None:
    same = detector_digest(WATCHED, DOUBTS, 1)
    assert detector_digest(rule("expected_drop", false_alarms="1 per 90d", severity="info"), DOUBTS, 1) == same
    assert detector_digest(rule("expected_drop", false_alarms="1 per 30d"), DOUBTS, 1) != same
    assert detector_digest(rule("expected_drop", false_alarms="1 per 90d", above="3 points"), DOUBTS, 1) != same
    assert detector_digest(WATCHED, DOUBTS, 2) != same
    assert detector_digest(WATCHED, replace(DOUBTS, error_by_bin={**ERRORS, 0: 0.7}), 1) != same


def test_a_finding_says_what_to_expect_and_that_no_label_has_confirmed_it() -> None:
    finding = only(rule("expected_drop"), window({0: 50, 1: 70, 2: 80, 3: 100, 4: 700}))
    assert finding.state == "breach"
    assert finding.value == pytest.approx(0.0617 - 0.0047, abs=0.0005)
    assert finding.baseline == pytest.approx(1 - 0.0047)
    assert finding.sentence.startswith(
        "By its own calibrated confidence the model is right in 93.8 % of 1,000 answers, against 99.5 % on the golden "
        "set: 5.7 points lower. With 99 % confidence the drop to expect is at least "
    )
    assert finding.sentence.endswith("No label has confirmed it yet.")


def test_with_a_budget_only_the_detector_proves_and_an_alarm_ends_at_the_clear_level() -> None:
    bad, good = window({0: 50, 1: 70, 2: 80, 3: 100, 4: 700}), window({2: 12, 3: 85, 4: 900})
    fresh, _ = update_performance_detector(WATCHED, DOUBTS, None, minutes(5, 3, HEALTHY), NOON)
    suspect = only(WATCHED, bad, detector=fresh)
    assert (suspect.state, suspect.evidence) == ("suspect", fresh.evidence)
    assert "not yet proved within 1 per 90d" in suspect.sentence
    alarmed, _ = update_performance_detector(WATCHED, DOUBTS, None, minutes(6, 300, WORSE), NOON)
    breach = only(WATCHED, bad, detector=alarmed)
    assert breach.state == "breach"
    assert "is proved minute by minute; such a proof is a false alarm at most 1 per 90d" in breach.sentence
    over = only(WATCHED, good, detector=alarmed)
    assert (over.state, over.clear) == ("ok", True)
    assert resolved_streams([over], {"": alarmed}) == {""}
    assert resolved_streams([breach], {"": alarmed}) == frozenset()


def test_an_alarm_stays_while_nothing_is_answered() -> None:
    alarmed, _ = update_performance_detector(WATCHED, DOUBTS, None, minutes(6, 300, WORSE), NOON)
    assert only(WATCHED, window({}), detector=alarmed).state == "breach"
    assert only(WATCHED, window({})).state == "no-data"


def test_few_answers_decide_nothing() -> None:
    finding = only(rule("expected_drop"), window({0: 3}))
    assert (finding.state, finding.needed) == ("insufficient", 47)


def test_a_version_without_a_calibration_says_so() -> None:
    finding = only(WATCHED, window({0: 300}), golden(990, 1000))
    assert finding.state == "insufficient"
    assert finding.sentence == "Version 3 was registered without a calibration; the next version will have one."
