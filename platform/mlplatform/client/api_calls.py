"""The calls of the API as values: what is sent, whether twice does no harm, how the answer is read; no network."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, Literal, Protocol, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx

from mlplatform.client.errors import RefusedError, UnavailableError, UnreadableError
from mlplatform.client.results import Answered, Detail, Queued, Reviews, Taken

T = TypeVar("T")
PASSING: Final = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that may be different the next time."""


class Array(Protocol):
    """Rows of grey values from 0 to 255, such as a numpy array."""

    def tolist(self) -> Any: ...  # noqa: ANN401 - numpy's own type


Picture = bytes | Sequence[Sequence[float]] | Array
"""A PNG or JPEG, or rows of grey values."""


@dataclass(frozen=True)
class Label:
    """A label for one prediction; `at` is when it was given, by default now."""

    prediction_id: str
    label: str
    source: Literal["audit", "correction", "delayed"] = "correction"
    reviewer: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request. `repeatable` says that sent twice it does what it does once."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    json: Any = None
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True

    def result(self, response: httpx.Response) -> T:
        """The answer read; raises RefusedError, UnavailableError or UnreadableError."""
        if not response.is_success:
            raise error_of(response)
        try:
            return self.read(response)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnreadableError(
                f"{self.method} {response.url} answered {response.text[:80]!r}, which is no answer of this API"
            ) from error


def error_of(response: httpx.Response) -> RefusedError | UnavailableError:
    """The error that an answer is."""
    try:
        body = response.json()
        kind, detail = str(body["type"]).rpartition(":")[2], str(body["detail"])
    except (ValueError, KeyError, TypeError):
        kind, detail = "unknown", response.text[:200] or response.reason_phrase
    passing = response.status_code in PASSING or response.status_code >= 500
    made = UnavailableError if passing else RefusedError
    return made(response.status_code, kind, detail)


def predict(
    pictures: Sequence[Picture],
    client_id: str = "",
    request_id: str = "",
    tags: Mapping[str, str] | None = None,
    key: str | None = None,
) -> Call[Answered]:
    """Ask for answers. Under one `key`, a new one unless given, a request sent again is the same answer."""
    names = {"client_id": client_id, "request_id": request_id, "tags": dict(tags or {})}
    body = {"images": [_shown(each) for each in pictures]} | {name: value for name, value in names.items() if value}
    headers = {"idempotency-key": key or str(uuid4())}
    return Call("POST", "/v1/predict", lambda response: Answered.read(response.json()), body, headers=headers)


def _shown(picture: Picture) -> object:
    if isinstance(picture, bytes):
        return b64encode(picture).decode()
    return picture if isinstance(picture, Sequence) else picture.tolist()


def feedback(labels: Sequence[Label]) -> Call[tuple[Taken, ...]]:
    """Give labels: all are taken or none. They carry their time, so the same sent again changes nothing."""
    rows = [
        {
            "prediction_id": each.prediction_id,
            "label": each.label,
            "source": each.source,
            "reviewer": each.reviewer,
            "at": each.at.isoformat(),
        }
        for each in labels
    ]
    return Call(
        "POST",
        "/v1/feedback",
        lambda response: tuple(Taken.read(each) for each in response.json()),
        {"feedback": rows},
    )


def prediction(prediction_id: str) -> Call[Detail]:
    """A recorded prediction and its labels."""
    path = f"/v1/predictions/{quote(prediction_id, safe='')}"
    return Call("GET", path, lambda response: Detail.read(response.json()))


def image(prediction_id: str) -> Call[bytes]:
    """The picture of a recorded prediction, as PNG."""
    return Call("GET", f"/v1/predictions/{quote(prediction_id, safe='')}/image", lambda response: response.content)


def next_reviews(reviewer: str, limit: int = 1) -> Call[Reviews]:
    """The next drawn answers to label with source `audit`, held for the reviewer."""
    params: dict[str, str | int] = {"reviewer": reviewer, "limit": limit}
    return Call("GET", "/v1/audit/next", lambda response: Reviews.read(response.json()), params=params)


def retrain(reason: str, requested_by: str) -> Call[Queued]:
    """Queue a retraining or join the queued one. Not sent again after a lost answer: the first may have begun."""
    body = {"reason": reason, "requested_by": requested_by}
    read: Callable[[httpx.Response], Queued] = lambda response: Queued.read(response.json())  # noqa: E731
    return Call("POST", "/v1/retrain", read, body, repeatable=False)


def retraining(retraining_id: str) -> Call[Mapping[str, Any]]:
    """A retraining as it stands."""
    return Call("GET", f"/v1/retrainings/{quote(retraining_id, safe='')}", _mapping)


def cancel(retraining_id: str) -> Call[None]:
    """Cancel a queued or running retraining."""
    path = f"/v1/retrainings/{quote(retraining_id, safe='')}"
    return Call("DELETE", path, lambda _response: None, repeatable=False)


def models() -> Call[Mapping[str, Any]]:
    """Registered versions, the champion and the history of promotions."""
    return Call("GET", "/v1/models", _mapping)


def _mapping(response: httpx.Response) -> Mapping[str, Any]:
    found = response.json()
    if not isinstance(found, dict):
        raise TypeError("not an object")
    return found
