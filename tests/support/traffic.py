"""Clients that predict and label without a pause, and what each was told."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.image.grey_png import encode_png


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
            image = base64.b64encode(encode_png(images_of(digits.batch)[index % len(digits)])).decode()
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
