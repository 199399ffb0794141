"""Makes one attempt to send one message of the outbox through its channel, under the egress policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from mlplatform.alerting.channels.adapters import ADAPTERS
from mlplatform.alerting.channels.channel import SendContext
from mlplatform.alerting.channels.http_poster import HttpPoster
from mlplatform.alerting.outbox import OutboxMessage
from mlplatform.context import AppContext
from mlplatform.errors import DeliveryError
from mlplatform.network.egress import egress_policy
from mlplatform.network.http_clients import create_egress_client
from monitors.rules.channel_config import Channel


@dataclass(frozen=True)
class Transport:
    """The channels of alerts.yaml by name, and what attempts may use."""

    channels: Mapping[str, Channel]
    context: SendContext

    def send(self, message: OutboxMessage) -> None:
        """Send one message; raises DeliveryError with the receiver's answer."""
        channel = self.channels.get(message.channel)
        if channel is None or not channel.is_configured:
            raise DeliveryError(f"channel {message.channel!r} is no longer configured in alerts.yaml")
        if message.payload["type"] != channel.type:
            raise DeliveryError(
                f"channel {message.channel!r} is {channel.type} now; this was made for {message.payload['type']}"
            )
        ADAPTERS[channel.type].send(message, channel, self.context)


def create_transport(
    context: AppContext, client: httpx.Client | None = None, proxy_client: httpx.Client | None = None
) -> Transport:
    """The transport that the settings describe; given clients stand for all of HTTP."""
    settings = context.settings
    proxy_host = urlsplit(settings.delivery_proxy).hostname
    egress = egress_policy((*settings.allowed_receivers, *([proxy_host] if proxy_host else [])))
    seconds = settings.delivery_timeout_seconds
    if client is None:
        client = create_egress_client(seconds, egress)
        proxy_client = create_egress_client(seconds, egress, settings.delivery_proxy) if proxy_host else None
    http = HttpPoster(client, context.clock, egress_policy(settings.allowed_receivers), proxy_client)
    return Transport(context.rules.channels, SendContext(http, egress, settings.delivery_proxy, seconds, context.clock))
