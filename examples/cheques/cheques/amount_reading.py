"""Asks the platform's API what is written in a field, and gives it the truth afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cheques.errors import ReaderUnavailableError
from mlplatform.client import Client, ClientError, FeedbackResult, Label, PredictResponse

CLIENT_ID: Final = "cheques"


class ReadingClient(Protocol):
    """What is used of the platform's client."""

    def predict(self, images: Sequence[Any], *, client_id: str = "") -> PredictResponse:
        """Answers to pictures."""

    def feedback(self, labels: Sequence[Label]) -> tuple[FeedbackResult, ...]:
        """Give labels."""


@dataclass(frozen=True)
class AmountReading:
    """What the model read: digits, how sure it is of all and of each, and which prediction and version said so."""

    text: str
    confidence: float
    characters: tuple[float, ...]
    prediction_id: str
    model: str
    version: int


def platform_client(url: str, key: str | None) -> Client:
    """The client of the platform's API."""
    return Client(url, api_key=key, timeout=20.0)


def read_amount(client: ReadingClient, picture: NDArray[np.uint8]) -> AmountReading:
    """The amount in a grey picture; raises ReaderUnavailableError where the platform gives no answer."""
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, "PNG")
    try:
        said = client.predict([file.getvalue()], client_id=CLIENT_ID).predictions[0]
    except ClientError as error:
        raise ReaderUnavailableError(f"the platform read nothing ({error}); send the cheque again") from error
    if len(said.characters) != len(said.label) or not 0 <= said.confidence <= 1:  # a model of single digits, say
        raise ReaderUnavailableError(
            f"the platform's model {said.model} version {said.version} reads no texts (it answered {said.label[:20]!r} "
            f"with {len(said.characters)} confidences); serve the pipeline strings there, or mend CHEQUES_PLATFORM_URL"
        )
    return AmountReading(said.label, said.confidence, said.characters, said.id, said.model, said.version)


def give_label(
    client: ReadingClient, prediction_id: str, label: str, source: str, reviewer: str, at: datetime
) -> FeedbackResult:
    """Give one label by the prediction's id; the same again changes nothing. Raises the client's errors."""
    named: Literal["audit", "correction"] = "audit" if source == "audit" else "correction"
    [result] = client.feedback([Label(prediction_id, label, named, reviewer, at)])
    return result
