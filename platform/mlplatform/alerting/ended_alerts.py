"""Notices about alerts that end: whoever was told that one fires is told that it has ended, in whatever way it did.

An alert ends by recovering, with the service of its version, or with its rule. People under a silence are not told,
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
from mlplatform.alerting.links import version_links
from mlplatform.alerting.notice_composer import build_notice, drop_silenced, render
from mlplatform.context import AppContext
from monitors.alerts import Alert
from monitors.notices.alertmanager import merge_resolved, resolve_alerts
from monitors.notices.notice import Subject
from monitors.notices.superseded_notice import KIND, SupersededNotice
from monitors.rules.alerts_config import Rule
from monitors.rules.channel_config import AlertmanagerChannel, Channel
from monitors.rules.quiet_hours import earliest_send_time


@dataclass(frozen=True)
class _Recipient:
    """A channel, which of the alerts it is told about, from when on, and what it was told before, newest first."""

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
    for each in _recipients(connection, context, subjects, now, rule.notify):
        notice = build_notice(connection, context, rule, each.subjects, "resolved", evaluation)
        payload = render(notice, each.name, each.channel)
        if each.keeps_incidents and each.earlier_notice_ids:
            body = _closing_body(connection, each, now)
            payload["body"] = merge_resolved(_as_body(payload), body) if body else payload["body"]
        posted += _enqueue(connection, each, notice.idempotency_key, payload, "resolved", now)
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
        for each in _recipients(connection, context, subjects, now):
            about = tuple(subject.alert for subject in each.subjects)
            links = version_links(context.settings, about[0].model, version)
            notice = SupersededNotice(about, reason, now, links, f"{about[0].id}-{KIND}")
            if each.keeps_incidents:
                payload: dict[str, object] = {"type": each.channel.type, "body": _closing_body(connection, each, now)}
            else:
                payload = render(notice, each.name, each.channel)
            if not payload.get("body", True):
                continue  # it was another kind of channel when it was told
            posted += _enqueue(connection, each, notice.idempotency_key, payload, KIND, now)
    return posted


def _recipients(
    connection: Connection,
    context: AppContext,
    subjects: Sequence[Subject],
    now: datetime,
    rule_channels: Sequence[str] = (),
) -> Iterator[_Recipient]:
    """Channels that were to hear of the alerts, and those named, as far as silences and mute hours let them."""
    before: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for subject in subjects:
        for name, noticed in outbox.firing_notice_ids(connection, subject.alert).items():
            before[name][subject.alert.id] = noticed
    open_to_people = drop_silenced(connection, subjects, now)
    severity = subjects[0].alert.severity
    from_when = earliest_send_time(context.rules.mute, severity, now)
    for name in dict.fromkeys((*rule_channels, *sorted(before))):
        channel = context.rules.channels.get(name)
        if channel is None or not channel.is_configured:
            continue
        known = tuple(each for each in subjects if each.alert.id in before[name])
        ids = tuple(sorted({each for held in before[name].values() for each in held}, reverse=True))
        if isinstance(channel, AlertmanagerChannel) and known:
            yield _Recipient(name, channel, known, now, ids)
            continue
        told = open_to_people
        if (
            name not in rule_channels or from_when > now
        ):  # who is told later, or would not be now, has to have heard of it
            told = tuple(each for each in open_to_people if each in known)
        if told:
            yield _Recipient(name, channel, told, from_when, ids)


def _closing_body(connection: Connection, recipient: _Recipient, now: datetime) -> dict[str, Any]:
    """What closes the alerts as the receiver knows them: under every set of labels it was given."""
    ended, body = {each.alert.id for each in recipient.subjects}, dict[str, Any]()
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
    """Put it into the outbox; a receiver of incidents is not told any more that they began."""
    about = [each.alert for each in recipient.subjects]
    if recipient.keeps_incidents:
        outbox.supersede(connection, recipient.earlier_notice_ids)
    return outbox.enqueue(
        connection,
        key=f"{key}-{recipient.name}",
        channel=recipient.name,
        payload={**payload, "kind": kind, "alerts": [each.id for each in about], "severity": about[0].severity},
        alert_id=about[0].id,
        now=now,
        send_after=recipient.due,
    )
