"""Receives the demo's notices: a local webhook receiver and a local SMTP server that keep what arrives."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass(frozen=True)
class ReceivedPost:
    """One POST: its path, headers (lower case) and body."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON is any of its types
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Mailbox:
    """Everything received so far, in order; `wait` blocks until something fits."""

    posts: list[ReceivedPost] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    condition: threading.Condition = field(default_factory=threading.Condition)

    def receive(self, item: ReceivedPost | EmailMessage) -> None:
        """Keep one item."""
        with self.condition:
            (self.posts if isinstance(item, ReceivedPost) else self.mails).append(item)  # type: ignore[arg-type]
            self.condition.notify_all()

    def wait_for_messages(self, posts: int, mails: int, seconds: float) -> bool:
        """Wait until that many of each have arrived."""
        with self.condition:
            return self.condition.wait_for(lambda: len(self.posts) >= posts and len(self.mails) >= mails, seconds)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd
        """aiosmtpd's hook: one mail arrived."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        content = content.replace(b"\r\n", b"\n")  # \r is SMTP's, not the text's
        mail = message_from_bytes(content, policy=policy.default)
        self.receive(mail)
        return "250 OK"


@contextmanager
def run_receivers(http_port: int, smtp_port: int) -> Iterator[Mailbox]:
    """Run both on loopback until the block ends."""
    mailbox = Mailbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            mailbox.receive(ReceivedPost(self.path, {key.lower(): value for key, value in self.headers.items()}, body))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_args: object) -> None:
            return

    web = ThreadingHTTPServer(("127.0.0.1", http_port), Handler)
    thread = threading.Thread(target=web.serve_forever, name="webhook receiver", daemon=True)
    mail = Controller(mailbox, hostname="127.0.0.1", port=smtp_port)
    thread.start()
    try:
        mail.start()
        try:
            yield mailbox
        finally:
            mail.stop()
    finally:
        web.shutdown()
        web.server_close()
