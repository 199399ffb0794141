"""The channel type `email`: one mail to all readers, over an SMTP server."""

import email
import email.policy
from email.message import EmailMessage
from hashlib import sha256
from typing import Final

from mlplatform.alerting.channels.channel import AnyNotice, ChannelAdapter, SendContext
from mlplatform.alerting.channels.smtp import send_mail
from mlplatform.alerting.outbox import OutboxMessage
from mlplatform.network.egress import ANY_ADDRESS
from monitors.notices.email_message import email_message
from monitors.rules.channel_config import EmailChannel

MESSAGE_ID_DOMAIN: Final = "mlplatform.invalid"


def render(notice: AnyNotice, _name: str, channel: EmailChannel) -> dict[str, object]:
    """The whole mail as text, the same for the same notice."""
    message = email_message(notice, channel.sender, channel.to, MESSAGE_ID_DOMAIN)
    _fix_boundaries(message, notice.idempotency_key)
    return {"message": message.as_string()}


def send(message: OutboxMessage, channel: EmailChannel, context: SendContext) -> None:
    """Hand it to the mail server for those readers that it has not accepted yet.

    The relay may be at any address: it is where the operator put it, most often on a private network.
    """
    mail = email.message_from_string(message.payload["message"], policy=email.policy.default)
    readers = [reader for reader in message.payload.get("readers", channel.to) if reader in channel.to]
    send_mail(channel, mail, readers or channel.to, context.timeout_seconds, ANY_ADDRESS)


def _fix_boundaries(message: EmailMessage, idempotency_key: str) -> None:
    """Name the boundaries of the mail's parts after the notice: the library draws them at random."""
    for place, part in enumerate(message.walk()):
        if part.is_multipart():
            part.set_boundary(f"={sha256(f'{idempotency_key}-{place}'.encode()).hexdigest()[:32]}==")


EMAIL = ChannelAdapter(render, send)
