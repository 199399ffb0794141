"""Hands one email to its mail server (SMTP), where each reader is accepted or refused."""

import smtplib
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any, Final

from mlplatform.errors import DeliveryError
from mlplatform.network.connections import open_connection
from mlplatform.network.egress import EgressPolicy
from monitors.rules.channel_config import EmailChannel

if TYPE_CHECKING:
    from io import BufferedReader

MAX_REPLY_BYTES: Final = 64 * 1024
"""So many bytes of a mail server's answers are read in one session."""
QUIT_TIMEOUT_SECONDS: Final = 2.0
MAX_SHOWN_CHARS: Final = 200


class RefusedRecipientsError(DeliveryError):
    """The mail is sent, but not to these readers, whom the server refused."""

    def __init__(self, text: str, recipients: Sequence[str]) -> None:
        super().__init__(text)
        self.recipients = tuple(recipients)


class _BoundedReplies:
    """A server's answers as a file that ends with an error instead of filling the memory."""

    def __init__(self, file: "BufferedReader") -> None:
        self._file, self._bytes_left = file, MAX_REPLY_BYTES

    def readline(self, size: int) -> bytes:
        line = self._file.readline(size)
        self._bytes_left -= len(line)
        if self._bytes_left < 0:
            raise OSError(f"its answers are longer than {MAX_REPLY_BYTES} bytes")
        return line

    def close(self) -> None:
        self._file.close()


class _Server(smtplib.SMTP):
    """smtplib's client with bounded answers, which connects under an egress policy and this thread's deadline."""

    def __init__(self, policy: EgressPolicy, host: str, port: int, **options: Any) -> None:  # noqa: ANN401 - smtplib's
        self._policy = policy
        super().__init__(host, port, **options)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return open_connection(host, port, timeout, self._policy)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _BoundedReplies(self.sock.makefile("rb"))
        return super().getreply()


class _EncryptedServer(_Server, smtplib.SMTP_SSL):
    """The same, with TLS from the first byte."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self.context.wrap_socket(super()._get_socket(host, port, timeout), server_hostname=host)


def send_mail(
    channel: EmailChannel,
    message: EmailMessage,
    recipients: Sequence[str],
    timeout_seconds: float,
    policy: EgressPolicy,
) -> None:
    """Send to these readers in one session, over a connection that the policy allows.

    Raises RefusedRecipientsError when the server took the mail for some of them only, DeliveryError when for nobody.
    """
    host, port = channel.server
    server: smtplib.SMTP | None = None
    try:
        server = connect(channel, timeout_seconds, policy)
        if channel.username:
            server.login(channel.username, channel.password.get_secret_value())
        refused = server.send_message(message, channel.sender, list(recipients))
        _quit(server)
    except (smtplib.SMTPException, OSError, ValueError) as error:  # ValueError: a host that no name can be
        raise DeliveryError(f"SMTP {host}:{port}: {error}") from error
    finally:
        if server is not None:
            server.close()
    if refused:
        answers = "; ".join(
            f"{reader}: {code} {text.decode(errors='replace')}" for reader, (code, text) in refused.items()
        )
        raise RefusedRecipientsError(f"SMTP {host}:{port} refused {answers[:MAX_SHOWN_CHARS]}", tuple(refused))


def connect(channel: EmailChannel, timeout_seconds: float, policy: EgressPolicy) -> smtplib.SMTP:
    """A session with the channel's mail server, encrypted as the channel says, not logged in yet."""
    host, port = channel.server
    trust = ssl.create_default_context()
    if channel.encryption == "implicit":
        return _EncryptedServer(policy, host, port, timeout=timeout_seconds, context=trust)
    server = _Server(policy, host, port, timeout=timeout_seconds)
    if channel.encryption == "starttls":
        try:
            server.starttls(context=trust)
        except BaseException:
            server.close()
            raise
    return server


def _quit(server: smtplib.SMTP) -> None:
    """The mail is taken by now: a server that does not answer a goodbye changes nothing."""
    with suppress(smtplib.SMTPException, OSError):
        if server.sock is not None:
            server.sock.settimeout(QUIT_TIMEOUT_SECONDS)
        server.quit()
