"""Notices to test with: one alert or several, with pictures and links."""

from dataclasses import replace
from itertools import count

from monitors.alerts import Alert, NoticeKind, apply_finding
from monitors.notices.notice import Notice, Subject, Thumbnail, idempotency_key
from monitors.rules.alerts_config import Rule
from tests.support.monitor_examples import NOON, finding, rule

THE_RULE = rule(action="retrain", severity="critical", runbook="https://wiki.example/accuracy")
CLASSES = rule("class_error", action="label-audit", false_alarms="1 per 90d")
LINKS = {"Report": "https://host/e/1?a=1&b=2", "Model": "https://mlflow/m/1"}
CONFUSED = ("3 read as 5, 14 of 20 errors",)


def fired(the_rule: Rule = THE_RULE, alert_id: str = "a1", key: str = "") -> Alert:
    """An alert that has just fired."""
    numbers = count(1)
    alert = apply_finding(None, finding("breach"), the_rule, NOON, lambda: f"a{next(numbers)}").alert
    assert alert is not None
    return replace(alert, id=alert_id, key=key)


def notice(kind: NoticeKind = "firing", sentence: str = "Accuracy fell.", key: str = "", pictures: int = 0) -> Notice:
    """A notice about one alert."""
    alert = fired(key=key)
    return Notice(
        kind,
        THE_RULE,
        (Subject(alert, sentence),),
        NOON,
        LINKS,
        idempotency_key([alert], kind, "e1"),
        CONFUSED if pictures else (),
        tuple(thumbnail(number) for number in range(pictures)),
    )


def group(keys: str = "358", kind: NoticeKind = "firing", others: str = "") -> Notice:
    """A notice about several classes."""
    made = [Subject(fired(CLASSES, f"a{key}", key), f"Class {key} is misread.") for key in keys + others]
    subjects, rest = tuple(made[: len(keys)]), tuple(made[len(keys) :])
    identity = idempotency_key([each.alert for each in subjects], kind, "e1")
    return Notice(kind, CLASSES, subjects, NOON, LINKS, identity, other_subjects=rest)


def thumbnail(number: int, url: str = "https://host/i/") -> Thumbnail:
    """A picture of a few bytes."""
    return Thumbnail(f"p{number}", "3 read as 5, 98 %", b"\x89PNG" + bytes([number]), url and f"{url}{number}")
