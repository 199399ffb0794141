"""The API client for programs without an event loop."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from mlplatform.client import api_calls
from mlplatform.client.api_calls import ApiRequest, ImageInput, Label, RowTags, RowValue
from mlplatform.client.results import (
    FeedbackResult,
    History,
    PredictionDetail,
    PredictResponse,
    RetrainingQueued,
    ReviewBatch,
)
from mlplatform.client.retries import AttemptResult, RetryPolicy, retry_steps
from mlplatform.network.proxies import is_local_url

T = TypeVar("T")
TIMEOUT_SECONDS = 10.0


def auth_headers(api_key: str | None) -> dict[str, str]:
    """What every request carries."""
    return {} if api_key is None else {"authorization": f"Bearer {api_key}"}


class Client:
    """A client of one API server; threads may share it. `transport` stands in for the network."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retry_policy: RetryPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx.Client(
            base_url=base_url,
            headers=auth_headers(api_key),
            timeout=timeout,
            transport=transport,
            trust_env=not is_local_url(base_url),  # a proxy's loopback is another machine's
            verify=httpx.create_ssl_context(),
        )
        self._retry_policy, self._sleep = retry_policy or RetryPolicy(), sleep

    def predict(
        self,
        images: Sequence[ImageInput],
        *,
        client_id: str = "",
        request_id: str = "",
        tags: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> PredictResponse:
        """Answers to pictures (PNG, JPEG or rows of grey values), each recorded under its id."""
        return self.execute(api_calls.predict(images, client_id, request_id, tags, idempotency_key))

    def predict_rows(
        self,
        rows: Sequence[Mapping[str, RowValue]],
        references: Sequence[str | None] | None = None,
        *,
        client_id: str = "",
        request_id: str = "",
        tags: RowTags | None = None,
        idempotency_key: str | None = None,
        subjects: Sequence[str | None] | None = None,
    ) -> PredictResponse:
        """Answers to rows of a table, each recorded under its id and, where given, its reference and subject."""
        return self.execute(
            api_calls.predict_rows(rows, references, client_id, request_id, tags, idempotency_key, subjects)
        )

    def feedback(self, labels: Sequence[Label]) -> tuple[FeedbackResult, ...]:
        """Give labels by prediction id or reference: all are taken or none."""
        return self.execute(api_calls.feedback(labels))

    def prediction(self, prediction_id: str) -> PredictionDetail:
        """A recorded prediction and its labels."""
        return self.execute(api_calls.prediction(prediction_id))

    def image(self, prediction_id: str) -> bytes:
        """The picture of a recorded prediction, as PNG."""
        return self.execute(api_calls.image(prediction_id))

    def next_reviews(self, reviewer: str, limit: int = 1) -> ReviewBatch:
        """The next drawn answers to label with source `audit`, held for the reviewer."""
        return self.execute(api_calls.next_reviews(reviewer, limit))

    def retrain(self, reason: str = "asked through the API", requested_by: str = "api") -> RetrainingQueued:
        """Queue a retraining, or join the queued one."""
        return self.execute(api_calls.retrain(reason, requested_by))

    def retraining(self, retraining_id: str) -> Mapping[str, Any]:
        """A retraining: its state, progress, verdict and candidate."""
        return self.execute(api_calls.retraining(retraining_id))

    def cancel(self, retraining_id: str) -> None:
        """Cancel a queued or running retraining."""
        self.execute(api_calls.cancel(retraining_id))

    def models(self) -> Mapping[str, Any]:
        """Registered versions, the champion and the history of promotions."""
        return self.execute(api_calls.models())

    def history(self, time_range: str = "7d", version: int | None = None) -> History:
        """How the served model did over 2h, 24h, 7d, 30d or 90d, all its versions together or one; see `to_frame`."""
        return self.execute(api_calls.history(time_range, version))

    def execute(self, request: ApiRequest[T]) -> T:
        """Carry out one call with its retries; raises the errors of `mlplatform.client.errors`."""
        talk = retry_steps(request, self._retry_policy)
        wait = next(talk)
        while True:
            if wait:
                self._sleep(wait)
            try:
                wait = talk.send(self._send(request))
            except StopIteration as end:
                answer: T = end.value
                return answer

    def _send(self, request: ApiRequest[T]) -> AttemptResult:
        try:
            return self._http.request(
                request.method,
                request.path,
                json=request.json,
                params=dict(request.params),
                headers=dict(request.headers),
            )
        except httpx.TransportError as error:
            return error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
