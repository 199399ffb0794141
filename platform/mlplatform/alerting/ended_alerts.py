"""Enqueues notices about alerts that end, for every channel that was notified when they fired.

An alert ends by recovering, with the service of its version, or with its rule. People under a silence are not notified,
and in mute hours later. A receiver of Prometheus Alertmanager's kind keeps an incident open until it hears of the end,
so it hears of it always, with the labels that it was given.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from mlplatform.alerting import evaluations, outbox
from mlplatform.alerting.channels.adapters import render
from mlplatform.alerting.links import alert_page_link, version_links
from mlplatform.alerting.notice_builder import build_alert_notice, drop_silenced
from mlplatform.context import AppContext
from monitors.alerts import Alert
from monitors.notices.alertmanager import merge_resolved, resolve_alerts
from monitors.notices.notice import Subject
from monitors.notices.superseded_notice import KIND, SupersededNotice
from monitors.rules.alerts_config import AlertsConfig, Rule
from monitors.rules.channel_config import AlertmanagerChannel, Channel
from monitors.rules.quiet_hours import earliest_send_time


@dataclass(frozen=True)
class _Recipient:
    """A channel, the alerts to notify it of, from when on, and the notices it had before, newest first."""

    name: str
    channel: Channel
    subjects: tuple[Subject, ...]
    due: datetime
    earlier_notice_ids: tuple[str, ...] = ()

    @property
    def keeps_incidents(self) -> bool:
        return isinstance(self.channel, AlertmanagerChannel)


def enqueue_resolved_notice(
    connection: Connection,
    context: AppContext,
    rule: Rule,
    subjects: Sequence[Subject],
    evaluation: evaluations.Evaluation,
) -> int:
    """Put notices about alerts that recovered into the outbox, one per channel; returns how many."""
    now, posted = evaluation.at, 0
    for recipient in _recipients(connection, context.rules, subjects, now, rule.notify):
        notice = build_alert_notice(connection, context, rule, recipient.subjects, "resolved", evaluation)
        payload = render(notice, recipient.name, recipient.channel)
        if recipient.keeps_incidents and recipient.earlier_notice_ids:
            body = _closing_body(connection, recipient, now)
            payload["body"] = merge_resolved(_as_body(payload), body) if body else payload["body"]
        posted += _enqueue(connection, recipient, notice.idempotency_key, payload, "resolved", now)
    return posted


def enqueue_end_notices(
    connection: Connection, context: AppContext, ended_alerts: Sequence[tuple[Alert, str]], now: datetime
) -> int:
    """Put notices about alerts that ended for other reasons into the outbox, one per rule, reason and channel."""
    groups: dict[tuple[str, int, str], list[Subject]] = defaultdict(list)
    for alert, reason in ended_alerts:
        groups[alert.rule, alert.version, reason].append(Subject(alert, reason))
    posted = 0
    for (_, version, reason), subjects in groups.items():
        for recipient in _recipients(connection, context.rules, subjects, now):
            about = tuple(subject.alert for subject in recipient.subjects)
            page = alert_page_link(context.settings.public_url, [alert.id for alert in about], "Alert")
            links = page | version_links(context.settings, about[0].model, version)
            notice = SupersededNotice(about, reason, now, links, f"{about[0].id}-{KIND}")
            if recipient.keeps_incidents:
                body = _closing_body(connection, recipient, now)
                payload: dict[str, object] = {"type": recipient.channel.type, "body": body}
            else:
                payload = render(notice, recipient.name, recipient.channel)
            if not payload.get("body", True):
                continue  # it was another type of channel when the alert fired
            posted += _enqueue(connection, recipient, notice.idempotency_key, payload, KIND, now)
    return posted


def _recipients(
    connection: Connection,
    rules: AlertsConfig,
    subjects: Sequence[Subject],
    now: datetime,
    rule_channels: Sequence[str] = (),
) -> Iterator[_Recipient]:
    """Channels that were notified of the alerts, and those of the rule, as far as silences and mute hours let them."""
    # Who was notified that they fire, in which notices.
    before: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for subject in subjects:
        for name, notice_ids in outbox.firing_notice_ids(connection, subject.alert).items():
            before[name][subject.alert.id] = notice_ids
    # Whom silences and mute hours let hear of the end, and when.
    audible = drop_silenced(connection, subjects, now)
    severity = subjects[0].alert.severity
    from_when = earliest_send_time(rules.mute, severity, now)
    # Receivers of incidents hear of every end at once; people of what they know of, or of what the rule tells them.
    for name in dict.fromkeys((*rule_channels, *sorted(before))):
        channel = rules.channels.get(name)
        if channel is None or not channel.is_configured:
            continue
        notified = tuple(subject for subject in subjects if subject.alert.id in before[name])
        ids = tuple(sorted({notice_id for group in before[name].values() for notice_id in group}, reverse=True))
        if isinstance(channel, AlertmanagerChannel) and notified:
            yield _Recipient(name, channel, notified, now, ids)
            continue
        about = audible
        if name not in rule_channels or from_when > now:  # notified later, or not named now: only of what it knows
            about = tuple(subject for subject in audible if subject in notified)
        if about:
            yield _Recipient(name, channel, about, from_when, ids)


def _closing_body(connection: Connection, recipient: _Recipient, now: datetime) -> dict[str, Any]:
    """The body that closes the alerts as the receiver knows them: under every set of labels that was sent to it."""
    ended, body = {subject.alert.id for subject in recipient.subjects}, dict[str, Any]()
    for payload in outbox.load_payloads(connection, recipient.earlier_notice_ids):
        places = [place for place, alert in enumerate(payload.get("alerts", ())) if alert in ended]
        if payload["type"] != recipient.channel.type or not places:
            continue
        older = resolve_alerts(payload["body"], places, now)
        body = merge_resolved(body, older) if body else older
    return body


def _as_body(payload: Mapping[str, object]) -> Mapping[str, Any]:
    body = payload["body"]
    return body if isinstance(body, Mapping) else {}


def _enqueue(
    connection: Connection, recipient: _Recipient, key: str, payload: Mapping[str, object], kind: str, now: datetime
) -> int:
    """Put it into the outbox; a receiver of incidents is not notified any more that they began."""
    about = [subject.alert for subject in recipient.subjects]
    if recipient.keeps_incidents:
        outbox.supersede(connection, recipient.earlier_notice_ids)
    return outbox.enqueue(
        connection,
        key=f"{key}-{recipient.name}",
        channel=recipient.name,
        payload={**payload, "kind": kind, "alerts": [alert.id for alert in about], "severity": about[0].severity},
        alert_id=about[0].id,
        now=now,
        send_after=recipient.due,
    )
