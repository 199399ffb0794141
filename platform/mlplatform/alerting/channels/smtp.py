"""One email handed to its mail server, each reader accepted or refused; it composes nothing and tries once."""

import smtplib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage
from typing import TYPE_CHECKING, Final

from mlplatform.errors import DeliveryError
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
    """smtplib's client with bounded answers."""

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _BoundedReplies(self.sock.makefile("rb"))
        return super().getreply()


class _EncryptedServer(smtplib.SMTP_SSL, _Server):
    """The same, with TLS from the first byte."""


def send_mail(channel: EmailChannel, message: EmailMessage, recipients: Sequence[str], timeout_seconds: float) -> None:
    """Send to these readers in one session.

    Raises RefusedReadersError when the server took the mail for some of them only, DeliveryError when for nobody.
    """
    host, port = channel.server
    server: smtplib.SMTP | None = None
    try:
        server = _connect(channel, timeout_seconds)
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
        said = "; ".join(
            f"{reader}: {code} {text.decode(errors='replace')}" for reader, (code, text) in refused.items()
        )
        raise RefusedRecipientsError(f"SMTP {host}:{port} refused {said[:MAX_SHOWN_CHARS]}", tuple(refused))


def _connect(channel: EmailChannel, timeout_seconds: float) -> smtplib.SMTP:
    host, port = channel.server
    trust = ssl.create_default_context()
    if channel.encryption == "implicit":
        return _EncryptedServer(host, port, timeout=timeout_seconds, context=trust)
    server = _Server(host, port, timeout=timeout_seconds)
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
