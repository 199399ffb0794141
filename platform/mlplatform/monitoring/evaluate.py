"""Evaluates one rule in one slot: reads what it needs, decides, and writes all that follows in one transaction.

Nothing is sent or trained here: notices, retrainings and tasks are queued. Evidently measures afterwards
(`evaluation_report.write_report`).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from mlplatform.alerting import alert_records, detector_state, evaluations
from mlplatform.alerting.ended_alerts import enqueue_end_notices
from mlplatform.alerting.notifications import enqueue_alert_notice
from mlplatform.audit import audit_entries
from mlplatform.clock import EPOCH
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError
from mlplatform.ids import uuid7
from mlplatform.monitoring.alert_actions import retraining_hold, start_action
from mlplatform.monitoring.detector_inputs import detectors_by_stream
from mlplatform.monitoring.input_drift import InputDriftMonitor
from mlplatform.monitoring.rule_inputs import RuleInputs, load_inputs, load_slow_inputs
from mlplatform.promotion.promotion_history import Promotion
from mlplatform.serialization import to_jsonable
from mlplatform.store import leases
from monitors.alerts import Alert, AlertChange, AlertStep, NoticeKind, apply_finding, supersede
from monitors.decisions.decision import decide as decide_findings
from monitors.decisions.decision import resolved_streams
from monitors.decisions.detectors.label_detector import LabelDetector, restart
from monitors.decisions.finding import NO_DATA, Finding, missing_data_of
from monitors.notices.notice import Subject
from monitors.rules.alerts_config import Rule
from monitors.statistics.e_detector import Detector, restart_detector

RESTART_REASON: Final = (
    "the rule, its baseline, its classes or the platform's way to bet changed; labels are read again from the first on"
)
STATES_BY_SEVERITY = ("ok", "no-data", "insufficient", "suspect", "breach")


@dataclass(frozen=True)
class AlertUpdate:
    """What a finding does to one alert, and whether the rule's action starts."""

    finding: Finding
    alert: Alert
    step: AlertStep
    starts_action: bool


@dataclass(frozen=True)
class EndedAlert:
    """An alert that ends without having recovered."""

    before: Alert
    step: AlertStep


@dataclass(frozen=True)
class Decision:
    """All that one evaluation writes."""

    champion: Promotion
    evaluation: evaluations.Evaluation
    detectors: detector_state.DetectorState | None
    ended: tuple[EndedAlert, ...]
    updates: tuple[AlertUpdate, ...]
    notices: Mapping[NoticeKind, tuple[Subject, ...]]
    is_inhibited: bool


def evaluate(
    context: AppContext,
    rule: Rule,
    slot: datetime,
    lease: leases.Lease | None = None,
    drift: InputDriftMonitor | None = None,
) -> evaluations.Evaluation | None:
    """Evaluate one rule for one schedule slot; None when there is no champion, or the slot is done.

    One transaction reads, decides and writes. It proves the lease (when one is given) and claims the slot: two
    watchers cannot both evaluate it, a killed one leaves nothing half-done, and each label is read once. Raises
    FencedError when the lease has passed on.
    """
    now = context.clock()
    # 1. What takes seconds comes before the transaction, so that nobody waits for it.
    slow = load_slow_inputs(context, rule, slot, now, drift or InputDriftMonitor(context))
    try:
        with context.database.write() as connection:
            # 2. Only the leader writes, and only one process at a time drives this model's alerts.
            if lease is not None:
                leases.require_lease(connection, lease)
            _lock_alerts(connection, context)
            # 3. All reads.
            inputs = load_inputs(connection, context, rule, slot, now, slow)
            if inputs is None:
                return None
            # 4. The decision: no database, no clock.
            decision = decide(rule, inputs, uuid7)
            # 5. All writes. One that finds the slot claimed undoes them all.
            apply(connection, context, rule, decision)
    except ConflictError:
        return None
    return decision.evaluation


