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
from mlplatform.alerting.notice_composer import compose, not_silenced, notice_of
from mlplatform.context import Parts
from monitors.alerts import Alert
from monitors.notices.alertmanager import closed, with_closed
from monitors.notices.notice import Subject
from monitors.notices.superseded_notice import KIND, Ending
from monitors.rules.alerts_config import Rule
from monitors.rules.channel_config import AlertmanagerChannel, Channel
from monitors.rules.quiet_hours import heard_from


@dataclass(frozen=True)
class _Listener:
    """A channel, which of the alerts it is told about, from when on, and what it was told before, newest first."""

    name: str
    channel: Channel
    subjects: tuple[Subject, ...]
    due: datetime
    before: tuple[str, ...] = ()

    @property
    def keeps_incidents(self) -> bool:
        return isinstance(self.channel, AlertmanagerChannel)


def post_resolved(
    connection: Connection, parts: Parts, rule: Rule, subjects: Sequence[Subject], evaluation: evaluations.Evaluation
) -> int:
    """Put notices about alerts that recovered into the outbox, one per channel; returns how many."""
    now, posted = evaluation.at, 0
    for each in _listeners(connection, parts, subjects, now, rule.notify):
        notice = notice_of(connection, parts, rule, each.subjects, "resolved", evaluation)
        payload = compose(notice, each.name, each.channel)
        if each.keeps_incidents and each.before:
            body = _closed_before(connection, each, now)
            payload["body"] = with_closed(_as_body(payload), body) if body else payload["body"]
        posted += _post(connection, each, notice.idempotency_key, payload, "resolved", now)
    return posted


def post_ended(connection: Connection, parts: Parts, ended: Sequence[tuple[Alert, str]], now: datetime) -> int:
    """Put notices about alerts that ended for other reasons into the outbox, one per rule, reason and channel."""
    groups: dict[tuple[str, int, str], list[Subject]] = defaultdict(list)
    for alert, reason in ended:
        groups[alert.rule, alert.version, reason].append(Subject(alert, reason))
    posted = 0
    for (_, version, reason), subjects in groups.items():
        for each in _listeners(connection, parts, subjects, now):
            about = tuple(subject.alert for subject in each.subjects)
            links = version_links(parts.settings, about[0].model, version)
            notice = Ending(about, reason, now, links, f"{about[0].id}-{KIND}")
            if each.keeps_incidents:
                payload: dict[str, object] = {"type": each.channel.type, "body": _closed_before(connection, each, now)}
            else:
                payload = compose(notice, each.name, each.channel)
            if not payload.get("body", True):
                continue  # it was another kind of channel when it was told
            posted += _post(connection, each, notice.idempotency_key, payload, KIND, now)
    return posted


def _listeners(
    connection: Connection, parts: Parts, subjects: Sequence[Subject], now: datetime, named: Sequence[str] = ()
) -> Iterator[_Listener]:
    """Channels that were to hear of the alerts, and those named, as far as silences and mute hours let them."""
    before: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for subject in subjects:
        for name, noticed in outbox.firing_notices(connection, subject.alert).items():
            before[name][subject.alert.id] = noticed
    open_to_people = not_silenced(connection, subjects, now)
    severity = subjects[0].alert.severity
    from_when = heard_from(parts.rules.mute, severity, now)
    for name in dict.fromkeys((*named, *sorted(before))):
        channel = parts.rules.channels.get(name)
        if channel is None or not channel.configured:
            continue
        known = tuple(each for each in subjects if each.alert.id in before[name])
        ids = tuple(sorted({each for held in before[name].values() for each in held}, reverse=True))
        if isinstance(channel, AlertmanagerChannel) and known:
            yield _Listener(name, channel, known, now, ids)
            continue
        told = open_to_people
        if name not in named or from_when > now:  # who is told later, or would not be now, has to have heard of it
            told = tuple(each for each in open_to_people if each in known)
        if told:
            yield _Listener(name, channel, told, from_when, ids)


def _closed_before(connection: Connection, listener: _Listener, now: datetime) -> dict[str, Any]:
    """What closes the alerts as the receiver knows them: under every set of labels it was given."""
    ended, body = {each.alert.id for each in listener.subjects}, dict[str, Any]()
    for payload in outbox.payloads(connection, listener.before):
        places = [place for place, alert in enumerate(payload.get("alerts", ())) if alert in ended]
        if payload["type"] != listener.channel.type or not places:
            continue
        older = closed(payload["body"], places, now)
        body = with_closed(body, older) if body else older
    return body


def _as_body(payload: Mapping[str, object]) -> Mapping[str, Any]:
    body = payload["body"]
    return body if isinstance(body, Mapping) else {}


def _post(
    connection: Connection, listener: _Listener, key: str, payload: Mapping[str, object], kind: str, now: datetime
) -> int:
    """Put it into the outbox; a receiver of incidents is not told any more that they began."""
    about = [each.alert for each in listener.subjects]
    if listener.keeps_incidents:
        outbox.overtake(connection, listener.before)
    return outbox.post(
        connection,
        key=f"{key}-{listener.name}",
        channel=listener.name,
        payload={**payload, "kind": kind, "alerts": [each.id for each in about], "severity": about[0].severity},
        alert_id=about[0].id,
        now=now,
        due=listener.due,
    )
