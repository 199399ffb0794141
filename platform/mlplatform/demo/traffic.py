"""Sends the demo's traffic: images as clients would, and the truth as labels; counts what comes back."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlplatform.client import Client, ClientError, Label
from pipelines.data import Examples, images_of
from pipelines.image.grey_png import encode_png

LABEL_BATCH_SIZE = 20


def sample_mask(rows: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Which of so many rows an audit draws."""
    return np.random.default_rng(seed).random(rows) < share


@dataclass(frozen=True)
class AnsweredRequest:
    """One answered image: what the server said, which version said it, and what is true."""

    prediction_id: str
    label: str
    version: int
    truth: str


@dataclass
class TrafficCounts:
    """Requests and failures; thread-safe."""

    requests: int = 0
    failures: list[str] = field(default_factory=list)
    versions: Counter[int] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def record(self, version: int | None, failure: str | None) -> None:
        """One request ended."""
        with self.lock:
            self.requests += 1
            if failure is not None:
                self.failures.append(failure)
            if version is not None:
                self.versions[version] += 1


@dataclass(frozen=True)
class TrafficGenerator:
    """Clients of one API server."""

    client: Client
    classes: tuple[str, ...]
    counts: TrafficCounts
    workers: int = 2

    def send_images(
        self, images: Examples, client_id: str, on_sent: Callable[[int], None] = lambda _: None
    ) -> list[AnsweredRequest]:
        """Send every image as a request of its own; failed requests are tallied and left out."""
        answered: list[AnsweredRequest] = []
        with ThreadPoolExecutor(self.workers) as pool:
            work = (
                pool.submit(self.send_image, image, self.classes[label], client_id)
                for image, label in zip(images_of(images.batch), images.labels, strict=True)
            )
            for done, future in enumerate(list(work), start=1):
                sent = future.result()
                if sent is not None:
                    answered.append(sent)
                on_sent(done)
        return answered

    def send_image(self, image: np.ndarray, truth: str, client_id: str) -> AnsweredRequest | None:
        """One request; None when it failed."""
        try:
            [answer] = self.client.predict([encode_png(image)], client_id=client_id).predictions
        except (ClientError, ValueError) as error:
            self.counts.record(None, repr(error))
            return None
        sent = AnsweredRequest(answer.id, answer.label, answer.version, truth)
        self.counts.record(sent.version, None)
        return sent

    def send_labels(self, answers: Sequence[AnsweredRequest], share: float, seed: int) -> int:
        """Give the truth for a random share of the answers, as an audit would; returns how many."""
        chosen = sample_mask(len(answers), share, seed)
        picked = [answer for answer, take in zip(answers, chosen, strict=True) if take]
        for first in range(0, len(picked), LABEL_BATCH_SIZE):
            batch = picked[first : first + LABEL_BATCH_SIZE]
            self.client.feedback([Label(sent.prediction_id, sent.truth, "audit", "demo") for sent in batch])
        return len(picked)

    @contextmanager
    def in_background(self, images: Examples, client_id: str, pause: float) -> Iterator[None]:
        """Keep sending the images in turn until the block ends."""
        stopping = threading.Event()

        def run() -> None:
            while not stopping.is_set():
                for image, label in zip(images_of(images.batch), images.labels, strict=True):
                    if stopping.wait(pause):
                        return
                    self.send_image(image, self.classes[label], client_id)

        thread = threading.Thread(target=run, name="traffic", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


def accuracy(answers: Sequence[AnsweredRequest]) -> float:
    """Share of answers that were right."""
    return sum(sent.label == sent.truth for sent in answers) / max(1, len(answers))
