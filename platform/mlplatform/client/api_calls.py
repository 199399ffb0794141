"""The API's calls as values: what is sent, whether it may be sent twice, and how the response is parsed."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, Protocol, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx

from mlplatform.client.errors import ApiRequestError, InvalidResponseError, UnavailableError
from mlplatform.client.results import (
    FeedbackResult,
    History,
    PredictionDetail,
    PredictResponse,
    RetrainingQueued,
    ReviewBatch,
)
from mlplatform.feedback.label_precedence import SubmittedSource

T = TypeVar("T")
RETRYABLE_STATUSES: Final = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that may be different the next time."""


class ArrayLike(Protocol):
    """Rows of grey values from 0 to 255, such as a numpy array."""

    def tolist(self) -> Any: ...  # noqa: ANN401 - numpy's own type


RowValue = str | float | bool | None
RowTags = Mapping[str, str] | Sequence[Mapping[str, str] | None]
"""The tags of all rows, or those of each row."""
ImageInput = bytes | Sequence[Sequence[float]] | ArrayLike
"""A PNG or JPEG, or rows of grey values."""


@dataclass(frozen=True)
class Label:
    """A label for one prediction, named by its id or, where that is "", by the reference that its row was sent with.

    `at` is when it was given, by default now.
    """

    prediction_id: str
    label: str
    source: SubmittedSource = "correction"
    reviewer: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    reference: str = ""


@dataclass(frozen=True)
class ApiRequest(Generic[T]):
    """One request. `repeatable` says that sent twice it does what it does once."""

    method: str
    path: str
    parse: Callable[[httpx.Response], T]
    json: Any = None
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = True

    def parse_response(self, response: httpx.Response) -> T:
        """The answer read; raises RefusedError, UnavailableError or UnreadableError."""
        if not response.is_success:
            raise error_from_response(response)
        try:
            return self.parse(response)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidResponseError(
                f"{self.method} {response.url} answered {response.text[:80]!r}, which is no answer of this API"
            ) from error


def error_from_response(response: httpx.Response) -> ApiRequestError | UnavailableError:
    """The error that an answer is."""
    try:
        body = response.json()
        kind, detail = str(body["type"]).rpartition(":")[2], str(body["detail"])
    except (ValueError, KeyError, TypeError):
        kind, detail = "unknown", response.text[:200] or response.reason_phrase
    passing = response.status_code in RETRYABLE_STATUSES or response.status_code >= 500
    error_class = UnavailableError if passing else ApiRequestError
    return error_class(response.status_code, kind, detail)


def predict(
    images: Sequence[ImageInput],
    client_id: str = "",
    request_id: str = "",
    tags: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
) -> ApiRequest[PredictResponse]:
    """Ask for answers. Under one `key`, a new one unless given, a request sent again is the same answer."""
    names = {"client_id": client_id, "request_id": request_id, "tags": dict(tags or {})}
    return _predict({"images": [_encode_image(picture) for picture in images]} | names, idempotency_key)


def predict_rows(
    rows: Sequence[Mapping[str, RowValue]],
    references: Sequence[str | None] | None = None,
    client_id: str = "",
    request_id: str = "",
    tags: RowTags | None = None,
    idempotency_key: str | None = None,
    subjects: Sequence[str | None] | None = None,
) -> ApiRequest[PredictResponse]:
    """Ask for answers to rows of a table, each with a key of the caller's own where `references` are given.

    `subjects` say whom each row is about; `tags` are those of all rows, or a list with each row's own.
    """
    names = {"references": references and list(references), "subjects": subjects and list(subjects)}
    given = dict(tags or {}) if tags is None or isinstance(tags, Mapping) else [each and dict(each) for each in tags]
    texts = {"client_id": client_id, "request_id": request_id, "tags": given}
    document = {"rows": [dict(row) for row in rows], **names, **texts}
    return _predict(document, idempotency_key)


def _predict(document: Mapping[str, Any], idempotency_key: str | None) -> ApiRequest[PredictResponse]:
    body = {name: value for name, value in document.items() if value or name in ("images", "rows")}
    headers = {"idempotency-key": idempotency_key or str(uuid4())}
    return ApiRequest(
        "POST", "/v1/predict", lambda response: PredictResponse.from_json(response.json()), body, headers=headers
    )


def _encode_image(image: ImageInput) -> object:
    if isinstance(image, bytes):
        return b64encode(image).decode()
    return image if isinstance(image, Sequence) else image.tolist()


def feedback(labels: Sequence[Label]) -> ApiRequest[tuple[FeedbackResult, ...]]:
    """Give labels: all are taken or none. They carry their time, so the same sent again changes nothing."""
    rows = [
        {
            **({"reference": label.reference} if label.reference else {"prediction_id": label.prediction_id}),
            "label": label.label,
            "source": label.source,
            "reviewer": label.reviewer,
            "at": label.at.isoformat(),
        }
        for label in labels
    ]
    return ApiRequest(
        "POST",
        "/v1/feedback",
        lambda response: tuple(FeedbackResult.from_json(item) for item in response.json()),
        {"feedback": rows},
    )


def prediction(prediction_id: str) -> ApiRequest[PredictionDetail]:
    """A recorded prediction and its labels."""
    path = f"/v1/predictions/{quote(prediction_id, safe='')}"
    return ApiRequest("GET", path, lambda response: PredictionDetail.from_json(response.json()))


def image(prediction_id: str) -> ApiRequest[bytes]:
    """The picture of a recorded prediction, as PNG."""
    return ApiRequest(
        "GET", f"/v1/predictions/{quote(prediction_id, safe='')}/image", lambda response: response.content
    )


def next_reviews(reviewer: str, limit: int = 1) -> ApiRequest[ReviewBatch]:
    """The next drawn answers to label with source `audit`, held for the reviewer."""
    params: dict[str, str | int] = {"reviewer": reviewer, "limit": limit}
    return ApiRequest("GET", "/v1/audit/next", lambda response: ReviewBatch.from_json(response.json()), params=params)


def retrain(reason: str, requested_by: str) -> ApiRequest[RetrainingQueued]:
    """Queue a retraining or join the queued one. Not sent again after a lost answer: the first may have begun."""
    body = {"reason": reason, "requested_by": requested_by}
    read: Callable[[httpx.Response], RetrainingQueued] = lambda response: RetrainingQueued.from_json(response.json())  # noqa: E731
    return ApiRequest("POST", "/v1/retrain", read, body, idempotent=False)


def retraining(retraining_id: str) -> ApiRequest[Mapping[str, Any]]:
    """A retraining as it stands."""
    return ApiRequest("GET", f"/v1/retrainings/{quote(retraining_id, safe='')}", _parse_object)


def cancel(retraining_id: str) -> ApiRequest[None]:
    """Cancel a queued or running retraining."""
    path = f"/v1/retrainings/{quote(retraining_id, safe='')}"
    return ApiRequest("DELETE", path, lambda _response: None, idempotent=False)


def models() -> ApiRequest[Mapping[str, Any]]:
    """Registered versions, the champion and the history of promotions."""
    return ApiRequest("GET", "/v1/models", _parse_object)


def history(time_range: str, version: int | None) -> ApiRequest[History]:
    """How the served model did over a time."""
    params: dict[str, str | int] = {"range": time_range} | ({} if version is None else {"version": version})
    path = "/v1/models/history"
    return ApiRequest("GET", path, lambda response: History.from_json(response.json()), params=params)


def _parse_object(response: httpx.Response) -> Mapping[str, Any]:
    document = response.json()
    if not isinstance(document, dict):
        raise TypeError("not an object")
    return document
