"""Starts what an alert asks for besides notices: queues a retraining, opens a tuning task or a label audit."""

from datetime import datetime
from typing import assert_never

from sqlalchemy import Connection

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.monitoring import label_issue_candidates
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.retraining_limits import hold_reason
from mlplatform.retraining.supervisor import start_limits
from mlplatform.store import tasks
from mlplatform.store.version_contracts import VersionContracts
from monitors.alerts import Alert
from monitors.decisions.finding import Finding
from monitors.rules.alerts_config import Rule
from pipelines.labels.label_issues import select_batch

LABEL_AUDIT_SIZE = 50


def start_action(
    connection: Connection, contracts: VersionContracts, rule: Rule, alert: Alert, finding: Finding, now: datetime
) -> str | None:
    """Start the rule's action inside the alert's transaction; returns the id of what was started."""
    started: str | None = None
    details: dict[str, object]
    match rule.action:
        case "retrain":
            started, _ = retraining_queue.request(
                connection,
                pipeline=alert.model,
                reason=f"{rule.name}: {finding.sentence}",
                trigger="alert",
                requested_by="watcher",
                now=now,
                alert_id=alert.id,
            )
        case "tune-serving":
            details = {"version": alert.version, "ratio": finding.value, "baseline_ms": finding.baseline}
            started = tasks.open_task(connection, "tune-serving", alert.model, details, now, alert.id)
        case "label-audit":
            details = {"class": alert.key, "predictions": _label_audit_items(connection, contracts, alert)}
            started = tasks.open_task(connection, "label-audit", alert.model, details, now, alert.id)
        case "none":
            return None
        case _:
            assert_never(rule.action)
    if started is None:
        return None  # the alert had opened its task before
    audit_entries.append(connection, "watcher", rule.action, f"alert/{alert.id}", now, {"started": started})
    return started


def retraining_hold(connection: Connection, context: AppContext, rule: Rule, now: datetime) -> str:
    """Why the retraining that a rule asks for does not start yet; empty where it may, or the rule asks for none."""
    if rule.action != "retrain":
        return ""
    rules = context.rules
    held = hold_reason(connection, rules.model, "alert", start_limits(rules.retraining), now)
    return "" if held is None else held.text


def _label_audit_items(connection: Connection, contracts: VersionContracts, alert: Alert) -> list[dict[str, object]]:
    """What people shall look at about the alert's class, and why; labels in doubt are named with their id."""
    classes = contracts.classes_of(connection, alert.model, alert.version)
    task = contracts.of(connection, alert.model, alert.version).task
    labelled = label_issue_candidates.labelled_predictions(connection, task, classes, alert.model, alert.version)
    unlabelled = label_issue_candidates.unlabelled_predictions(connection, task, classes, alert.model, alert.version)
    return [
        {"id": candidate.prediction_id, "doubt": round(candidate.score, 4), "why": candidate.reason}
        | ({} if candidate.feedback_id is None else {"feedback": [candidate.feedback_id]})
        for candidate in select_batch(labelled, unlabelled, classes, alert.key, LABEL_AUDIT_SIZE)
    ]
