"""Puts notices into the outbox, rendered for each channel, in the transaction that writes their cause."""

import logging
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection

from mlplatform.alerting import evaluations, outbox
from mlplatform.alerting.channels.adapters import render
from mlplatform.alerting.channels.channel import EventNotice
from mlplatform.alerting.ended_alerts import enqueue_resolved_notice
from mlplatform.alerting.notice_builder import build_alert_notice, drop_silenced
from mlplatform.context import AppContext
from monitors.alerts import NoticeKind
from monitors.notices.notice import Subject
from monitors.rules.alerts_config import AlertsConfig, Rule

log = logging.getLogger(__name__)


def enqueue_alert_notice(
    connection: Connection,
    context: AppContext,
    rule: Rule,
    subjects: Sequence[Subject],
    kind: NoticeKind,
    evaluation: evaluations.Evaluation,
    hold: str = "",
) -> int:
    """Put one notice about these alerts into the outbox per configured channel; returns how many.

    The alerts are of one rule and version, and the evaluation moved all of them the same way. Those under a silence
    are left out; in mute hours nobody is notified, but for an escalation. `ended_alerts.py` notifies of what ended.
    """
    if kind == "resolved":
        return enqueue_resolved_notice(connection, context, rule, subjects, evaluation)
    # Who is to hear of it: silences, mute hours, the rule's channels.
    audible = drop_silenced(connection, subjects, evaluation.at)
    if kind != "escalated" and any(hours.covers(rule.severity, evaluation.at) for hours in context.rules.mute):
        return 0
    names = rule.escalate.notify if kind == "escalated" and rule.escalate else rule.notify
    reached = {name: channel for name in names if (channel := context.rules.channels[name]).is_configured}
    if not audible or not reached:
        return 0
    # One notice, rendered for each channel.
    notice = build_alert_notice(connection, context, rule, audible, kind, evaluation, hold)
    alert_ids = [subject.alert.id for subject in audible]
    return sum(
        outbox.enqueue(
            connection,
            key=f"{notice.idempotency_key}-{name}",
            channel=name,
            payload={**render(notice, name, channel), "kind": kind, "alerts": alert_ids, "severity": rule.severity},
            alert_id=alert_ids[0],
            now=evaluation.at,
        )
        for name, channel in reached.items()
    )


def enqueue_notice(
    connection: Connection,
    context: AppContext,
    notice: EventNotice,
    now: datetime,
    only_channels: Collection[str] | None = None,
    due: datetime | None = None,
) -> int:
    """Put a notice that is about no alert into the outbox, once per channel and key; returns how many are new.

    `only_channels` narrows the channels, and nothing is sent before `due`.
    """
    channels = context.rules.channels
    names = [name for name in event_channels(context.rules) if only_channels is None or name in only_channels]
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


def event_channels(rules: AlertsConfig) -> tuple[str, ...]:
    """The channels of events: those named for rollbacks, else those of the rules about accuracy."""
    of_accuracy = (name for rule in rules.rules if rule.metric == "accuracy_drop" for name in rule.notify)
    return rules.probation.notify or tuple(dict.fromkeys(of_accuracy))
