from dataclasses import replace

import pytest

from monitors.alerts import NoticeKind
from monitors.notices.notice import MAX_NAMED, Subject, idempotency_key, keys_text, notice_sentences, plain_text_body
from tests.support.monitor_examples import rule
from tests.support.notice_examples import CLASSES, THE_RULE, fired, group, notice


def test_one_notice_has_one_identity_and_two_have_two() -> None:
    alert = fired()
    kinds: tuple[NoticeKind, ...] = ("firing", "repeat")
    keys = {idempotency_key([replace(alert, notices=n)], kind, "e1") for kind in kinds for n in (1, 2)}
    assert idempotency_key([alert], "repeat", "e1") == idempotency_key([alert], "repeat", "e2")
    assert len(keys) == 4


def test_several_alerts_are_one_notice_per_evaluation_and_kind() -> None:
    three = [fired(key=key) for key in "358"]
    kinds: tuple[NoticeKind, ...] = ("firing", "resolved")
    keys = {idempotency_key(three, kind, evaluation) for kind in kinds for evaluation in ("e1", "e2")}
    assert keys == {"e1-firing", "e2-firing", "e1-resolved", "e2-resolved"}


@pytest.mark.parametrize(
    ("kind", "words"), [("firing", "firing"), ("repeat", "still firing"), ("resolved", "resolved")]
)
def test_the_headline_says_what_happened(kind: NoticeKind, words: str) -> None:
    assert notice(kind).title == f"{words}: a-rule · digits v3"
    assert group("7", kind).title == f"{words}: a-rule (class 7) · digits v3"
    assert group("358", kind).title == f"{words}: a-rule (classes 3, 5, 8) · digits v3"


def test_what_an_alert_is_about_needs_no_class() -> None:
    assert keys_text(THE_RULE, ["cpu"]) == "cpu"
    assert keys_text(CLASSES, [""]) == ""
    assert keys_text(CLASSES, [f"c{n}" for n in range(MAX_NAMED + 3)]).endswith("c19 and 3 more")


def test_the_facts_of_one_alert_are_its_numbers() -> None:
    assert notice(pictures=1).facts == {
        "Value": "8.0 points",
        "Interval (99 % each side)": "4.0 points to 12.0 points",
        "Baseline": "99.0 %",
        "Allowed": "0.5 points",
        "Samples": "200",
        "Most confused": "3 read as 5, 14 of 20 errors",
        "Version": "digits v3",
        "Severity": "critical",
        "Action": "retrain",
    }


def test_the_facts_of_several_are_a_line_each_and_what_they_share() -> None:
    facts = group("35").facts
    assert facts["class 3"] == "8.0 % (4.0 % to 12.0 %), 200 samples"
    assert list(facts) == ["class 3", "class 5", "Allowed", "Version", "Severity", "Action", "False alarms"]
    assert facts["False alarms"] == "at most 1 per 90d"


def test_very_many_alerts_are_counted_beyond_the_first() -> None:
    base = group("3")
    many = tuple(Subject(fired(CLASSES, f"a{n}", f"c{n}"), f"Class c{n}.") for n in range(MAX_NAMED + 5))
    crowd = replace(base, subjects=many)
    assert notice_sentences(crowd, 3000)[-2:] == ["Class c19.", "And 5 alerts more."]
    assert crowd.facts["Further"] == "5 alerts more"
    assert "class c20" not in crowd.facts


def test_a_reminder_is_announced_until_it_is_over() -> None:
    assert notice().reminder == "Repeats every 4h until somebody acknowledges it."
    assert notice("resolved").reminder == ""


def test_plain_text_holds_sentence_numbers_pictures_links_and_reminder() -> None:
    text = plain_text_body(notice(pictures=1))
    assert text.startswith("Nothing to do now: a retraining is asked for")
    assert "\n\nAccuracy fell.\n\nValue: 8.0 points\n" in text
    assert "\n\nWorst errors:\n3 read as 5, 98 % https://host/i/0\n\nReport: https://host/e/1?a=1&b=2\n" in text
    assert "Runbook: https://wiki.example/accuracy\n\nRepeats every 4h" in text


def test_a_rule_without_runbook_has_no_link_to_one() -> None:
    assert "Runbook" not in replace(notice(), rule=rule()).all_links
