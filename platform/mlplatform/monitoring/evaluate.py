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
from mlplatform.alerting.ended_alerts import post_ended
from mlplatform.alerting.notifications import post_group
from mlplatform.audit import audit_entries
from mlplatform.clock import EPOCH, new_id
from mlplatform.context import Parts
from mlplatform.errors import ConflictError
from mlplatform.monitoring.alert_actions import act
from mlplatform.monitoring.input_drift import Looker
from mlplatform.monitoring.rule_inputs import (
    Sample,
    baseline_of,
    read_labels,
    sample_of,
    silence,
    since_change,
    tally_of,
)
from mlplatform.monitoring.unlabelled_monitoring import given_since, pin_first, read_minutes
from mlplatform.promotion import promotion_history
from mlplatform.serialization import plain
from mlplatform.store import leases
from monitors.alerts import Alert, Change, Kind, Step, step, supersede
from monitors.decisions.decision import decide, settled
from monitors.decisions.finding import NO_DATA, Finding
from monitors.notices.notice import Subject
from monitors.rules.alerts_config import Rule
from monitors.statistics.e_detector import Detector, reset
from monitors.statistics.two_sample import Comparison
from monitors.windows.window_counts import NO_SAMPLE

SEVERITY = ("ok", "no-data", "insufficient", "suspect", "breach")


def turn(
    parts: Parts,
    rule: Rule,
    slot: datetime,
    lease: leases.Lease | None = None,
    drift: Looker | None = None,
) -> evaluations.Evaluation | None:
    """Evaluate one rule for one schedule slot; None when there is no champion, or the slot is done.

    Reading, deciding and all that follows are one transaction, which proves the lease (when one is given) and claims
    the slot: two watchers cannot both evaluate it, a killed one leaves nothing half-done, and each label is read once.
    Rules that estimate from rows or look at pictures do so before it, so that nobody waits for them.
    """
    now, name = parts.clock(), parts.rules.model
    sample = sample_of(parts, rule, now)
    pictures = _look(parts, rule, slot, now, drift or Looker(parts)) if "pictures" in rule.kind.needs else None
    try:
        with parts.database.write() as connection:
            if lease is not None:
                leases.prove(connection, lease)
            _take_turns(connection, parts)
            champion = promotion_history.latest(connection, name)
            if champion is None or evaluations.is_done(connection, name, rule.name, slot):
                return None
            if sample is not None and sample.version != champion.to_version:
                return None  # a new champion came while its predecessor's rows were measured
            findings, missing = _judge(connection, parts, rule, champion, now, sample, pictures)
            evaluation = evaluations.Evaluation(
                id=new_id(),
                rule=rule.name,
                slot=slot,
                at=now,
                model_name=name,
                model_version=champion.to_version,
                window_start=now - rule.window,
                window_end=now,
                state=worst(findings),
                findings=plain([*findings, *missing]),
                report=None,
                evaluated_by=parts.instance,
            )
            evaluations.add(connection, evaluation)
            _drive_alerts(connection, parts, rule, [*findings, *missing], evaluation)
    except ConflictError:
        return None
    return evaluation


def _look(parts: Parts, rule: Rule, slot: datetime, now: datetime, drift: Looker) -> Comparison | None:
    with parts.database.read() as connection:
        if evaluations.is_done(connection, parts.rules.model, rule.name, slot):
            return None
    return drift.look(rule, now)


def _judge(
    connection: Connection,
    parts: Parts,
    rule: Rule,
    champion: promotion_history.Promotion,
    now: datetime,
    sample: Sample | None,
    pictures: Comparison | None,
) -> tuple[tuple[Finding, ...], list[Finding]]:
    """Read what is new, decide, and keep what the detectors remember; settled ones begin anew.

    Returns the findings about the model, and the one about missing data where the rule minds.
    """
    classes = parts.family.classes
    sampled = NO_SAMPLE if sample is None else sample.sampled
    if "classes" in rule.kind.needs:
        pin_first(connection, champion, now)
    baseline = baseline_of(connection, champion)
    tally = replace(tally_of(connection, classes, rule, champion, now, sampled), inputs=pictures)
    if "classes" in rule.kind.needs:
        tally = replace(tally, given=given_since(connection, champion, baseline.first, tally.start, now))
    missing = silence(connection, rule, tally, champion)
    memory = read_labels(connection, rule, baseline, champion, classes, parts.rules.probation)
    if "confidence" in rule.kind.needs:
        memory = read_minutes(connection, rule, baseline.doubts, champion, now)
    if memory is None:
        return decide(rule, tally, baseline), missing
    held = {key: Detector.from_json(state) for key, state in memory.streams.items()}
    findings = decide(rule, since_change(connection, rule, champion, tally, held), baseline, held)
    anew = {key: reset(held[key], now).to_json() for key in settled(findings, held)}
    kept = replace(memory, streams={**memory.streams, **anew})
    detector_state.keep(connection, champion.model_name, champion.to_version, rule.name, kept)
    return findings, missing


