"""Limits what the connections of a server take together: how many, for how long, and how many bytes.

One look around every LOOK_SECONDS finds those that took too long, so that a request sets no timer. Where something runs
out, whoever used it least lately goes first: an idle connection before one that is being used, a body that drips before
one that flows, and an answer nobody reads before one that somebody does.
"""

import logging
import math
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any, Final, Protocol

from mlplatform.settings import Settings

log = logging.getLogger(__name__)
CHECK_INTERVAL_SECONDS: Final = 0.25
LINGER_SECONDS: Final = 2.0
"""How long a refused client's further words are thrown away, so that it can read why."""
DISCARD_BODY_SECONDS: Final = 5.0
"""How long the rest of a body is thrown away whose request was answered without it."""
CONTENTION_GRACE_SECONDS: Final = 1.0
CONTENTION_MIN_RATE: Final = 64 * 1024
"""Bytes a second that a large body must bring after PRESSED_SECONDS while others wait for its room."""
SMALL_BODY_BYTES: Final = 2**20
MAX_BUFFER_WAIT_SECONDS: Final = 20.0
"""How long a large body waits for room before it is refused."""
ANSWERED_IDLE_BONUS_SECONDS: Final = 5.0
"""So much longer may one be idle that was answered before than one that has not asked yet."""
RESERVED_FILES: Final = 96
"""Open files that connections leave to the rest of the server: database, spool, models, registry."""
MIN_CONNECTIONS: Final = 16
OVERCOMMIT_FACTOR: Final = 1.25
"""So far over the number of connections one is let in where all others are being answered: they soon will be."""
TOO_SLOW_PROBLEM: Final = (408, "too-slow", "The request took too long")
BUSY_PROBLEM: Final = (503, "busy", "The server is busy")


@dataclass(frozen=True)
class ConnectionLimits:
    """What connections may take; bytes, seconds, bytes a second. No `per_address` means any number."""

    header_bytes: int = 32 * 1024
    header_count: int = 100
    header_seconds: float = 10.0
    body_seconds: float = 10.0
    min_bytes_per_second: float = 4096.0
    idle_seconds: float = 75.0
    answer_seconds: float = 20.0
    max_connections: int = 1000
    max_per_address: int = 0
    max_buffered_bytes: int = 64 * 2**20


@dataclass
class ThroughputWindow:
    """A sum that must grow by so much in every stretch of time, from its beginning on."""

    since: float = 0.0
    amount: float = 0.0

    def is_below_rate(self, now: float, amount: float, seconds: float, rate: float) -> bool:
        """Whether a stretch of so many seconds has ended in which it grew by less than `rate` a second."""
        passed = now - self.since
        if passed < seconds:
            return False
        short = amount - self.amount < rate * passed
        self.since, self.amount = now, amount
        return short


class RequestBody(Protocol):
    """A request's body on its way in."""

    buffered_bytes: int
    last_progress_at: float
    received_bytes: int
    content_length: int | None
    more_body: bool

    def resume_reading(self) -> None:
        """Read on."""

    def refuse(self, status: int, kind: str, title: str, detail: str) -> None:
        """Give the request up."""


class TrackedConnection(Protocol):
    """One connection, as far as it is watched here."""

    address: str

    def check_timeouts(self, now: float, elapsed: float) -> None:
        """Close it where it took too long; `passed` is the time since the last look."""

    def last_used_at(self) -> float | None:
        """When it was last of use, in the loop's time; None while a request is being answered."""

    def evict(self) -> None:
        """Make room for another."""

    def refuse(self, status: int, kind: str, title: str, detail: str) -> None:
        """Answer that instead of what was asked, and close."""

    def unsent_bytes(self) -> int:
        """Bytes of answers that the client has not taken."""

    def stalled_since(self) -> float:
        """Since when it takes nothing, or hardly anything."""

    def abort(self) -> None:
        """Close at once, whatever is unsent."""

    def abandon_incomplete(self) -> None:
        """Give up a request whose body is not all there, at the end of the server."""


