"""Lets candidates that passed the gate wait for a person, and ends the wait when nobody decides in time."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from mlplatform.alerting.links import version_links
from mlplatform.alerting.notice_builder import ERROR_PERIOD, version_error_thumbnails
from mlplatform.alerting.notifications import enqueue_notice, event_channels
from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.ids import uuid7
from mlplatform.promotion import approvals
from mlplatform.promotion.approvals import Approval
from monitors.errors import MonitorError
from monitors.notices.approval_notice import ApprovalNotice, ApprovalNoticeKind
from monitors.rules.channel_config import AlertmanagerChannel
from monitors.rules.quiet_hours import earliest_send_time

log = logging.getLogger(__name__)


def new_approval(
    model: str,
    version: int,
    champion: int | None,
    verdict: Mapping[str, Any],
    actor: str,
    reason: str,
    retraining_id: str | None,
    now: datetime,
    timeout: timedelta,
) -> Approval:
    """The wait of a candidate that passed the gate, not yet written."""
    return Approval(
        uuid7(), model, version, champion, "waiting", reason, actor, now, now + timeout, retraining_id, dict(verdict)
    )


def request_approval(connection: Connection, context: AppContext, approval: Approval) -> None:
    """Let a candidate wait for a person, in the transaction that ends its training; people are told."""
    approvals.request(connection, approval)
    details = {"champion": approval.champion, "expires_at": approval.expires_at.isoformat(), "reason": approval.reason}
    subject = f"{approval.model_name}/{approval.version}"
    now = approval.requested_at
    audit_entries.append(connection, approval.requested_by, "request-approval", subject, now, details)
    enqueue_approval_notice(connection, context, approval, "approval-requested", approval.requested_by, "", now)


def reject_approval(
    connection: Connection, context: AppContext, approval: Approval, actor: str, comment: str, now: datetime
) -> None:
    """End the wait of a candidate that a person does not want; its retraining has brought nothing."""
    approvals.decide(connection, approval, "rejected", actor, comment, now)
    enqueue_approval_notice(connection, context, approval, "approval-rejected", actor, comment, now)


def expire_approval(
    connection: Connection, context: AppContext, model: str, actor: str, now: datetime
) -> Approval | None:
    """End the wait of the model's candidate where its time is over; returns that approval, or None."""
    approval = approvals.find_waiting(connection, model, lock=True)
    if approval is None or approval.expires_at > now:
        return None
    comment = f"nobody decided until {approval.expires_at:%Y-%m-%d %H:%M} UTC"
    approvals.decide(connection, approval, "expired", actor, comment, now)
    enqueue_approval_notice(connection, context, approval, "approval-expired", actor, comment, now)
    return approval


def enqueue_approval_notice(
    connection: Connection,
    context: AppContext,
    approval: Approval,
    kind: ApprovalNoticeKind,
    actor: str,
    comment: str,
    now: datetime,
) -> int:
    """Put the notice into the outbox, once for each channel of events; returns how many.

    Where alerts.yaml cannot be read nobody is told, and the candidate waits all the same.
    """
    try:
        rules = context.rules
    except MonitorError as error:
        log.warning("nobody is told that version %d waits for approval: %s", approval.version, error)
        return 0
    notice = ApprovalNotice(
        kind=kind,
        model=approval.model_name,
        version=approval.version,
        champion=approval.champion,
        reason=approval.reason,
        verdict_reasons=tuple(str(reason) for reason in (approval.verdict or {}).get("reasons", ())),
        actor=actor,
        comment=comment,
        at=now,
        expires_at=approval.expires_at,
        links=version_links(context.settings, approval.model_name, approval.version),
        idempotency_key=f"{kind}-{approval.id}",
        thumbnails=()
        if approval.champion is None
        else version_error_thumbnails(
            connection, context, approval.model_name, approval.champion, now - ERROR_PERIOD, now
        ),
    )
    people = {name for name in event_channels(rules) if not isinstance(rules.channels[name], AlertmanagerChannel)}
    return enqueue_notice(
        connection, context, notice, now, people, earliest_send_time(rules.mute, notice.severity, now)
    )