def worst(findings: Sequence[Finding]) -> str:
    """The gravest state among findings."""
    return max((finding.state for finding in findings), key=SEVERITY.index, default="no-data")


def graver(state: str, other: str) -> bool:
    """Whether the first state is graver than the second."""
    return SEVERITY.index(state) > SEVERITY.index(other)


def retire_alerts(
    connection: Connection, parts: Parts, champion: int, now: datetime, rules: Collection[str] | None = None
) -> int:
    """Close the open alerts of versions that no longer serve, and of rules that are no longer written.

    Whoever was told that one fires is told of its end; returns how many alerts ended.
    """
    retired, known = 0, list[tuple[Alert, str]]()
    for alert in alert_records.open_alerts(connection, parts.rules.model, lock=True):
        moved = supersede(alert, now)
        if alert.version == champion:
            if rules is None or alert.rule in rules:
                continue
            moved = replace(moved, change=Change(alert.state, "superseded", "its rule is no longer in alerts.yaml"))
        _save_move(connection, moved, now)
        if moved.alert is not None and moved.change is not None and alert.state != "pending":
            known.append((moved.alert, moved.change.reason))
        retired += 1
    post_ended(connection, parts, known, now)
    return retired


def _take_turns(connection: Connection, parts: Parts) -> None:
    """Wait for whoever drives this model's alerts now.

    A lease of no life is a lock until the transaction ends. `platform check` needs it: it holds no leader's lease.
    """
    leases.acquire(connection, f"alerts:{parts.rules.model}", parts.instance, timedelta(0), EPOCH)


def _drive_alerts(
    connection: Connection,
    parts: Parts,
    rule: Rule,
    findings: Sequence[Finding],
    evaluation: evaluations.Evaluation,
) -> None:
    written = {each.name for each in parts.rules.rules}
    retire_alerts(connection, parts, evaluation.model_version, evaluation.at, written)
    every_open = alert_records.open_alerts(connection, evaluation.model_name, lock=True)
    open_now = {alert.key: alert for alert in every_open if alert.rule == rule.name}
    inhibited = any(alert.rule in rule.inhibited_by and alert.state != "pending" for alert in every_open)
    told: dict[Kind, list[Subject]] = defaultdict(list)
    for finding in [*findings, *_unheard(open_now, findings, rule)]:
        moved = step(open_now.get(finding.key), finding, rule, evaluation.at, new_id)
        if moved.alert is not None:
            alert_records.save(connection, moved.alert, finding.sentence, evaluation.id)
            _follow(connection, parts, rule, finding, moved, moved.alert, evaluation, act_on=not inhibited)
            if moved.notify is not None:
                told[moved.notify].append(Subject(moved.alert, finding.sentence))
    for kind, subjects in told.items():
        if inhibited and kind != "resolved":
            details: dict[str, object] = {"by": list(rule.inhibited_by), "alerts": [each.alert.id for each in subjects]}
            audit_entries.note(connection, "watcher", "inhibit", f"rule/{rule.name}", evaluation.at, details)
            continue
        post_group(connection, parts, rule, subjects, kind, evaluation)


def _unheard(open_now: Mapping[str, Alert], findings: Sequence[Finding], rule: Rule) -> list[Finding]:
    """No-data findings for open alerts whose class has no labels in the window: their reminders go on."""
    heard = {finding.key for finding in findings}
    sentence = f"No {rule.kind.noun}s in the window."
    return [
        Finding(rule.name, key, alert.model, alert.version, "no-data", sentence, rule.threshold, 0)
        for key, alert in open_now.items()
        if key not in heard
    ]


def _follow(
    connection: Connection,
    parts: Parts,
    rule: Rule,
    finding: Finding,
    moved: Step,
    alert: Alert,
    evaluation: evaluations.Evaluation,
    *,
    act_on: bool,
) -> None:
    if moved.change is not None:
        alert_records.change(connection, alert.id, moved.change, "watcher", evaluation.at)
        details = {"from": moved.change.from_state, "to": moved.change.to_state, "rule": rule.name}
        audit_entries.note(connection, "watcher", "alert", f"alert/{alert.id}", evaluation.at, details)
    again = moved.notify == "repeat"  # the retraining failed or kept the champion; or another alert held this one back
    if act_on and (moved.act or again) and finding.key != NO_DATA:
        act(connection, parts.family.classes, rule, alert, finding, evaluation.at)


def _save_move(connection: Connection, moved: Step, now: datetime) -> None:
    if moved.alert is None or moved.change is None:
        return
    alert_records.set_state(connection, replace(moved.alert, since=now))
    alert_records.change(connection, moved.alert.id, moved.change, "watcher", now)
