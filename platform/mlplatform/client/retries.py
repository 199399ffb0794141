"""Retries as a conversation without a clock: wait so long, send, what came back; the drivers wait and send.

A call is sent again where that is safe: after a lost connection only if it is repeatable, after 429 and 503 always,
because the server says that it did nothing. Waits grow by two with full jitter, and last at least what `Retry-After`
asks; a call whose next wait would end after its `budget_seconds` fails at once with what came back last.
"""

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import httpx

from mlplatform.client.api_calls import RETRYABLE_STATUSES, ApiRequest
from mlplatform.client.errors import UnavailableError

T = TypeVar("T")
UNPROCESSED_STATUSES: Final = (429, 503)
AttemptResult = httpx.Response | httpx.TransportError


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a client is: tries in all, the first and longest wait, and all waits together, in seconds."""

    max_attempts: int = 4
    initial_delay_seconds: float = 0.2
    max_delay_seconds: float = 5.0
    budget_seconds: float = 30.0
    jitter: Callable[[], float] = random.random
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def delay_seconds(self, failures: int, result: AttemptResult) -> float:
        """Seconds to wait after so many failures."""
        most = min(self.max_delay_seconds, self.initial_delay_seconds * 2.0 ** (failures - 1))
        asked = (
            self.retry_after_seconds(result.headers.get("retry-after", ""))
            if isinstance(result, httpx.Response)
            else 0.0
        )
        return asked + most * self.jitter()

    def retry_after_seconds(self, retry_after: str) -> float:
        """Seconds that a `Retry-After` header asks for: a number or a date; 0 where it says neither."""
        if retry_after.strip().isdecimal():
            return float(retry_after)
        try:
            moment = parsedate_to_datetime(retry_after)
        except ValueError:
            return 0.0
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - self.clock()).total_seconds())


def retry_steps(request: ApiRequest[T], policy: RetryPolicy) -> Generator[float, AttemptResult, T]:
    """Yields how long to wait before sending; is sent what came back; returns the answer read, or raises."""
    wait, waited, failures = 0.0, 0.0, 0
    while True:
        came = yield wait
        if isinstance(came, httpx.Response) and came.status_code not in RETRYABLE_STATUSES:
            return request.parse_response(came)
        failures += 1
        wait = policy.delay_seconds(failures, came)
        waited += wait
        if not _may_retry(request, came) or failures >= policy.max_attempts or waited > policy.budget_seconds:
            if isinstance(came, httpx.Response):
                return request.parse_response(came)
            raise UnavailableError(0, "no-answer", f"{request.method} {request.path}: {came!r} after {failures} tries")


def _may_retry(request: ApiRequest[T], result: AttemptResult) -> bool:
    if isinstance(result, httpx.Response):
        return request.idempotent or result.status_code in UNPROCESSED_STATUSES
    if isinstance(result, httpx.UnsupportedProtocol):  # an address without http://
        return False
    return request.idempotent or isinstance(result, httpx.ConnectError | httpx.ConnectTimeout)  # it never left
