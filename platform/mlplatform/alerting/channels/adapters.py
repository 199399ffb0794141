"""The types of channels there are, by their `type` in alerts.yaml; a new one is a line here."""

from collections.abc import Mapping
from typing import Any, Final

from mlplatform.alerting.channels.alertmanager_channel import ALERTMANAGER
from mlplatform.alerting.channels.apprise_channel import APPRISE
from mlplatform.alerting.channels.channel import AnyNotice, ChannelAdapter
from mlplatform.alerting.channels.email_channel import EMAIL
from mlplatform.alerting.channels.slack_channel import SLACK
from mlplatform.alerting.channels.webhook_channel import WEBHOOK
from monitors.rules.channel_config import Channel

ADAPTERS: Final[Mapping[str, ChannelAdapter[Any]]] = {
    "alertmanager": ALERTMANAGER,
    "apprise": APPRISE,
    "email": EMAIL,
    "slack": SLACK,
    "webhook": WEBHOOK,
}


def render(notice: AnyNotice, name: str, channel: Channel) -> dict[str, object]:
    """What exactly will be sent through the channel of that name, every time it is tried; no secret is in it."""
    return {"type": channel.type, **ADAPTERS[channel.type].render(notice, name, channel)}


def startup_seconds(channel_type: str | None) -> float:
    """What an attempt over this type of channel may take besides the delivery timeout; nothing for unknown types."""
    adapter = ADAPTERS.get(channel_type or "")
    return adapter.startup_seconds if adapter else 0.0