class EventLoop(Protocol):
    """What is needed of an event loop."""

    def time(self) -> float:
        """Its clock."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> object:  # noqa: ANN401
        """Have something called after a while."""


@dataclass
class ConnectionTable:
    """All connections of one server, on its event loop; `refused` is called with the status of each refusal."""

    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    on_refused: Callable[[int], None] = lambda _status: None
    _connections: set[TrackedConnection] = field(default_factory=set)
    _evicted_connections: set[TrackedConnection] = field(default_factory=set)
    """Those that made room for others and are not gone yet."""
    _address_counts: Counter[str] = field(default_factory=Counter)
    _slow_readers: set[TrackedConnection] = field(default_factory=set)
    """Those whose answers wait for their clients."""
    _bodies: dict[RequestBody, None] = field(default_factory=dict)
    """Large bodies, the first come first."""
    _waiting_bodies: dict[RequestBody, float] = field(default_factory=dict)
    """Those of them that wait for room, and since when."""
    _buffered_bytes: int = 0
    _last_check_at: float | None = None

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def buffered_bytes(self) -> int:
        """Bytes of large bodies under way."""
        return self._buffered_bytes

    def admit(self, connection: TrackedConnection, loop: EventLoop) -> bool:
        """Take a new connection in, in place of others where there are too many; False where it must go."""
        bounds, address = self.limits, connection.address
        if bounds.max_per_address and self._address_counts[address] >= bounds.max_per_address:
            self._evict(1, [item for item in self._connections if item.address == address])
        elif len(self._connections) >= bounds.max_connections:
            self._evict(1 + bounds.max_connections // 32, self._connections)
        full = len(self._connections) >= bounds.max_connections * OVERCOMMIT_FACTOR
        if full or (bounds.max_per_address and self._address_counts[address] >= bounds.max_per_address):
            connection.refuse(*BUSY_PROBLEM, "there are too many connections; try again in a moment")
            connection.evict()
            return False
        self._connections.add(connection)
        self._address_counts[address] += 1
        if self._last_check_at is None:
            self._last_check_at = loop.time()
            loop.call_later(CHECK_INTERVAL_SECONDS, self._check_all, loop)
        return True

    def remove(self, connection: TrackedConnection) -> None:
        """A connection is gone."""
        self._slow_readers.discard(connection)
        self._evicted_connections.discard(connection)
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._address_counts[connection.address] -= 1
        if not self._address_counts[connection.address]:
            del self._address_counts[connection.address]

    def mark_slow_reader(self, connection: TrackedConnection) -> None:
        """A client does not take its answer as fast as it is given; where there is too much of that, the oldest go."""
        self._slow_readers.add(connection)
        self._abort_slow_readers()

    def unmark_slow_reader(self, connection: TrackedConnection) -> None:
        """It has taken it."""
        self._slow_readers.discard(connection)

    def track_body(self, body: RequestBody) -> None:
        """A large body has grown."""
        self._bodies.setdefault(body)
        self._buffered_bytes += body.received_bytes - body.buffered_bytes
        body.buffered_bytes = body.received_bytes

    def release_body(self, body: RequestBody) -> None:
        """A large body is kept no more; those that wait for room may go on."""
        self._bodies.pop(body, None)
        self._waiting_bodies.pop(body, None)
        self._buffered_bytes -= body.buffered_bytes
        body.buffered_bytes = 0
        self._resume_waiting_bodies()

    def request_more(self, body: RequestBody, now: float) -> None:
        """More of a body is wanted: it is read on where there is room, and else once there is."""
        if not body.buffered_bytes or self._buffered_bytes < self._buffer_limit_for(body):
            body.resume_reading()
        else:
            self._waiting_bodies[body] = now
            self._resume_waiting_bodies()

    def abandon_incomplete(self) -> None:
        """Give up requests that are not all there, at the end of the server."""
        for line in list(self._connections):
            line.abandon_incomplete()

    def abort_all(self) -> None:
        """Close all that is left, whatever is unsent."""
        for line in [*self._connections, *self._evicted_connections]:
            line.abort()

    def _resume_waiting_bodies(self) -> None:
        """Those that wait go on where there is room, the shortest first; the one that came first always does."""
        if not self._waiting_bodies:
            return
        first = next(iter(self._bodies))
        if first in self._waiting_bodies:
            del self._waiting_bodies[first]
            first.resume_reading()
        while self._waiting_bodies:
            body = min(self._waiting_bodies, key=_remaining_bytes)
            if self._buffered_bytes >= self._buffer_limit_for(body):
                return
            del self._waiting_bodies[body]
            body.resume_reading()

    def _buffer_limit_for(self, body: RequestBody) -> float:
        """The bytes within which a body may go on: small ones find room where large ones have taken all of theirs."""
        return self.limits.max_buffered_bytes * (1.25 if _remaining_bytes(body) < SMALL_BODY_BYTES else 1)

    def _evict(self, count: int, lines: "set[TrackedConnection] | list[TrackedConnection]") -> None:
        candidates = [
            (used, number, line) for number, line in enumerate(lines) if (used := line.last_used_at()) is not None
        ]
        for _, _, line in nsmallest(count, candidates):
            self.remove(line)
            self._evicted_connections.add(line)
            line.evict()

    def _check_all(self, loop: EventLoop) -> None:
        now = loop.time()
        assert self._last_check_at is not None
        passed, self._last_check_at = now - self._last_check_at, now
        for line in [*self._connections, *self._evicted_connections]:
            line.check_timeouts(now, passed)
        self._abort_slow_readers()
        self._refuse_stalled_bodies(now)
        if self._connections or self._evicted_connections:
            loop.call_later(CHECK_INTERVAL_SECONDS, self._check_all, loop)
        else:
            self._last_check_at = None

    def _abort_slow_readers(self) -> None:
        sizes = {line: line.unsent_bytes() for line in self._slow_readers}
        total = sum(sizes.values())
        for line in sorted(self._slow_readers, key=lambda item: item.stalled_since())[:-1]:
            if total <= self.limits.max_buffered_bytes:
                return
            total -= sizes[line]
            line.abort()

    def _refuse_stalled_bodies(self, now: float) -> None:
        """While bodies wait for room, the slowest of those that have it gives it up; who waits too long is refused."""
        if not self._waiting_bodies:
            return
        for body in [item for item in self._bodies if item.more_body and item not in self._waiting_bodies]:
            if now - body.last_progress_at > CONTENTION_GRACE_SECONDS:
                body.refuse(*TOO_SLOW_PROBLEM, "others wait for the room that this body takes; send it faster")
        for body, since in list(self._waiting_bodies.items()):
            if now - since > MAX_BUFFER_WAIT_SECONDS:
                body.refuse(*BUSY_PROBLEM, "too many large bodies are under way (PLATFORM_UNDERWAY_MB); try again")


def _remaining_bytes(body: RequestBody) -> float:
    """How much of a body is announced and not there; one that announces nothing may be as long as any."""
    return math.inf if body.content_length is None else body.content_length - body.received_bytes


def limits_from_settings(settings: Settings, files: int | None = None) -> ConnectionLimits:
    """The bounds that settings make, within the number of files that this process may open."""
    if files is None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    spared = max(MIN_CONNECTIONS, int((files - min(RESERVED_FILES, files // 2)) / OVERCOMMIT_FACTOR))
    if files >= 0 and spared < settings.max_connections:
        log.warning(
            "this process may open %d files, so it holds %d connections instead of PLATFORM_MAX_CONNECTIONS=%d; "
            "raise the limit (ulimit -n)", files, spared, settings.max_connections,
        )  # fmt: skip
    largest = int(max(settings.underway_mb, settings.max_body_mb) * 2**20)
    return ConnectionLimits(
        header_bytes=int(settings.header_kb * 1024),
        header_count=settings.header_count,
        header_seconds=settings.header_seconds,
        body_seconds=settings.body_seconds,
        min_bytes_per_second=settings.least_rate_kb * 1024,
        idle_seconds=settings.idle_seconds,
        answer_seconds=settings.answer_seconds,
        max_connections=min(settings.max_connections, spared) if files >= 0 else settings.max_connections,
        max_per_address=settings.max_connections_per_address,
        max_buffered_bytes=largest,
    )
