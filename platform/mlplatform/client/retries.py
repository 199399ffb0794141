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

from mlplatform.client.api_calls import PASSING, Call
from mlplatform.client.errors import UnavailableError

T = TypeVar("T")
NOTHING_DONE: Final = (429, 503)
Came = httpx.Response | httpx.TransportError


@dataclass(frozen=True)
class Retries:
    """How patient a client is: tries in all, the first and longest wait, and all waits together, in seconds."""

    tries: int = 4
    first_seconds: float = 0.2
    longest_seconds: float = 5.0
    budget_seconds: float = 30.0
    luck: Callable[[], float] = random.random
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def wait(self, failures: int, came: Came) -> float:
        """Seconds to wait after so many failures."""
        most = min(self.longest_seconds, self.first_seconds * 2.0 ** (failures - 1))
        asked = self.asked(came.headers.get("retry-after", "")) if isinstance(came, httpx.Response) else 0.0
        return asked + most * self.luck()

    def asked(self, retry_after: str) -> float:
        """Seconds that a `Retry-After` header asks for: a number or a date; 0 where it says neither."""
        if retry_after.strip().isdecimal():
            return float(retry_after)
        try:
            moment = parsedate_to_datetime(retry_after)
        except ValueError:
            return 0.0
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - self.now()).total_seconds())


def conversation(call: Call[T], retries: Retries) -> Generator[float, Came, T]:
    """Yields how long to wait before sending; is sent what came back; returns the answer read, or raises."""
    wait, waited, failures = 0.0, 0.0, 0
    while True:
        came = yield wait
        if isinstance(came, httpx.Response) and came.status_code not in PASSING:
            return call.result(came)
        failures += 1
        wait = retries.wait(failures, came)
        waited += wait
        if not _worth_it(call, came) or failures >= retries.tries or waited > retries.budget_seconds:
            if isinstance(came, httpx.Response):
                return call.result(came)
            raise UnavailableError(0, "no-answer", f"{call.method} {call.path}: {came!r} after {failures} tries")


def _worth_it(call: Call[T], came: Came) -> bool:
    if isinstance(came, httpx.Response):
        return call.repeatable or came.status_code in NOTHING_DONE
    if isinstance(came, httpx.UnsupportedProtocol):  # an address without http://
        return False
    return call.repeatable or isinstance(came, httpx.ConnectError | httpx.ConnectTimeout)  # it never left
