"""Notices put into the outbox: composed once, whole, when their cause is written; sending is somebody else's."""

import logging
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection

from mlplatform.alerting import evaluations, outbox
from mlplatform.alerting.ended_alerts import enqueue_resolved_notice
from mlplatform.alerting.notice_composer import build_notice, drop_silenced, render
from mlplatform.context import AppContext
from monitors.alerts import NoticeKind
from monitors.notices.audit_contradiction_notice import AuditContradictionNotice
from monitors.notices.lost_predictions_notice import RecordingLossNotice
from monitors.notices.notice import Subject
from monitors.notices.promotion_notice import PromotionNotice
from monitors.notices.rollback_notice import RollbackNotice
from monitors.notices.unsuccessful_retraining_notice import UnsuccessfulRetrainingNotice
from monitors.rules.alerts_config import AlertsConfig, Rule

log = logging.getLogger(__name__)


def enqueue_alert_notice(
    connection: Connection,
    context: AppContext,
    rule: Rule,
    subjects: Sequence[Subject],
    kind: NoticeKind,
    evaluation: evaluations.Evaluation,
) -> int:
    """Put one notice about these alerts into the outbox per configured channel; returns how many.

    The alerts are of one rule and version, and the evaluation moved all of them the same way. Those under a silence
    are left out; in mute hours nobody is told, but for an escalation. What has ended is told as `endings` says.
    """
    if kind == "resolved":
        return enqueue_resolved_notice(connection, context, rule, subjects, evaluation)
    told = drop_silenced(connection, subjects, evaluation.at)
    if kind != "escalated" and any(hours.covers(rule.severity, evaluation.at) for hours in context.rules.mute):
        return 0
    names = rule.escalate.notify if kind == "escalated" and rule.escalate else rule.notify
    reached = {name: channel for name in names if (channel := context.rules.channels[name]).is_configured}
    if not told or not reached:
        return 0
    notice = build_notice(connection, context, rule, told, kind, evaluation)
    of_notice = [each.alert.id for each in told]
    return sum(
        outbox.enqueue(
            connection,
            key=f"{notice.idempotency_key}-{name}",
            channel=name,
            payload={**render(notice, name, channel), "kind": kind, "alerts": of_notice, "severity": rule.severity},
            alert_id=of_notice[0],
            now=evaluation.at,
        )
        for name, channel in reached.items()
    )


def enqueue_notice(
    connection: Connection,
    context: AppContext,
    notice: RollbackNotice
    | RecordingLossNotice
    | PromotionNotice
    | UnsuccessfulRetrainingNotice
    | AuditContradictionNotice,
    now: datetime,
    only_channels: Collection[str] | None = None,
    due: datetime | None = None,
) -> int:
    """Put a notice that is about no alert into the outbox, once per channel and key; returns how many are new.

    `among` narrows the channels, and nothing is sent before `due`.
    """
    channels = context.rules.channels
    names = [name for name in _event_channels(context.rules) if only_channels is None or name in only_channels]
    reached = {name: channels[name] for name in names if channels[name].is_configured}
    return sum(
        outbox.enqueue(
            connection,
            key=f"{notice.idempotency_key}-{name}",
            channel=name,
            payload={**render(notice, name, channel), "kind": notice.kind, "severity": notice.severity},
            alert_id=None,
            now=now,
            model_name=notice.model,
            send_after=due,
        )
        for name, channel in reached.items()
    )


def _event_channels(rules: AlertsConfig) -> tuple[str, ...]:
    """Who hears of what is no alert: those named for rollbacks, else those who hear of the accuracy."""
    of_accuracy = (name for rule in rules.rules if rule.metric == "accuracy_drop" for name in rule.notify)
    return rules.probation.notify or tuple(dict.fromkeys(of_accuracy))
