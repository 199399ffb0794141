"""The channel type `alertmanager`: any receiver of Prometheus Alertmanager's webhooks, such as an on-call service."""

from typing import Any, assert_never

import orjson

from mlplatform.alerting.channels.channel import AnyNotice, ChannelAdapter, SendContext
from mlplatform.alerting.outbox import OutboxMessage
from monitors.notices.alertmanager import alertmanager_payload
from monitors.notices.approval_notice import ApprovalNotice
from monitors.notices.audit_contradiction_notice import AuditContradictionNotice, audit_contradiction_alert
from monitors.notices.lost_predictions_notice import RecordingLossNotice, recording_loss_alert
from monitors.notices.notice import Notice
from monitors.notices.promotion_notice import PromotionNotice
from monitors.notices.rollback_notice import RollbackNotice, rollback_alert
from monitors.notices.superseded_notice import SupersededNotice
from monitors.notices.unsuccessful_retraining_notice import UnsuccessfulRetrainingNotice, unsuccessful_retraining_alert
from monitors.rules.channel_config import AlertmanagerChannel


def render(notice: AnyNotice, name: str, _channel: AlertmanagerChannel) -> dict[str, object]:
    """The notice as Alertmanager's JSON; raises TypeError for notices that have no such form."""
    return {"body": _body(notice, name)}


def send(message: OutboxMessage, channel: AlertmanagerChannel, context: SendContext) -> None:
    """Post it."""
    body = orjson.dumps(message.payload.get("body"))
    context.http.post(channel.url.get_secret_value(), body, message.idempotency_key)


def _body(notice: AnyNotice, name: str) -> dict[str, Any]:
    """A promotion and a wait for one are no incidents, and what ends one is made of what began it: none has a body."""
    match notice:
        case RollbackNotice():
            return rollback_alert(notice, name)
        case RecordingLossNotice():
            return recording_loss_alert(notice, name)
        case UnsuccessfulRetrainingNotice():
            return unsuccessful_retraining_alert(notice, name)
        case AuditContradictionNotice():
            return audit_contradiction_alert(notice, name)
        case Notice():
            return alertmanager_payload(notice, name)
        case SupersededNotice() | PromotionNotice() | ApprovalNotice():
            raise TypeError(f"{type(notice).__name__} is not told to Alertmanager's receivers in this way")
        case _:
            assert_never(notice)


ALERTMANAGER = ChannelAdapter(render, send)
