"""Puts notices about a version that was promoted or rolled back into the outbox."""

import logging

from sqlalchemy import Connection

from mlplatform.alerting.links import version_links
from mlplatform.alerting.notice_builder import ERROR_PERIOD, version_error_thumbnails
from mlplatform.alerting.notifications import enqueue_notice, event_channels
from mlplatform.context import AppContext
from mlplatform.promotion import promotion_history
from mlplatform.promotion.probations import Probation
from monitors.decisions.version_comparison import VersionComparison
from monitors.errors import MonitorError
from monitors.notices.promotion_notice import PromotionNotice
from monitors.notices.rollback_notice import RollbackNotice
from monitors.rules.channel_config import AlertmanagerChannel
from monitors.rules.quiet_hours import earliest_send_time

log = logging.getLogger(__name__)


def enqueue_rollback_notice(connection: Connection, context: AppContext, probation: Probation) -> int:
    """Put one notice about a version that was sent back into the outbox per channel; returns how many.

    It is said once and has no reminder, so neither silences nor mute hours hold it back.
    """
    return enqueue_notice(
        connection, context, _build_rollback(connection, context, probation), probation.ended_at or context.clock()
    )


def enqueue_promotion_notice(
    connection: Connection, context: AppContext, promotion: promotion_history.Promotion
) -> int:
    """Put one notice about another champion into the outbox per channel, in the transaction that makes it champion.

    A first version is no news to anybody. Where alerts.yaml cannot be read nobody is told, and the change stands.
    """
    if promotion.from_version is None:
        return 0
    try:
        rules = context.rules
    except MonitorError as error:
        log.warning("nobody is told that version %d is champion: %s", promotion.to_version, error)
        return 0
    if promotion.kind == "rollback":
        return enqueue_notice(connection, context, _build_manual_rollback(connection, context, promotion), promotion.at)
    notice = PromotionNotice(
        promotion.model_name,
        promotion.to_version,
        promotion.from_version,
        promotion.actor,
        promotion.reason,
        promotion.at,
        version_links(context.settings, promotion.model_name, promotion.to_version),
        f"promoted-{promotion.model_name}-{promotion.seq}",
        thumbnails=version_error_thumbnails(
            connection,
            context,
            promotion.model_name,
            promotion.from_version,
            promotion.at - ERROR_PERIOD,
            promotion.at,
        ),
    )
    people = {name for name in event_channels(rules) if not isinstance(rules.channels[name], AlertmanagerChannel)}
    due = earliest_send_time(rules.mute, notice.severity, promotion.at)
    return enqueue_notice(connection, context, notice, promotion.at, people, due)


def _build_rollback(connection: Connection, context: AppContext, probation: Probation) -> RollbackNotice:
    comparison = VersionComparison.from_json(probation.duel)
    name, at = probation.model_name, probation.ended_at or context.clock()
    return RollbackNotice(
        model=probation.model_name,
        version=probation.version,
        restored_version=probation.before,
        reason=probation.reason,
        at=at,
        promoted_at=probation.at,
        facts={
            "Version": f"{probation.model_name} v{probation.version}",
            "Serves again": f"{probation.model_name} v{probation.before}",
            "Answers compared": f"{comparison.compared:,}",
            "Labelled where they differ": f"{comparison.labelled:,}",
            f"Right only in v{probation.before}": f"{comparison.lost:,}",
            f"Right only in v{probation.version}": f"{comparison.won:,}",
            "Champion since": f"{probation.at:%Y-%m-%d %H:%M} UTC",
            "False rollbacks": f"at most {100 * (probation.label_level + probation.latency_level):.3g} "
            "% of good versions",
        },
        links=version_links(context.settings, probation.model_name, probation.version),
        idempotency_key=f"rolled-back-{probation.model_name}-{probation.promotion_seq}",
        thumbnails=version_error_thumbnails(connection, context, name, probation.version, probation.at, at),
    )


def _build_manual_rollback(
    connection: Connection, context: AppContext, promotion: promotion_history.Promotion
) -> RollbackNotice:
    """What to say about a rollback that somebody asked for."""
    name, left = promotion.model_name, promotion.from_version or 0
    history = promotion_history.promotion_history(connection, name, limit=1000)
    since = next((earlier.at for earlier in history if earlier.to_version == left), promotion.at)
    return RollbackNotice(
        model=name,
        version=left,
        restored_version=promotion.to_version,
        reason=promotion.reason,
        at=promotion.at,
        promoted_at=since,
        facts={
            "Version": f"{name} v{left}",
            "Serves again": f"{name} v{promotion.to_version}",
            "By": promotion.actor,
            "Champion since": f"{since:%Y-%m-%d %H:%M} UTC",
        },
        links=version_links(context.settings, name, left),
        idempotency_key=f"rolled-back-{name}-by-hand-{promotion.seq}",
        thumbnails=version_error_thumbnails(
            connection, context, name, left, max(since, promotion.at - ERROR_PERIOD), promotion.at
        ),
    )
