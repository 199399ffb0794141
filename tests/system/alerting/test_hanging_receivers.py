"""A watcher whose receivers hang: the others are told, and it ends when it is asked to."""

import signal
from pathlib import Path

from mlplatform.alerting import outbox
from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.demo.receivers import run_receivers
from mlplatform.host.processes import ProcessGroup, free_port
from mlplatform.operations.local_stack import platform_command
from mlplatform.settings import Settings
from tests.support.platform_processes import QUICK
from tests.support.stubborn_peers import answering, peer

RULES = """\
version: 1
model: digits
channels:
  web: {type: slack, url: "http://127.0.0.1:STUCK/hook"}
  mail: {type: email, host: 127.0.0.1, port: STUCK, starttls: false, sender: a@b.c, to: [d@e.f]}
  push: {type: apprise, url: "json://127.0.0.1:STUCK/topic"}
  good: {type: slack, url: "http://127.0.0.1:GOOD/hook"}
rules:
  - {name: accuracy-drop, metric: accuracy_drop, above: 0.5 points, window: 1h, min_samples: 50}
"""
PAYLOADS: dict[str, dict[str, object]] = {
    "web": {"type": "slack", "body": {"blocks": []}},
    "mail": {"type": "email", "message": "Subject: it fell\nFrom: a@b.c\nTo: d@e.f\n\nIt fell.\n"},
    "push": {"type": "apprise", "body": {"title": "t", "body": "b", "type": "info"}},
    "good": {"type": "slack", "body": {"blocks": []}},
}


def post(context: AppContext, channel: str, key: str) -> None:
    with context.database.write() as connection:
        outbox.enqueue(
            connection,
            key=key,
            channel=channel,
            payload={**PAYLOADS[channel], "severity": "critical"},
            alert_id=None,
            now=utc_now(),
            model_name="digits",
        )


def test_the_others_are_told_and_a_term_signal_ends_it(tmp_path: Path) -> None:
    good = free_port()
    with peer(answering(b"HTTP/1.1 200 OK\r\nX: ")) as (port, seen), run_receivers(good, free_port()) as mailbox:
        rules = tmp_path / "alerts.yaml"
        rules.write_text(RULES.replace("STUCK", str(port)).replace("GOOD", str(good)), encoding="utf-8")
        values = {"PLATFORM_HOME": str(tmp_path), "PLATFORM_DELIVERY_TIMEOUT_SECONDS": "600"}
        context = AppContext(Settings(_env_file=None, home=tmp_path, alerts_file=rules))
        for channel in ("web", "mail", "push"):
            for number in range(25):
                post(context, channel, f"{channel} {number}")
        with ProcessGroup(tmp_path / "logs", cwd=tmp_path) as fleet:
            watcher = fleet.start("watcher", platform_command("watch"), {**QUICK, **values})
            fleet.wait_healthy(watcher, lambda: seen.connections >= 3, 90)
            post(context, "good", "the only good one")
            assert mailbox.wait_for_messages(1, 0, 60)
            assert mailbox.posts[0].headers["idempotency-key"] == "the only good one"
            watcher.process.send_signal(signal.SIGTERM)
            assert watcher.process.wait(60) == 0, watcher.tail()
    with context.database.read() as connection:
        waiting = outbox.list_undelivered(connection)
    assert len(waiting) == 75
    assert {(each.state, each.attempts) for each in waiting} == {("waiting", 0)}
