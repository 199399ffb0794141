"""Notices about a version that was promoted or rolled back, put into the outbox."""

import logging

from sqlalchemy import Connection

from mlplatform.alerting.links import version_links
from mlplatform.alerting.notifications import _channels, post_alone
from mlplatform.context import Parts
from mlplatform.promotion import promotion_history
from mlplatform.promotion.probations import Probation
from mlplatform.promotion.promotion_service import Change
from monitors.errors import MonitorError
from monitors.notices.promotion_notice import Promotion
from monitors.notices.rollback_notice import Rollback
from monitors.rules.channel_config import AlertmanagerChannel
from monitors.rules.quiet_hours import heard_from
from monitors.statistics.paired_test import Duel

log = logging.getLogger(__name__)


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
