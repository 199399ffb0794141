"""What whoever is woken by a notice about alerts does now, in one line."""

from collections.abc import Mapping
from typing import Final

from monitors.alerts import Alert, NoticeKind
from monitors.decisions.finding import NO_DATA
from monitors.rules.alerts_config import Rule, Severity

_ACTIONS: Final[Mapping[str, str]] = {
    "retrain": "Nothing to do now: a retraining is asked for, version {version} serves on, and a candidate takes its "
    "place only where it is no worse.",
    "label-audit": "Nothing to do now: by day, label the answers that wait (`/review`, `platform audit next`).",
    "tune-serving": "Nothing to do now: by day, run `platform tune-serving` on a host of the servers.",
}
_LOOK: Final[Mapping[Severity, str]] = {
    "info": "Nothing to do: this is for your information.",
    "warning": "Nothing is urgent: look by day (`platform alerts explain {alert}`).",
    "critical": "Look now: `platform alerts explain {alert}` says why. Is what the model reads as it should be?",
}
_NO_DATA: Final[Mapping[Severity, str]] = {
    "info": "Nothing to do: what the rule reads has stopped coming, which is for your information.",
    "warning": "Nothing is urgent: what the rule reads has stopped coming; look by day (`platform status`).",
    "critical": "Look now: what the rule reads has stopped coming. Are requests answered and labels sent "
    "(`platform status`)?",
}
_GO_BACK: Final = (
    " Where answers cannot wait: `platform models rollback` brings back the version before, if one served."
)


def alert_instruction(kind: NoticeKind, rule: Rule, alert: Alert, hold: str = "") -> str:
    """What to do about an alert in the middle of the night, by what its rule starts and how grave it is.

    `hold` is why the retraining that it asks for does not start; missing data starts nothing.
    """
    if kind == "resolved":
        return "Nothing to do: it is over."
    if kind == "escalated":
        return f"Take it on now: `platform alerts ack {alert.id}`. Nobody has since it fired."
    if alert.key == NO_DATA:
        return _NO_DATA[alert.severity]
    if hold and rule.action == "retrain":
        text = f"A retraining is asked for and does not start yet: {hold}. Version {alert.version} serves on."
    else:
        text = _action_text(rule, alert)
    return text + (_GO_BACK if alert.severity == "critical" else "")


def _action_text(rule: Rule, alert: Alert) -> str:
    return _ACTIONS.get(rule.action, _LOOK[alert.severity]).format(version=alert.version, alert=alert.id)
