"""The channel type `apprise`: any of the services that the Apprise library sends to."""

from mlplatform.alerting.channels.apprise_sender import STARTUP_SECONDS, send_apprise
from mlplatform.alerting.channels.channel import AnyNotice, ChannelAdapter, SendContext
from mlplatform.alerting.outbox import OutboxMessage
from monitors.notices.apprise_payload import apprise_payload
from monitors.rules.channel_config import AppriseChannel


def render(notice: AnyNotice, _name: str, _channel: AppriseChannel) -> dict[str, object]:
    """The notice as a title and a text."""
    return {"body": apprise_payload(notice)}


def send(message: OutboxMessage, channel: AppriseChannel, context: SendContext) -> None:
    """Send it in a process of its own."""
    url = channel.url.get_secret_value()
    send_apprise(url, message.payload["body"], context.timeout_seconds, context.egress, context.proxy)


APPRISE = ChannelAdapter(render, send, startup_seconds=STARTUP_SECONDS)