def decide(rule: Rule, inputs: RuleInputs, new_id: Callable[[], str]) -> Decision:
    """From numbers to findings, from findings to steps of alerts, and from these to notices and actions; pure."""
    # Findings about the model, and about missing data where the rule minds.
    champion, detectors = inputs.champion, None
    streams = {} if inputs.detectors is None else detectors_by_stream(rule, inputs.detectors)
    findings = decide_findings(rule, inputs.counts, inputs.baseline, streams)
    missing = missing_data_of(rule, inputs.counts, inputs.last_data_at, champion.at)
    reported = [*findings, *([] if missing is None else [missing])]
    # Detectors whose alarm is over begin anew.
    if inputs.detectors is not None:
        resolved = resolved_streams(findings, streams)
        restarted = {key: _restart(streams[key], inputs.now).to_json() for key in resolved}
        detectors = replace(inputs.detectors, streams={**inputs.detectors.streams, **restarted})
    evaluation = evaluations.Evaluation(
        id=new_id(),
        rule=rule.name,
        slot=inputs.slot,
        at=inputs.now,
        model_name=champion.model_name,
        model_version=champion.to_version,
        window_start=inputs.now - rule.window,
        window_end=inputs.now,
        state=worst_state(findings),
        findings=to_jsonable(reported),
        report=None,
        evaluated_by=inputs.instance,
    )
    # Alerts of other versions and of rules that are gone end; the rule's own take a step each.
    ended = stale_alerts(inputs.open_alerts, champion.to_version, inputs.now, inputs.rule_names)
    ended_ids = {stale.before.id for stale in ended}
    going_on = [alert for alert in inputs.open_alerts if alert.id not in ended_ids]
    is_inhibited = any(alert.rule in rule.inhibited_by and alert.state != "pending" for alert in going_on)
    updates = _alert_updates(rule, reported, going_on, inputs.now, is_inhibited, new_id)
    # Alerts that take the same step share a notice.
    notices: dict[NoticeKind, list[Subject]] = defaultdict(list)
    for update in updates:
        if update.step.notify is not None:
            notices[update.step.notify].append(Subject(update.alert, update.finding.sentence))
    return Decision(
        champion=champion,
        evaluation=evaluation,
        detectors=detectors,
        ended=ended,
        updates=updates,
        notices={kind: tuple(subjects) for kind, subjects in notices.items()},
        is_inhibited=is_inhibited,
    )


def _restart(detector: LabelDetector | Detector, at: datetime) -> LabelDetector | Detector:
    return restart(detector, at) if isinstance(detector, LabelDetector) else restart_detector(detector, at)


def apply(connection: Connection, context: AppContext, rule: Rule, decision: Decision) -> None:
    """Write a decision; raises ConflictError when the slot was evaluated meanwhile."""
    evaluation = decision.evaluation
    now = evaluation.at
    # What the next evaluation goes on from, and the claim on this slot.
    if decision.detectors is not None:
        _save_detectors(connection, rule, evaluation, decision.detectors)
    evaluations.add(connection, evaluation)
    # Alerts, with their history, and the actions that they start.
    _end_alerts(connection, context, decision.ended, now)
    for update in decision.updates:
        alert, change = update.alert, update.step.change
        alert_records.save(connection, alert, update.finding.sentence, evaluation.id)
        if change is not None:
            alert_records.append_transition(connection, alert.id, change, "watcher", now)
            states = {"from": change.from_state, "to": change.to_state, "rule": rule.name}
            audit_entries.append(connection, "watcher", "alert", f"alert/{alert.id}", now, states)
        if update.starts_action:
            start_action(connection, context.contracts, rule, alert, update.finding, now)
    # Notices into the outbox; an inhibited rule says only that something is over.
    hold = retraining_hold(connection, context, rule, now) if decision.notices else ""
    for kind, subjects in decision.notices.items():
        if decision.is_inhibited and kind != "resolved":
            cause = {"by": list(rule.inhibited_by), "alerts": [subject.alert.id for subject in subjects]}
            audit_entries.append(connection, "watcher", "inhibit", f"rule/{rule.name}", now, cause)
        else:
            enqueue_alert_notice(connection, context, rule, subjects, kind, evaluation, hold)


