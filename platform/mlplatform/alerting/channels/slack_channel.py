"""The channel type `slack`: a Slack incoming webhook."""

import logging

import httpx
import orjson

from mlplatform.alerting.channels.channel import AnyNotice, ChannelAdapter, SendContext
from mlplatform.alerting.outbox import OutboxMessage
from monitors.notices.slack import slack_payload, without_images
from monitors.rules.channel_config import SlackChannel

log = logging.getLogger(__name__)


def render(notice: AnyNotice, _name: str, _channel: SlackChannel) -> dict[str, object]:
    """The notice in Slack's blocks."""
    return {"body": slack_payload(notice)}


def send(message: OutboxMessage, channel: SlackChannel, context: SendContext) -> None:
    """Post it. Slack fetches pictures meanwhile, and refuses the whole when it cannot: then without them."""
    url, body = channel.url.get_secret_value(), message.payload["body"]
    bare = without_images(body)
    response = context.http.request(url, orjson.dumps(body), message.idempotency_key)
    if response.status == httpx.codes.BAD_REQUEST and bare != body:
        log.warning("notice %s to %s: sent again without pictures", message.idempotency_key, message.channel)
        response = context.http.request(url, orjson.dumps(bare), message.idempotency_key)
    context.http.raise_for_status(response, url)


SLACK = ChannelAdapter(render, send)
