"""An API server killed under traffic: nothing recorded or acknowledged is lost or doubled, and it serves again."""

import base64
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from sqlalchemy import func, select

from mlplatform.feedback.label_ingestion import match_pending_labels
from mlplatform.host.processes import free_port, http_ok
from mlplatform.predictions.stored_image import encode_png
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.predictions import predictions
from pipelines.datasets.optdigits import load_optdigits
from tests.support.platform_processes import World


class Ledger:
    """What the client was told."""

    def __init__(self) -> None:
        self.answered: list[str] = []
        self.labelled: list[str] = []
        self.broken = 0


def traffic(url: str, ledger: Ledger, stop: threading.Event, pause: float = 0.0) -> None:
    """Predict and label, one image after the other, until told to stop."""
    digits = load_optdigits()
    with httpx.Client(base_url=url, timeout=5.0) as client:
        index = 0
        while not stop.wait(pause):
            index += 1
            image = base64.b64encode(encode_png(digits.images[index % len(digits)])).decode()
            try:
                answer = client.post("/v1/predict", json={"images": [image]}).raise_for_status()
                made = answer.json()["predictions"][0]["id"]
                ledger.answered.append(made)
                label = {"prediction_id": made, "label": "3", "source": "audit", "reviewer": "ledger"}
                client.post("/v1/feedback", json=label).raise_for_status()
                ledger.labelled.append(made)
            except httpx.HTTPError:
                ledger.broken += 1
                stop.wait(0.05)


@contextmanager
def client_of(url: str, ledger: Ledger, pause: float = 0.0) -> Iterator[None]:
    """Traffic in the background until the block ends, however it ends."""
    stop = threading.Event()
    thread = threading.Thread(target=traffic, args=(url, ledger, stop, pause))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


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