def _save_detectors(
    connection: Connection, rule: Rule, evaluation: evaluations.Evaluation, state: detector_state.DetectorState
) -> None:
    """Write what the rule's detectors remember, and in the audit log if they began anew since the evaluation before."""
    name, version = evaluation.model_name, evaluation.model_version
    if state.begins_anew:
        details = {"model": name, "version": version, "reason": RESTART_REASON}
        audit_entries.append(connection, "watcher", "restart-detectors", f"rule/{rule.name}", evaluation.at, details)
    detector_state.save_state(connection, name, version, rule.name, state)


def stale_alerts(
    open_alerts: Iterable[Alert], champion: int, now: datetime, rules: Collection[str] | None = None
) -> tuple[EndedAlert, ...]:
    """The alerts that end because their version no longer serves, or their rule is no longer written."""
    ended = []
    for alert in open_alerts:
        step = supersede(alert, now)
        if alert.version == champion:
            if rules is None or alert.rule in rules:
                continue
            step = replace(step, change=AlertChange(alert.state, "superseded", "its rule is no longer in alerts.yaml"))
        ended.append(EndedAlert(alert, step))
    return tuple(ended)


def worst_state(findings: Sequence[Finding]) -> str:
    """The gravest state among findings."""
    return max((finding.state for finding in findings), key=STATES_BY_SEVERITY.index, default="no-data")


def is_worse(state: str, other: str) -> bool:
    """Whether the first state is graver than the second."""
    return STATES_BY_SEVERITY.index(state) > STATES_BY_SEVERITY.index(other)


def _lock_alerts(connection: Connection, context: AppContext) -> None:
    """Wait for whoever drives this model's alerts now.

    A lease of no duration is a lock until the transaction ends. `platform check` needs it: it holds no leader's lease.
    """
    leases.acquire(connection, f"alerts:{context.rules.model}", context.instance, timedelta(0), EPOCH)


def _alert_updates(
    rule: Rule,
    findings: Sequence[Finding],
    open_alerts: Sequence[Alert],
    now: datetime,
    is_inhibited: bool,
    new_id: Callable[[], str],
) -> tuple[AlertUpdate, ...]:
    own = {alert.key: alert for alert in open_alerts if alert.rule == rule.name}
    updates = []
    for finding in [*findings, *_no_data_findings(own, findings, rule)]:
        step = apply_finding(own.get(finding.key), finding, rule, now, new_id)
        if step.alert is not None:
            # Again with a reminder: the retraining failed or kept the champion, or another alert held this one back.
            is_due = (step.act or step.notify == "repeat") and finding.key != NO_DATA
            updates.append(AlertUpdate(finding, step.alert, step, is_due and not is_inhibited))
    return tuple(updates)


def _no_data_findings(own: Mapping[str, Alert], findings: Sequence[Finding], rule: Rule) -> list[Finding]:
    """No-data findings for open alerts whose class has no labels in the window: their reminders go on."""
    decided = {finding.key for finding in findings}
    sentence = f"No {rule.metric_spec.noun}s in the window."
    return [
        Finding(rule.name, key, alert.model, alert.version, "no-data", sentence, rule.threshold, 0)
        for key, alert in own.items()
        if key not in decided
    ]


def _end_alerts(connection: Connection, context: AppContext, ended: Sequence[EndedAlert], now: datetime) -> None:
    """Write that alerts ended; whoever was told that one fires is told of its end."""
    ends_to_announce = list[tuple[Alert, str]]()
    for stale in ended:
        alert, change = stale.step.alert, stale.step.change
        if alert is None or change is None:
            continue
        alert_records.update_state(connection, replace(alert, since=now))
        alert_records.append_transition(connection, alert.id, change, "watcher", now)
        if stale.before.state != "pending":
            ends_to_announce.append((alert, change.reason))
    if ends_to_announce:
        enqueue_end_notices(connection, context, ends_to_announce, now)
