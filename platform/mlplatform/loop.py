"""The story of one turn of the loop: look at a window, decide, and write everything that follows at once.

`turn` reads top to bottom: window → metrics → findings → evaluation, alerts, notices and actions. It sends nothing,
trains nothing, and knows no schedule.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from mlplatform.actions import act
from mlplatform.build import Parts
from mlplatform.clock import EPOCH, new_id
from mlplatform.errors import ConflictError
from mlplatform.evidence import Measure, attempted, baseline_of, measured, prune_reports, report_path, window_of
from mlplatform.notices import post_notice
from mlplatform.store import alerts, audit, evaluations, leases, promotions
from mlplatform.views import plain
from monitors.alerts import Alert, Change, Step, step, supersede
from monitors.detect import Finding, decide
from monitors.rules import Rule

SEVERITY = ("ok", "no-data", "insufficient", "suspect", "breach")


def turn(
    parts: Parts,
    rule: Rule,
    slot: datetime,
    lease: leases.Lease | None = None,
    measure: Measure = measured,
) -> evaluations.Evaluation | None:
    """Evaluate one rule for one schedule slot; None when there is no champion, a new one, or the slot is done.

    Everything that follows from the findings is written in one transaction, which proves the lease (when one is
    given) and claims the slot: two watchers cannot both evaluate it, and a killed one leaves nothing half-done.
    """
    now, name = parts.clock(), parts.rules.model
    with parts.database.read() as connection:
        champion = promotions.latest(connection, name)
        if champion is None or evaluations.is_done(connection, name, rule.name, slot):
            return None
        window = window_of(connection, parts.family.classes, rule, champion, now)
        baseline = baseline_of(connection, champion)
    numbers = attempted(measure, window, rule, None)
    findings = decide(rule, window, baseline, numbers)
    state, fresh = worst(findings), new_id()
    path = report_path(parts, rule, fresh) if state in ("breach", "suspect") else None
    if path is not None and attempted(measure, window, rule, path) is None:
        _discard(path)
        path = None
    evaluation = evaluations.Evaluation(
        id=fresh,
        rule=rule.name,
        slot=slot,
        at=now,
        model_name=name,
        model_version=champion.to_version,
        window_start=window.start,
        window_end=window.end,
        state=state,
        findings=plain(findings),
        report=None if path is None else str(path),
        evaluated_by=parts.instance,
    )
    try:
        with parts.database.write() as connection:
            if lease is not None:
                leases.prove(connection, lease)
            evaluations.add(connection, evaluation)
            _take_turns(connection, parts, champion)
            _drive_alerts(connection, parts, rule, findings, evaluation)
    except ConflictError:
        _discard(path)
        return None
    except BaseException:
        _discard(path)
        raise
    if path is not None:
        prune_reports(parts)
    return evaluation


def worst(findings: Sequence[Finding]) -> str:
    """The gravest state among findings."""
    return max((finding.state for finding in findings), key=SEVERITY.index, default="no-data")


def retire_alerts(
    connection: Connection, model: str, champion: int, now: datetime, rules: Collection[str] | None = None
) -> int:
    """Close the open alerts of versions that no longer serve, and of rules that are no longer written."""
    retired = 0
    for alert in alerts.open_alerts(connection, model, lock=True):
        moved = supersede(alert, now)
        if alert.version == champion:
            if rules is None or alert.rule in rules:
                continue
            moved = replace(moved, change=Change(alert.state, "superseded", "its rule is no longer in alerts.yaml"))
        _save_move(connection, moved, now)
        retired += 1
    return retired


def _take_turns(connection: Connection, parts: Parts, champion: promotions.Promotion) -> None:
    """Wait for whoever drives this model's alerts now; raise ConflictError when another version serves by then.

    A lease of no life is a lock until the transaction ends. `platform check` needs it: it holds no leader's lease.
    """
    name = champion.model_name
    leases.acquire(connection, f"alerts:{name}", parts.instance, timedelta(0), EPOCH)
    newest = promotions.latest(connection, name)
    if newest is None or newest.to_version != champion.to_version:
        raise ConflictError(f"{name} version {champion.to_version} was replaced while it was evaluated")


def _drive_alerts(
    connection: Connection,
    parts: Parts,
    rule: Rule,
    findings: Sequence[Finding],
    evaluation: evaluations.Evaluation,
) -> None:
    written = {each.name for each in parts.rules.rules}
    retire_alerts(connection, evaluation.model_name, evaluation.model_version, evaluation.at, written)
    open_now = {
        alert.key: alert
        for alert in alerts.open_alerts(connection, evaluation.model_name, lock=True)
        if alert.rule == rule.name
    }
    for finding in [*findings, *_unheard(open_now, findings, rule)]:
        moved = step(open_now.get(finding.key), finding, rule, evaluation.at, new_id)
        if moved.alert is not None:
            alerts.save(connection, moved.alert, finding.sentence, evaluation.id)
            _follow(connection, parts, rule, finding, moved, moved.alert, evaluation)


def _unheard(open_now: Mapping[str, Alert], findings: Sequence[Finding], rule: Rule) -> list[Finding]:
    """No-data findings for open alerts whose class has no labels in the window: their reminders go on."""
    heard = {finding.key for finding in findings}
    return [
        Finding(rule.name, key, alert.model, alert.version, "no-data", "No labels in the window.", rule.above, 0)
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
) -> None:
    if moved.change is not None:
        alerts.change(connection, alert.id, moved.change, "watcher", evaluation.at)
        details = {"from": moved.change.from_state, "to": moved.change.to_state, "rule": rule.name}
        audit.note(connection, "watcher", "alert", f"alert/{alert.id}", evaluation.at, details)
    if moved.notify is not None:
        post_notice(connection, parts, rule, alert, moved.notify, finding.sentence, evaluation)
    again = moved.notify == "repeat" and rule.action == "retrain"  # the last one failed, or the champion was kept
    if moved.act or again:
        act(connection, parts.family.classes, rule, alert, finding, evaluation.at)


def _save_move(connection: Connection, moved: Step, now: datetime) -> None:
    if moved.alert is None or moved.change is None:
        return
    alerts.set_state(connection, replace(moved.alert, since=now))
    alerts.change(connection, moved.alert.id, moved.change, "watcher", now)


def _discard(path: Path | None) -> None:
    if path is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)
