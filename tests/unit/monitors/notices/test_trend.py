"""The course of a value as block characters, and what a notice asks of whoever it wakes."""

from dataclasses import replace

import pytest

from monitors.alerts import NoticeKind
from monitors.decisions.finding import NO_DATA
from monitors.notices.instructions import alert_instruction
from monitors.notices.notice import Subject
from monitors.notices.trend import BLOCKS, MAX_BLOCKS, thinned, trend_of
from monitors.rules.alerts_config import Severity
from tests.support.monitor_examples import rule
from tests.support.notice_examples import CLASSES, THE_RULE, fired, notice


def test_a_course_goes_from_the_lowest_block_to_the_highest() -> None:
    trend = trend_of(THE_RULE, [0.0, 0.02, 0.04, 0.06, 0.08], "class 3")
    assert trend is not None
    assert (trend.blocks[0], trend.blocks[-1]) == (BLOCKS[0], BLOCKS[-1])
    assert list(trend.blocks) == sorted(trend.blocks)
    assert trend.caption == "accuracy_drop of class 3, 5 evaluations: 0.0 points to 8.0 points; allowed 0.5 points"


def test_a_level_course_is_a_level_line_and_one_value_is_none() -> None:
    trend = trend_of(THE_RULE, [THE_RULE.threshold] * 3, "")
    assert trend is not None
    assert trend.blocks == BLOCKS[0] * 3
    assert trend_of(THE_RULE, [0.1], "") is None


@pytest.mark.parametrize("count", [2, MAX_BLOCKS, MAX_BLOCKS + 1, 1000])
def test_many_values_are_thinned_and_the_last_one_stays(count: int) -> None:
    kept = thinned(list(range(count)), MAX_BLOCKS)
    assert len(kept) == min(count, MAX_BLOCKS)
    assert (kept[0], kept[-1]) == (0, count - 1)
    assert kept == sorted(set(kept))


@pytest.mark.parametrize(
    ("kind", "action", "severity", "said"),
    [
        ("firing", "retrain", "warning", "Nothing to do now: a retraining"),
        ("repeat", "retrain", "critical", "`platform models rollback` brings back the version before"),
        ("firing", "label-audit", "warning", "by day, label the answers"),
        ("firing", "none", "critical", "Look now: `platform alerts explain a1`"),
        ("firing", "none", "warning", "Nothing is urgent"),
        ("firing", "none", "info", "for your information"),
        ("escalated", "retrain", "critical", "`platform alerts ack a1`"),
        ("resolved", "retrain", "critical", "it is over"),
    ],
)
def test_what_to_do_at_night_follows_what_the_rule_starts(
    kind: NoticeKind, action: str, severity: Severity, said: str
) -> None:
    of = CLASSES if action == "label-audit" else rule(action=action, severity=severity)
    assert said in alert_instruction(kind, of, replace(fired(of), severity=severity))


@pytest.mark.parametrize("severity", ["critical", "warning", "info"])
@pytest.mark.parametrize("action", ["retrain", "none"])
def test_missing_data_starts_nothing_and_no_notice_says_so(severity: Severity, action: str) -> None:
    of = rule(action=action, severity=severity)
    alert = replace(fired(of, key=NO_DATA), severity=severity)
    text = alert_instruction("firing", of, alert)
    assert "has stopped coming" in text
    assert "retraining" not in text
    assert "rollback" not in text
    mixed = replace(notice(), rule=of, subjects=(Subject(alert, "No labels."), Subject(fired(of, "a2"), "It fell.")))
    assert mixed.instruction == alert_instruction("firing", of, fired(of, "a2")), "the other alert starts the action"


def test_a_retraining_that_does_not_start_is_nothing_to_wait_for() -> None:
    held = replace(notice(), hold="the last 3 retrainings brought nothing; look at them")
    assert held.instruction.startswith(
        "A retraining is asked for and does not start yet: the last 3 retrainings brought nothing; look at them. "
        "Version 3 serves on."
    )
    assert "Nothing to do" not in held.instruction
    assert replace(held, kind="resolved").instruction == "Nothing to do: it is over."
