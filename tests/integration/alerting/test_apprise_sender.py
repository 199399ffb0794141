"""Messages pushed through Apprise, to a real receiver on loopback."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mlplatform.alerting.channels.apprise_sender import send_apprise
from mlplatform.demo.receivers import run_receivers
from mlplatform.errors import DeliveryError
from mlplatform.host.processes import free_port
from mlplatform.network.egress import egress_policy

MESSAGE = {"title": "firing: a-rule", "body": "Accuracy fell.\n\nValue: 8 points <b> & more", "type": "failure"}
SECONDS = 5.0
LOOPBACK = egress_policy(("127.0.0.1",))


@contextmanager
def answering(status: int, seconds: float = 0.0) -> Iterator[int]:
    """A web server on loopback that answers every POST with this status after that time; yields its port."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            released.wait(seconds)
            self.send_response(status)
            self.send_header("location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        released.set()
        server.shutdown()
        server.server_close()


def test_a_message_arrives_whole() -> None:
    port = free_port()
    with run_receivers(port, free_port()) as mailbox:
        send_apprise(f"json://127.0.0.1:{port}/topic", MESSAGE, SECONDS, LOOPBACK)
        [posted] = mailbox.posts
    assert (posted.path, posted.json["title"], posted.json["message"], posted.json["type"]) == (
        "/topic", MESSAGE["title"], MESSAGE["body"], "failure",
    )  # fmt: skip


@pytest.mark.parametrize(("status", "answer"), [(503, "error=503"), (302, "error=302")])
def test_a_refusal_and_a_redirect_are_failures_with_the_receivers_answer(status: int, answer: str) -> None:
    with answering(status) as port, pytest.raises(DeliveryError, match=f"JSON.*{answer}"):
        send_apprise(f"json://127.0.0.1:{port}/topic", MESSAGE, SECONDS, LOOPBACK)


def test_a_receiver_that_does_not_answer_holds_nobody_up() -> None:
    with answering(200, seconds=30) as port, pytest.raises(DeliveryError, match="timeout"):
        send_apprise(f"json://127.0.0.1:{port}/topic", MESSAGE, 0.2, LOOPBACK)


@pytest.mark.parametrize("url", ["nosuch://SECRETPART/x", "tgram://SECRETPART", "json://[", "slack://x"])
def test_what_apprise_does_not_understand_is_said_without_the_url(url: str) -> None:
    with pytest.raises(DeliveryError, match="not one that Apprise understands") as caught:
        send_apprise(url, MESSAGE, SECONDS, LOOPBACK)
    assert "SECRETPART" not in str(caught.value)


@contextmanager
def logged() -> Iterator[list[str]]:
    """What reaches the process's own log at its finest level; pytest's capture also hears what never gets there."""
    lines: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    root, keeping = logging.getLogger(), Keeping()
    level = root.level
    root.addHandler(keeping)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(keeping)
        root.setLevel(level)


def test_no_log_line_holds_a_secret() -> None:
    urls = ("tgram://SECRETPART", f"json://me:SECRETPART@127.0.0.1:{free_port()}/SECRETPATH")
    with logged() as lines:
        logging.getLogger("here").debug("heard")
        for url in urls:
            with pytest.raises(DeliveryError) as caught:
                send_apprise(url, MESSAGE, SECONDS, LOOPBACK)
            assert "SECRET" not in str(caught.value)
    assert lines == ["heard"]
