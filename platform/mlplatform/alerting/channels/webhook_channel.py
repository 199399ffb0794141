"""The channel type `webhook`: any address that takes a POST signed after Standard Webhooks."""

from typing import Any, assert_never

import orjson

from mlplatform.alerting.channels.channel import AnyNotice, ChannelAdapter, SendContext
from mlplatform.alerting.outbox import OutboxMessage
from monitors.notices.approval_notice import ApprovalNotice, approval_webhook
from monitors.notices.audit_contradiction_notice import AuditContradictionNotice, audit_contradiction_webhook
from monitors.notices.lost_predictions_notice import RecordingLossNotice, recording_loss_webhook
from monitors.notices.notice import Notice
from monitors.notices.promotion_notice import PromotionNotice, promotion_webhook
from monitors.notices.rollback_notice import RollbackNotice, rollback_webhook
from monitors.notices.superseded_notice import SupersededNotice, superseded_webhook
from monitors.notices.unsuccessful_retraining_notice import (
    UnsuccessfulRetrainingNotice,
    unsuccessful_retraining_webhook,
)
from monitors.notices.webhook import webhook_payload
from monitors.notices.webhook_signature import signed_headers
from monitors.rules.channel_config import WebhookChannel


def render(notice: AnyNotice, _name: str, _channel: WebhookChannel) -> dict[str, object]:
    """The notice as JSON; its signature is made at each attempt."""
    return {"body": _body(notice)}


def send(message: OutboxMessage, channel: WebhookChannel, context: SendContext) -> None:
    """Sign it for this moment and post it."""
    body, moment = orjson.dumps(message.payload.get("body")), int(context.clock().timestamp())
    headers = signed_headers(channel.secret.get_secret_value(), message.idempotency_key, moment, body)
    context.http.post(channel.url.get_secret_value(), body, message.idempotency_key, headers)


def _body(notice: AnyNotice) -> dict[str, Any]:
    match notice:
        case RollbackNotice():
            return rollback_webhook(notice)
        case RecordingLossNotice():
            return recording_loss_webhook(notice)
        case UnsuccessfulRetrainingNotice():
            return unsuccessful_retraining_webhook(notice)
        case AuditContradictionNotice():
            return audit_contradiction_webhook(notice)
        case SupersededNotice():
            return superseded_webhook(notice)
        case ApprovalNotice():
            return approval_webhook(notice)
        case PromotionNotice():
            return promotion_webhook(notice)
        case Notice():
            return webhook_payload(notice)
        case _:
            assert_never(notice)


WEBHOOK = ChannelAdapter(render, send)
