"""The life of one alert, from pending to resolved, as pure steps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Literal

from monitors.decisions.finding import Finding
from monitors.errors import AlertError
from monitors.rules.alerts_config import Rule, Severity

AlertState = Literal["pending", "firing", "acknowledged", "resolved", "superseded"]
NoticeKind = Literal["firing", "resolved", "repeat", "escalated"]


@dataclass(frozen=True)
class Alert:
    """One rule broken by one version, for one key; numbers are those of the last finding that had any."""

    id: str
    rule: str
    key: str
    model: str
    version: int
    severity: Severity
    state: AlertState
    opened_at: datetime
    since: datetime
    fired_at: datetime | None = None
    last_notified_at: datetime | None = None
    notices: int = 0
    value: float | None = None
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    threshold: float = 0.0
    n: int = 0
    calm_since: datetime | None = None
    """Since when the value has lain at the clear level, while a rule's `keep_firing` waits for that to last."""
    escalated_at: datetime | None = None
    changed_at: datetime | None = None
    """Since when the answers have been bad, as found when the alert was opened."""

    @property
    def is_open(self) -> bool:
        return self.state in ("pending", "firing", "acknowledged")


@dataclass(frozen=True)
class AlertChange:
    """One entry of an alert's history."""

    from_state: AlertState | None
    to_state: AlertState
    reason: str


@dataclass(frozen=True)
class AlertStep:
    """The alert after a step, and what the caller now owes the world."""

    alert: Alert | None
    change: AlertChange | None = None
    notify: NoticeKind | None = None
    act: bool = False


@dataclass(frozen=True)
class Silence:
    """Nobody is told about alerts that match all three globs until a moment; actions run and states change.

    A notice suppressed by a silence is not made up for later: while the alert fires, the next reminder goes.
    """

    rule: str
    until: datetime
    key: str = "*"
    severity: str = "*"
    reason: str = ""
    model: str = ""
    """The only model whose alerts it matches; empty for every one."""

    def covers(self, alert: Alert, now: datetime) -> bool:
        if self.model not in ("", alert.model):
            return False
        pairs = ((alert.rule, self.rule), (alert.key, self.key), (alert.severity, self.severity))
        return now < self.until and all(fnmatchcase(name, glob) for name, glob in pairs)


def apply_finding(
    alert: Alert | None, finding: Finding, rule: Rule, now: datetime, new_id: Callable[[], str]
) -> AlertStep:
    """What a finding does to the alert of its rule, key and version.

    Only a breach opens or fires; only "ok" at the clear level, for as long as `keep_firing` says, closes. A suspicion,
    too few samples or no data change nothing, except that reminders of a firing alert go on.
    """
    _check_identity(alert, finding, rule)
    if alert is None or not alert.is_open:
        return _open(finding, rule, now, new_id) if finding.state == "breach" else AlertStep(alert)
    current = _with_numbers(_clamp_times(alert, now), finding, rule)
    if finding.state == "ok" and (finding.clear or current.state == "pending"):
        if current.state == "pending" or now - (current.calm_since or now) >= rule.keep_firing:
            return _close(current, finding, now)
        current = replace(current, calm_since=current.calm_since or now)
    elif finding.state in ("breach", "suspect"):
        current = replace(current, calm_since=None)
    if current.state == "pending":
        due = finding.state == "breach" and now - current.since >= rule.for_
        return _fire(current, finding.sentence, rule, now) if due else AlertStep(current)
    return _escalate(current, rule, now) or _remind(current, rule.repeat, now)


def acknowledge(alert: Alert, now: datetime) -> AlertStep:
    """Somebody has taken a firing alert on; it reminds no more. Doing so twice changes nothing."""
    if alert.state == "acknowledged":
        return AlertStep(alert)
    if alert.state != "firing":
        raise AlertError(f"alert {alert.id} is {alert.state}; only a firing alert can be acknowledged")
    return _transition(alert, "acknowledged", now, "acknowledged")


