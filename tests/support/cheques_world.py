"""A world for the cheque reader: rendered cheques, accounts, and readers in place of a platform over the network."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import numpy as np
import uvicorn
from PIL import Image

from cheques.account_table import put_accounts
from cheques.code_line import CodeLine
from cheques.decision import Account
from cheques.processing import ChequeProcessor
from cheques.rendering.cheque_form import ChequeText, draw_cheque
from cheques.rendering.handwriting import bundled_writer
from cheques.rendering.photograph import Shot, photograph
from cheques.settings import Settings
from cheques.store import Store
from cheques.web.app import create_app
from mlplatform.client import FeedbackResult, Label, Prediction, PredictResponse, UnavailableError
from pipelines.strings.string_engine import load_string_engine

ACCOUNTS = (
    Account("26000000000001", "Open", True, 1_000_000_000),
    Account("26000000000002", "Closed", False, 1_000_000_000),
    Account("26000000000003", "Small", True, 5),
)
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def code_of(serial: int, account: Account = ACCOUNTS[0]) -> CodeLine:
    """The code line of a cheque of an account."""
    return CodeLine(f"{serial:06d}", account.key[:4], account.key[4:])


def cheque_picture(code: CodeLine, shot: Shot | None = None, seed: int = 0) -> bytes:
    """The photograph of a rendered cheque, with an amount that follows from the seed."""
    rng = np.random.default_rng(seed)
    drawn = draw_cheque(bundled_writer()(rng), ChequeText(code), rng)
    return photograph(drawn, shot or Shot(), rng)


@dataclass
class FixedReader:
    """A platform that reads the same of every picture, and keeps the labels that it is given."""

    text: str = "120"
    confidence: float = 0.99
    is_away: bool = False
    labels: list[Label] = field(default_factory=list)
    asked: int = 0
    fault: Exception | None = None

    def predict(self, images: Sequence[Any], *, client_id: str = "") -> PredictResponse:
        if self.is_away:
            raise UnavailableError(0, "no-answer", "the platform is away")
        self.asked += 1
        assert client_id == "cheques"
        said = [self._read(image) for image in images]
        return PredictResponse("request", tuple(said), 1.0, True)

    def feedback(self, labels: Sequence[Label]) -> tuple[FeedbackResult, ...]:
        if self.is_away:
            raise UnavailableError(0, "no-answer", "the platform is away")
        if self.fault is not None:
            raise self.fault
        self.labels += labels
        return tuple(FeedbackResult("label", label.prediction_id, "recorded") for label in labels)

    def _read(self, _image: bytes) -> Prediction:
        sure = (self.confidence,) * len(self.text)
        return Prediction(f"prediction-{self.asked}", self.text, self.confidence, {}, "strings", 1, sure)


class KeptReader(FixedReader):
    """A platform whose champion is the kept model."""

    def _read(self, image: bytes) -> Prediction:
        with Image.open(BytesIO(image)) as opened:
            read = load_string_engine().read(np.asarray(opened))
        return Prediction(f"prediction-{self.asked}", read.text, read.confidence, {}, "strings", 1, read.positions)


def settings(**changed: object) -> Settings:
    """The usual settings without draws for checks, or some others."""
    return Settings.model_validate({"sample_share": 0.0, **changed})


def world(url: str, reader: FixedReader, **changed: object) -> ChequeProcessor:
    """A processor over a new database with accounts."""
    store = Store(url)
    with store.write() as connection:
        put_accounts(connection, ACCOUNTS, "test", NOW)
    return ChequeProcessor(settings(**changed), store, reader)


@contextmanager
def serving(processor: ChequeProcessor) -> Iterator[str]:
    """The address of the pages behind a socket of loopback."""
    app = create_app(processor.settings, processor.store, processor.client)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, name="cheques")
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        [sockets] = [each.sockets for each in server.servers]
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
