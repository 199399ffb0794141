"""The client for programs without an event loop; it sends and waits, and decides nothing."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from mlplatform.client import api_calls
from mlplatform.client.api_calls import Call, Label, Picture
from mlplatform.client.results import Answered, Detail, Queued, Reviews, Taken
from mlplatform.client.retries import Came, Retries, conversation
from mlplatform.network.proxies import is_this_host

T = TypeVar("T")
TIMEOUT_SECONDS = 10.0


def headers_of(api_key: str | None) -> dict[str, str]:
    """What every request carries."""
    return {} if api_key is None else {"authorization": f"Bearer {api_key}"}


class Client:
    """A client of one API server; threads may share it. `transport` stands in for the network."""

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx.Client(
            base_url=address,
            headers=headers_of(api_key),
            timeout=timeout,
            transport=transport,
            trust_env=not is_this_host(address),  # a proxy's loopback is another machine's
            verify=httpx.create_ssl_context(),
        )
        self._retries, self._sleep = retries or Retries(), sleep

    def predict(
        self,
        pictures: Sequence[Picture],
        *,
        client_id: str = "",
        request_id: str = "",
        tags: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Answered:
        """Answers to pictures (PNG, JPEG or rows of grey values), each recorded under its id."""
        return self.call(api_calls.predict(pictures, client_id, request_id, tags, key))

    def feedback(self, labels: Sequence[Label]) -> tuple[Taken, ...]:
        """Give labels by prediction id: all are taken or none."""
        return self.call(api_calls.feedback(labels))

    def prediction(self, prediction_id: str) -> Detail:
        """A recorded prediction and its labels."""
        return self.call(api_calls.prediction(prediction_id))

    def image(self, prediction_id: str) -> bytes:
        """The picture of a recorded prediction, as PNG."""
        return self.call(api_calls.image(prediction_id))

    def next_reviews(self, reviewer: str, limit: int = 1) -> Reviews:
        """The next drawn answers to label with source `audit`, held for the reviewer."""
        return self.call(api_calls.next_reviews(reviewer, limit))

    def retrain(self, reason: str = "asked through the API", requested_by: str = "api") -> Queued:
        """Queue a retraining, or join the queued one."""
        return self.call(api_calls.retrain(reason, requested_by))

    def retraining(self, retraining_id: str) -> Mapping[str, Any]:
        """A retraining: its state, progress, verdict and candidate."""
        return self.call(api_calls.retraining(retraining_id))

    def cancel(self, retraining_id: str) -> None:
        """Cancel a queued or running retraining."""
        self.call(api_calls.cancel(retraining_id))

    def models(self) -> Mapping[str, Any]:
        """Registered versions, the champion and the history of promotions."""
        return self.call(api_calls.models())

    def call(self, call: Call[T]) -> T:
        """Carry out one call with its retries; raises the errors of `mlplatform.client.errors`."""
        talk = conversation(call, self._retries)
        wait = next(talk)
        while True:
            if wait:
                self._sleep(wait)
            try:
                wait = talk.send(self._send(call))
            except StopIteration as end:
                answer: T = end.value
                return answer

    def _send(self, call: Call[T]) -> Came:
        try:
            return self._http.request(
                call.method, call.path, json=call.json, params=dict(call.params), headers=dict(call.headers)
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
