"""The story of one turn of the loop: look at a window, decide, and write everything that follows at once.

`turn` reads top to bottom: counts and new labels → findings → evaluation, alerts, notices and actions. It sends
nothing, trains nothing, and knows no schedule. Evidently measures afterwards (`evidence.examine`).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from mlplatform.alerting import alert_records, detector_state, evaluations
from mlplatform.alerting.ended_alerts import enqueue_end_notices
from mlplatform.alerting.notifications import enqueue_alert_notice
from mlplatform.audit import audit_entries
from mlplatform.clock import EPOCH, uuid7
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError
from mlplatform.monitoring.alert_actions import start_action
from mlplatform.monitoring.input_drift import InputDriftMonitor
from mlplatform.monitoring.rule_inputs import (
    RowEstimate,
    advance_detectors,
    counts_since_change,
    estimate_from_rows,
    load_baseline,
    load_counts,
    missing_data_finding,
)
from mlplatform.monitoring.unlabelled_monitoring import (
    advance_performance_estimator,
    predicted_counts_since,
    store_reference_distribution,
)
from mlplatform.promotion import promotion_history
from mlplatform.serialization import to_jsonable
from mlplatform.store import leases
from monitors.alerts import Alert, AlertChange, AlertStep, NoticeKind, apply_finding, supersede
from monitors.decisions.decision import decide, resolved_streams
from monitors.decisions.finding import NO_DATA, Finding
from monitors.notices.notice import Subject
from monitors.rules.alerts_config import Rule
from monitors.statistics.e_detector import Detector, restart_detector
from monitors.statistics.two_sample import InputComparison
from monitors.windows.window_counts import NO_ESTIMATE

STATES_BY_SEVERITY = ("ok", "no-data", "insufficient", "suspect", "breach")


def evaluate(
    context: AppContext,
    rule: Rule,
    slot: datetime,
    lease: leases.Lease | None = None,
    drift: InputDriftMonitor | None = None,
) -> evaluations.Evaluation | None:
    """Evaluate one rule for one schedule slot; None when there is no champion, or the slot is done.

    Reading, deciding and all that follows are one transaction, which proves the lease (when one is given) and claims
    the slot: two watchers cannot both evaluate it, a killed one leaves nothing half-done, and each label is read once.
    Rules that estimate from rows or look at pictures do so before it, so that nobody waits for them.
    """
    now, name = context.clock(), context.rules.model
    sample = estimate_from_rows(context, rule, now)
    pictures = (
        _compare_inputs(context, rule, slot, now, drift or InputDriftMonitor(context))
        if "pictures" in rule.metric_spec.data_needs
        else None
    )
    try:
        with context.database.write() as connection:
            if lease is not None:
                leases.require_lease(connection, lease)
            _lock_alerts(connection, context)
            champion = promotion_history.latest_promotion(connection, name)
            if champion is None or evaluations.was_evaluated(connection, name, rule.name, slot):
                return None
            if sample is not None and sample.version != champion.to_version:
                return None  # a new champion came while its predecessor's rows were measured
            findings, missing = _decide(connection, context, rule, champion, now, sample, pictures)
            evaluation = evaluations.Evaluation(
                id=uuid7(),
                rule=rule.name,
                slot=slot,
                at=now,
                model_name=name,
                model_version=champion.to_version,
                window_start=now - rule.window,
                window_end=now,
                state=worst_state(findings),
                findings=to_jsonable([*findings, *missing]),
                report=None,
                evaluated_by=context.instance,
            )
            evaluations.add(connection, evaluation)
            _update_alerts(connection, context, rule, [*findings, *missing], evaluation)
    except ConflictError:
        return None
    return evaluation


def _compare_inputs(
    context: AppContext, rule: Rule, slot: datetime, now: datetime, drift: InputDriftMonitor
) -> InputComparison | None:
    with context.database.read() as connection:
        if evaluations.was_evaluated(connection, context.rules.model, rule.name, slot):
            return None
    return drift.compare(rule, now)


def _decide(
    connection: Connection,
    context: AppContext,
    rule: Rule,
    champion: promotion_history.Promotion,
    now: datetime,
    sample: RowEstimate | None,
    input_comparison: InputComparison | None,
) -> tuple[tuple[Finding, ...], list[Finding]]:
    """Read what is new, decide, and keep what the detectors remember; settled ones begin anew.

    Returns the findings about the model, and the one about missing data where the rule minds.
    """
    classes = context.pipeline.classes
    sampled = NO_ESTIMATE if sample is None else sample.estimate
    if "classes" in rule.metric_spec.data_needs:
        store_reference_distribution(connection, champion, now)
    baseline = load_baseline(connection, champion)
    tally = replace(load_counts(connection, classes, rule, champion, now, sampled), input_comparison=input_comparison)
    if "classes" in rule.metric_spec.data_needs:
        tally = replace(
            tally,
            predictions_by_confidence=predicted_counts_since(
                connection, champion, baseline.reference_mix, tally.start, now
            ),
        )
    missing = missing_data_finding(connection, rule, tally, champion)
    memory = advance_detectors(connection, rule, baseline, champion, classes, context.rules.probation)
    if "confidence" in rule.metric_spec.data_needs:
        memory = advance_performance_estimator(connection, rule, baseline.error_by_confidence, champion, now)
    if memory is None:
        return decide(rule, tally, baseline), missing
    held = {key: Detector.from_json(state) for key, state in memory.streams.items()}
    findings = decide(rule, counts_since_change(connection, rule, champion, tally, held), baseline, held)
    anew = {key: restart_detector(held[key], now).to_json() for key in resolved_streams(findings, held)}
    kept = replace(memory, streams={**memory.streams, **anew})
    detector_state.save_state(connection, champion.model_name, champion.to_version, rule.name, kept)
    return findings, missing


def worst_state(findings: Sequence[Finding]) -> str:
    """The gravest state among findings."""
    return max((finding.state for finding in findings), key=STATES_BY_SEVERITY.index, default="no-data")


def is_worse(state: str, other: str) -> bool:
    """Whether the first state is graver than the second."""
    return STATES_BY_SEVERITY.index(state) > STATES_BY_SEVERITY.index(other)


def close_stale_alerts(
    connection: Connection, context: AppContext, champion: int, now: datetime, rules: Collection[str] | None = None
) -> int:
    """Close the open alerts of versions that no longer serve, and of rules that are no longer written.

    Whoever was told that one fires is told of its end; returns how many alerts ended.
    """
    retired, known = 0, list[tuple[Alert, str]]()
    for alert in alert_records.open_alerts(connection, context.rules.model, lock=True):
        moved = supersede(alert, now)
        if alert.version == champion:
            if rules is None or alert.rule in rules:
                continue
            moved = replace(
                moved, change=AlertChange(alert.state, "superseded", "its rule is no longer in alerts.yaml")
            )
        _save_transition(connection, moved, now)
        if moved.alert is not None and moved.change is not None and alert.state != "pending":
            known.append((moved.alert, moved.change.reason))
        retired += 1
    enqueue_end_notices(connection, context, known, now)
    return retired


def _lock_alerts(connection: Connection, context: AppContext) -> None:
    """Wait for whoever drives this model's alerts now.

    A lease of no life is a lock until the transaction ends. `platform check` needs it: it holds no leader's lease.
    """
    leases.acquire(connection, f"alerts:{context.rules.model}", context.instance, timedelta(0), EPOCH)


def _update_alerts(
    connection: Connection,
    context: AppContext,
    rule: Rule,
    findings: Sequence[Finding],
    evaluation: evaluations.Evaluation,
) -> None:
    written = {each.name for each in context.rules.rules}
    close_stale_alerts(connection, context, evaluation.model_version, evaluation.at, written)
    every_open = alert_records.open_alerts(connection, evaluation.model_name, lock=True)
    open_now = {alert.key: alert for alert in every_open if alert.rule == rule.name}
    inhibited = any(alert.rule in rule.inhibited_by and alert.state != "pending" for alert in every_open)
    told: dict[NoticeKind, list[Subject]] = defaultdict(list)
    for finding in [*findings, *_no_data_findings(open_now, findings, rule)]:
        moved = apply_finding(open_now.get(finding.key), finding, rule, evaluation.at, uuid7)
        if moved.alert is not None:
            alert_records.save(connection, moved.alert, finding.sentence, evaluation.id)
            _record_transition(connection, context, rule, finding, moved, moved.alert, evaluation, act_on=not inhibited)
            if moved.notify is not None:
                told[moved.notify].append(Subject(moved.alert, finding.sentence))
    for kind, subjects in told.items():
        if inhibited and kind != "resolved":
            details: dict[str, object] = {"by": list(rule.inhibited_by), "alerts": [each.alert.id for each in subjects]}
            audit_entries.append(connection, "watcher", "inhibit", f"rule/{rule.name}", evaluation.at, details)
            continue
        enqueue_alert_notice(connection, context, rule, subjects, kind, evaluation)


def _no_data_findings(open_now: Mapping[str, Alert], findings: Sequence[Finding], rule: Rule) -> list[Finding]:
    """No-data findings for open alerts whose class has no labels in the window: their reminders go on."""
    heard = {finding.key for finding in findings}
    sentence = f"No {rule.metric_spec.noun}s in the window."
    return [
        Finding(rule.name, key, alert.model, alert.version, "no-data", sentence, rule.threshold, 0)
        for key, alert in open_now.items()
        if key not in heard
    ]


def _record_transition(
    connection: Connection,
    context: AppContext,
    rule: Rule,
    finding: Finding,
    transition: AlertStep,
    alert: Alert,
    evaluation: evaluations.Evaluation,
    *,
    act_on: bool,
) -> None:
    if transition.change is not None:
        alert_records.append_transition(connection, alert.id, transition.change, "watcher", evaluation.at)
        details = {"from": transition.change.from_state, "to": transition.change.to_state, "rule": rule.name}
        audit_entries.append(connection, "watcher", "alert", f"alert/{alert.id}", evaluation.at, details)
    again = (
        transition.notify == "repeat"
    )  # the retraining failed or kept the champion; or another alert held this one back
    if act_on and (transition.act or again) and finding.key != NO_DATA:
        start_action(connection, context.pipeline.classes, rule, alert, finding, evaluation.at)


def _save_transition(connection: Connection, transition: AlertStep, now: datetime) -> None:
    if transition.alert is None or transition.change is None:
        return
    alert_records.update_state(connection, replace(transition.alert, since=now))
    alert_records.append_transition(connection, transition.alert.id, transition.change, "watcher", now)
