"""Where the demo's notices arrive."""

import smtplib
import threading
from collections.abc import Iterator
from email.message import EmailMessage

import httpx
import pytest

from mlplatform.demo.receivers import Mailbox, ReceivedPost, run_receivers
from mlplatform.host.processes import free_port


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def mailbox(ports: tuple[int, int]) -> Iterator[Mailbox]:
    with run_receivers(*ports) as mailbox:
        yield mailbox


def test_a_post_is_kept_with_path_headers_and_body(mailbox: Mailbox, ports: tuple[int, int]) -> None:
    answer = httpx.post(f"http://127.0.0.1:{ports[0]}/slack", json={"text": "hello"}, headers={"Webhook-Id": "a"})
    assert answer.is_success
    [post] = mailbox.posts
    assert (post.path, post.headers["webhook-id"], post.json) == ("/slack", "a", {"text": "hello"})


def test_a_mail_is_kept_as_it_was_sent(mailbox: Mailbox, ports: tuple[int, int]) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@example.org", "b@example.org", "drop · fünf"
    mail.set_content("It is so.\n\nSo it is.")
    with smtplib.SMTP("127.0.0.1", ports[1], timeout=10) as server:
        server.send_message(mail)
    assert mailbox.wait_for_messages(0, 1, 10)
    [received] = mailbox.mails
    assert (received["Subject"], received.get_content().strip()) == ("drop · fünf", "It is so.\n\nSo it is.")


def test_waiting_ends_as_soon_as_everything_has_arrived() -> None:
    mailbox = Mailbox()
    assert not mailbox.wait_for_messages(1, 0, 0.05)
    thread = threading.Timer(0.05, mailbox.receive, (ReceivedPost("/", {}, b""),))
    thread.start()
    assert mailbox.wait_for_messages(1, 0, 10)
    thread.join()


def test_both_stop_listening_at_the_end(ports: tuple[int, int]) -> None:
    with run_receivers(*ports):
        pass
    for port in ports:
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/")
