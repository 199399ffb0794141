"""An API server killed under traffic: nothing recorded or acknowledged is lost or doubled, and it serves again."""

import signal
from collections import Counter

from sqlalchemy import func, select

from mlplatform.feedback.label_ingestion import match_pending_labels
from mlplatform.host.processes import free_port, http_ok
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.predictions import predictions
from tests.support.platform_processes import World
from tests.support.traffic import Ledger, client_of


def test_nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed(world: World) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    ledger = Ledger()
    child = world.start("api", "serve", "--port", str(port))
    world.wait("the model", http_ok(f"{url}/readyz"))
    with client_of(url, ledger):
        for kill in range(2):
            goal = len(ledger.labelled) + 60
            world.wait("traffic", lambda goal=goal: len(ledger.labelled) >= goal)  # type: ignore[misc]
            world.kill(child)
            child = world.start(f"api-{kill}", "serve", "--port", str(port))
            world.wait("the model again", http_ok(f"{url}/readyz"))
        goal = len(ledger.labelled) + 30
        world.wait("traffic after the last start", lambda: len(ledger.labelled) >= goal)
    child.process.send_signal(signal.SIGTERM)
    child.process.wait(timeout=20)
    match_pending_labels(
        world.context
    )  # what a watcher does: a label whose prediction was still in the spool waits for it
    with world.context.database.read() as connection:
        recorded = set(connection.scalars(select(predictions.c.id)))
        rows = Counter(connection.scalars(select(feedback.c.prediction_id)))
        total = connection.scalar(select(func.count()).select_from(predictions))
    assert total == len(recorded)
    assert set(ledger.labelled) <= set(rows), "an acknowledged label is missing"
    assert set(rows) <= recorded, "a label without its prediction"
    assert max(rows.values()) == 1, "a label was doubled"
    assert set(ledger.answered) <= recorded, "an answer is not recorded"