def supersede(alert: Alert, now: datetime) -> AlertStep:
    """A new version serves: the open alert of the old one ends; a closed one stays. Who tells of it knows who heard."""
    if not alert.is_open:
        return AlertStep(alert)
    return _transition(alert, "superseded", now, f"version {alert.version} no longer serves")


def _check_identity(alert: Alert | None, finding: Finding, rule: Rule) -> None:
    if finding.rule != rule.name:
        raise AlertError(f"a finding of rule {finding.rule} was given with rule {rule.name}; pass its own rule")
    if alert is None:
        return
    mine = (alert.rule, alert.key, alert.model, alert.version)
    theirs = (finding.rule, finding.key, finding.model, finding.version)
    if mine != theirs:
        raise AlertError(f"alert {alert.id} is about {mine}, the finding about {theirs}; supersede or open another")


def _clamp_times(alert: Alert, now: datetime) -> Alert:
    """After the clock was set back, waits start again instead of lasting until the old time returns."""
    notified = alert.last_notified_at
    calm = alert.calm_since
    return replace(
        alert,
        since=min(alert.since, now),
        last_notified_at=min(notified, now) if notified else None,
        calm_since=min(calm, now) if calm else None,
    )


def _with_numbers(alert: Alert, finding: Finding, rule: Rule) -> Alert:
    if finding.state in ("insufficient", "no-data"):
        return replace(alert, severity=rule.severity)
    return replace(
        alert,
        severity=rule.severity,
        value=finding.value,
        low=finding.low,
        high=finding.high,
        baseline=finding.baseline,
        threshold=finding.threshold,
        n=finding.n,
        changed_at=alert.changed_at or finding.changed_at,
    )


def _open(finding: Finding, rule: Rule, now: datetime, new_id: Callable[[], str]) -> AlertStep:
    bare = Alert(
        id=new_id(),
        rule=rule.name,
        key=finding.key,
        model=finding.model,
        version=finding.version,
        severity=rule.severity,
        state="pending",
        opened_at=now,
        since=now,
    )
    alert = _with_numbers(bare, finding, rule)
    if rule.for_ > timedelta(0):
        return AlertStep(alert, AlertChange(None, "pending", finding.sentence))
    fired = _fire(alert, finding.sentence, rule, now)
    return replace(fired, change=AlertChange(None, "firing", finding.sentence))


def _fire(alert: Alert, reason: str, rule: Rule, now: datetime) -> AlertStep:
    notified = replace(_count_notice(alert, now), fired_at=now)
    return replace(_transition(notified, "firing", now, reason), notify="firing", act=rule.action != "none")


def _close(alert: Alert, finding: Finding, now: datetime) -> AlertStep:
    if alert.state == "pending":
        return _transition(alert, "resolved", now, finding.sentence)
    return replace(_transition(_count_notice(alert, now), "resolved", now, finding.sentence), notify="resolved")


def _escalate(alert: Alert, rule: Rule, now: datetime) -> AlertStep | None:
    """Tell further people, once, about an alert nobody has taken on for long enough."""
    fired_at = alert.fired_at
    if rule.escalate is None or alert.state != "firing" or alert.escalated_at is not None or fired_at is None:
        return None
    if now - fired_at < rule.escalate.after:
        return None
    return AlertStep(replace(alert, escalated_at=now, notices=alert.notices + 1), None, "escalated")


def _remind(alert: Alert, repeat: timedelta, now: datetime) -> AlertStep:
    last_notice = alert.last_notified_at
    if alert.state == "firing" and (last_notice is None or now - last_notice >= repeat):
        return AlertStep(_count_notice(alert, now), None, "repeat")
    return AlertStep(alert)


def _count_notice(alert: Alert, now: datetime) -> Alert:
    return replace(alert, last_notified_at=now, notices=alert.notices + 1)


def _transition(alert: Alert, state: AlertState, now: datetime, reason: str) -> AlertStep:
    return AlertStep(replace(alert, state=state, since=now), AlertChange(alert.state, state, reason))
