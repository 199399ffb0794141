"""Notices put into the outbox: composed once, whole, when their cause is written; sending is somebody else's."""

import logging
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection

from mlplatform.alerting import evaluations, outbox
from mlplatform.alerting.ended_alerts import post_resolved
from mlplatform.alerting.links import version_links
from mlplatform.alerting.notice_composer import compose, not_silenced, notice_of
from mlplatform.context import Parts
from mlplatform.promotion import promotion_history
from mlplatform.promotion.probations import Probation
from mlplatform.promotion.promotion_service import Change
from monitors.alerts import Kind
from monitors.channels import AlertmanagerChannel
from monitors.duel import Duel
from monitors.errors import MonitorError
from monitors.loss import Loss
from monitors.mute import heard_from
from monitors.notify import Subject
from monitors.promotion import Promotion
from monitors.rollback import Rollback
from monitors.rules import AlertsConfig, Rule
from monitors.stall import Stall
from monitors.tampering import Tampering

log = logging.getLogger(__name__)


def post_group(
    connection: Connection,
    parts: Parts,
    rule: Rule,
    subjects: Sequence[Subject],
    kind: Kind,
    evaluation: evaluations.Evaluation,
) -> int:
    """Put one notice about these alerts into the outbox per configured channel; returns how many.

    The alerts are of one rule and version, and the evaluation moved all of them the same way. Those under a silence
    are left out; in mute hours nobody is told, but for an escalation. What has ended is told as `endings` says.
    """
    if kind == "resolved":
        return post_resolved(connection, parts, rule, subjects, evaluation)
    told = not_silenced(connection, subjects, evaluation.at)
    if kind != "escalated" and any(hours.covers(rule.severity, evaluation.at) for hours in parts.rules.mute):
        return 0
    names = rule.escalate.notify if kind == "escalated" and rule.escalate else rule.notify
    reached = {name: channel for name in names if (channel := parts.rules.channels[name]).configured}
    if not told or not reached:
        return 0
    notice = notice_of(connection, parts, rule, told, kind, evaluation)
    of_notice = [each.alert.id for each in told]
    return sum(
        outbox.post(
            connection,
            key=f"{notice.idempotency_key}-{name}",
            channel=name,
            payload={**compose(notice, name, channel), "kind": kind, "alerts": of_notice, "severity": rule.severity},
            alert_id=of_notice[0],
            now=evaluation.at,
        )
        for name, channel in reached.items()
    )


def post_rollback(connection: Connection, parts: Parts, ended: Probation) -> int:
    """Put one notice about a version that was sent back into the outbox per channel; returns how many.

    It is said once and has no reminder, so neither silences nor mute hours hold it back.
    """
    return post_alone(connection, parts, _rollback(parts, ended), ended.ended_at or parts.clock())


def post_change(connection: Connection, parts: Parts, change: Change, promotion: promotion_history.Promotion) -> int:
    """Put one notice about another champion into the outbox per channel, in the transaction that makes it champion.

    A first version is no news to anybody. Where alerts.yaml cannot be read nobody is told, and the change stands.
    """
    if change.expected is None:
        return 0
    try:
        rules = parts.rules
    except MonitorError as error:
        log.warning("nobody is told that version %d is champion: %s", promotion.to_version, error)
        return 0
    name, before = change.model, change.expected
    if change.kind == "rollback":
        return post_alone(connection, parts, _rollback_by_hand(connection, parts, change, promotion), promotion.at)
    links = version_links(parts.settings, name, promotion.to_version)
    key = f"promoted-{name}-{promotion.seq}"
    made = Promotion(name, promotion.to_version, before, change.actor, change.reason, promotion.at, links, key)
    people = {each for each in _channels(rules) if not isinstance(rules.channels[each], AlertmanagerChannel)}
    due = heard_from(rules.mute, made.severity, promotion.at)
    return post_alone(connection, parts, made, promotion.at, people, due)


def post_alone(
    connection: Connection,
    parts: Parts,
    notice: Rollback | Loss | Promotion | Stall | Tampering,
    now: datetime,
    among: Collection[str] | None = None,
    due: datetime | None = None,
) -> int:
    """Put a notice that is about no alert into the outbox, once per channel and key; returns how many are new.

    `among` narrows the channels, and nothing is sent before `due`.
    """
    channels = parts.rules.channels
    names = [name for name in _channels(parts.rules) if among is None or name in among]
    reached = {name: channels[name] for name in names if channels[name].configured}
    return sum(
        outbox.post(
            connection,
            key=f"{notice.idempotency_key}-{name}",
            channel=name,
            payload={**compose(notice, name, channel), "kind": notice.kind, "severity": notice.severity},
            alert_id=None,
            now=now,
            model_name=notice.model,
            due=due,
        )
        for name, channel in reached.items()
    )


def _channels(rules: AlertsConfig) -> tuple[str, ...]:
    """Who hears of what is no alert: those named for rollbacks, else those who hear of the accuracy."""
    of_accuracy = (name for rule in rules.rules if rule.metric == "accuracy_drop" for name in rule.notify)
    return rules.probation.notify or tuple(dict.fromkeys(of_accuracy))


def _rollback(parts: Parts, ended: Probation) -> Rollback:
    duel = Duel.from_json(ended.duel)
    return Rollback(
        model=ended.model_name,
        version=ended.version,
        restored=ended.before,
        reason=ended.reason,
        at=ended.ended_at or parts.clock(),
        since=ended.at,
        facts={
            "Version": f"{ended.model_name} v{ended.version}",
            "Serves again": f"{ended.model_name} v{ended.before}",
            "Labelled answers compared": f"{duel.n:,}",
            f"Right only in v{ended.before}": f"{duel.lost:,}",
            f"Right only in v{ended.version}": f"{duel.won:,}",
            "Champion since": f"{ended.at:%Y-%m-%d %H:%M} UTC",
            "False rollbacks": f"at most {100 * (ended.label_level + ended.latency_level):.3g} % of good versions",
        },
        links=version_links(parts.settings, ended.model_name, ended.version),
        idempotency_key=f"rolled-back-{ended.model_name}-{ended.promotion_seq}",
    )


def _rollback_by_hand(
    connection: Connection, parts: Parts, change: Change, promotion: promotion_history.Promotion
) -> Rollback:
    """What to say about a rollback that somebody asked for."""
    name, left = change.model, change.expected or 0
    history = promotion_history.history(connection, name, limit=1000)
    since = next((each.at for each in history if each.to_version == left), promotion.at)
    return Rollback(
        model=name,
        version=left,
        restored=promotion.to_version,
        reason=change.reason,
        at=promotion.at,
        since=since,
        facts={
            "Version": f"{name} v{left}",
            "Serves again": f"{name} v{promotion.to_version}",
            "By": change.actor,
            "Champion since": f"{since:%Y-%m-%d %H:%M} UTC",
        },
        links=version_links(parts.settings, name, left),
        idempotency_key=f"rolled-back-{name}-by-hand-{promotion.seq}",
    )
