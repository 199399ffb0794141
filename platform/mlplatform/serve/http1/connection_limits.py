"""The connections of a server and what they may hold together: how many, how long, how many bytes; it parses nothing.

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
LOOK_SECONDS: Final = 0.25
LINGER_SECONDS: Final = 2.0
"""How long a refused client's further words are thrown away, so that it can read why."""
DISCARD_SECONDS: Final = 5.0
"""How long the rest of a body is thrown away whose request was answered without it."""
PRESSED_SECONDS: Final = 1.0
PRESSED_RATE: Final = 64 * 1024
"""Bytes a second that a large body must bring after PRESSED_SECONDS while others wait for its room."""
SMALL_BYTES: Final = 2**20
ROOM_SECONDS: Final = 20.0
"""How long a large body waits for room before it is refused."""
PROVEN_SECONDS: Final = 5.0
"""So much longer may one be idle that was answered before than one that has not asked yet."""
RESERVED_FILES: Final = 96
"""Open files that connections leave to the rest of the server: database, spool, models, registry."""
LEAST_CONNECTIONS: Final = 16
OVER_SHARE: Final = 1.25
"""So far over the number of connections one is let in where all others are being answered: they soon will be."""
TOO_SLOW: Final = (408, "too-slow", "The request took too long")
BUSY: Final = (503, "busy", "The server is busy")


@dataclass(frozen=True)
class Bounds:
    """What connections may take; bytes, seconds, bytes a second. No `per_address` means any number."""

    header_bytes: int = 32 * 1024
    header_count: int = 100
    header_seconds: float = 10.0
    body_seconds: float = 10.0
    rate: float = 4096.0
    idle_seconds: float = 75.0
    answer_seconds: float = 20.0
    connections: int = 1000
    per_address: int = 0
    held_bytes: int = 64 * 2**20


@dataclass
class Pace:
    """A sum that must grow by so much in every stretch of time, from its beginning on."""

    since: float = 0.0
    amount: float = 0.0

    def falls_short(self, now: float, amount: float, seconds: float, rate: float) -> bool:
        """Whether a stretch of so many seconds has ended in which it grew by less than `rate` a second."""
        passed = now - self.since
        if passed < seconds:
            return False
        short = amount - self.amount < rate * passed
        self.since, self.amount = now, amount
        return short


class Body(Protocol):
    """A request's body on its way in."""

    held: int
    flowing_at: float
    received: int
    announced: int | None
    more_body: bool

    def let_in(self) -> None:
        """Read on."""

    def refuse(self, status: int, kind: str, title: str, detail: str) -> None:
        """Give the request up."""


class Line(Protocol):
    """One connection, as far as it is watched here."""

    address: str

    def look(self, now: float, passed: float) -> None:
        """Close it where it took too long; `passed` is the time since the last look."""

    def used(self) -> float | None:
        """When it was last of use, in the loop's time; None while a request is being answered."""

    def evict(self) -> None:
        """Make room for another."""

    def refuse(self, status: int, kind: str, title: str, detail: str) -> None:
        """Answer that instead of what was asked, and close."""

    def unsent(self) -> int:
        """Bytes of answers that the client has not taken."""

    def stalled(self) -> float:
        """Since when it takes nothing, or hardly anything."""

    def drop(self) -> None:
        """Close at once, whatever is unsent."""

    def end(self) -> None:
        """Give up a request whose body is not all there, at the end of the server."""


class Timers(Protocol):
    """What is needed of an event loop."""

    def time(self) -> float:
        """Its clock."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> object:  # noqa: ANN401
        """Have something called after a while."""


@dataclass
class Connections:
    """All connections of one server, on its event loop; `refused` is called with the status of each refusal."""

    bounds: Bounds = field(default_factory=Bounds)
    refused: Callable[[int], None] = lambda _status: None
    _lines: set[Line] = field(default_factory=set)
    _leaving: set[Line] = field(default_factory=set)
    """Those that made room for others and are not gone yet."""
    _addresses: Counter[str] = field(default_factory=Counter)
    _slow: set[Line] = field(default_factory=set)
    """Those whose answers wait for their clients."""
    _bodies: dict[Body, None] = field(default_factory=dict)
    """Large bodies, the first come first."""
    _waiting: dict[Body, float] = field(default_factory=dict)
    """Those of them that wait for room, and since when."""
    _held: int = 0
    _looked: float | None = None

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def held(self) -> int:
        """Bytes of large bodies under way."""
        return self._held

    def admit(self, line: Line, loop: Timers) -> bool:
        """Take a new connection in, in place of others where there are too many; False where it must go."""
        bounds, address = self.bounds, line.address
        if bounds.per_address and self._addresses[address] >= bounds.per_address:
            self._evict(1, [each for each in self._lines if each.address == address])
        elif len(self._lines) >= bounds.connections:
            self._evict(1 + bounds.connections // 32, self._lines)
        full = len(self._lines) >= bounds.connections * OVER_SHARE
        if full or (bounds.per_address and self._addresses[address] >= bounds.per_address):
            line.refuse(*BUSY, "there are too many connections; try again in a moment")
            line.evict()
            return False
        self._lines.add(line)
        self._addresses[address] += 1
        if self._looked is None:
            self._looked = loop.time()
            loop.call_later(LOOK_SECONDS, self._look, loop)
        return True

    def leave(self, line: Line) -> None:
        """A connection is gone."""
        self._slow.discard(line)
        self._leaving.discard(line)
        if line not in self._lines:
            return
        self._lines.discard(line)
        self._addresses[line.address] -= 1
        if not self._addresses[line.address]:
            del self._addresses[line.address]

    def slow(self, line: Line) -> None:
        """A client does not take its answer as fast as it is given; where there is too much of that, the oldest go."""
        self._slow.add(line)
        self._drop_unread()

    def fast(self, line: Line) -> None:
        """It has taken it."""
        self._slow.discard(line)

    def hold(self, body: Body) -> None:
        """A large body has grown."""
        self._bodies.setdefault(body)
        self._held += body.received - body.held
        body.held = body.received

    def release(self, body: Body) -> None:
        """A large body is kept no more; those that wait for room may go on."""
        self._bodies.pop(body, None)
        self._waiting.pop(body, None)
        self._held -= body.held
        body.held = 0
        self._let_in()

    def wanted(self, body: Body, now: float) -> None:
        """More of a body is wanted: it is read on where there is room, and else once there is."""
        if not body.held or self._held < self._room(body):
            body.let_in()
        else:
            self._waiting[body] = now
            self._let_in()

    def end(self) -> None:
        """Give up requests that are not all there, at the end of the server."""
        for line in list(self._lines):
            line.end()

    def drop(self) -> None:
        """Close all that is left, whatever is unsent."""
        for line in [*self._lines, *self._leaving]:
            line.drop()

    def _let_in(self) -> None:
        """Those that wait go on where there is room, the shortest first; the one that came first always does."""
        if not self._waiting:
            return
        first = next(iter(self._bodies))
        if first in self._waiting:
            del self._waiting[first]
            first.let_in()
        while self._waiting:
            body = min(self._waiting, key=_to_come)
            if self._held >= self._room(body):
                return
            del self._waiting[body]
            body.let_in()

    def _room(self, body: Body) -> float:
        """The bytes within which a body may go on: small ones find room where large ones have taken all of theirs."""
        return self.bounds.held_bytes * (1.25 if _to_come(body) < SMALL_BYTES else 1)

    def _evict(self, count: int, lines: "set[Line] | list[Line]") -> None:
        found = [(used, number, line) for number, line in enumerate(lines) if (used := line.used()) is not None]
        for _, _, line in nsmallest(count, found):
            self.leave(line)
            self._leaving.add(line)
            line.evict()

    def _look(self, loop: Timers) -> None:
        now = loop.time()
        assert self._looked is not None
        passed, self._looked = now - self._looked, now
        for line in [*self._lines, *self._leaving]:
            line.look(now, passed)
        self._drop_unread()
        self._press(now)
        if self._lines or self._leaving:
            loop.call_later(LOOK_SECONDS, self._look, loop)
        else:
            self._looked = None

    def _drop_unread(self) -> None:
        sizes = {line: line.unsent() for line in self._slow}
        total = sum(sizes.values())
        for line in sorted(self._slow, key=lambda each: each.stalled())[:-1]:
            if total <= self.bounds.held_bytes:
                return
            total -= sizes[line]
            line.drop()

    def _press(self, now: float) -> None:
        """While bodies wait for room, the slowest of those that have it gives it up; who waits too long is refused."""
        if not self._waiting:
            return
        for body in [each for each in self._bodies if each.more_body and each not in self._waiting]:
            if now - body.flowing_at > PRESSED_SECONDS:
                body.refuse(*TOO_SLOW, "others wait for the room that this body takes; send it faster")
        for body, since in list(self._waiting.items()):
            if now - since > ROOM_SECONDS:
                body.refuse(*BUSY, "too many large bodies are under way (PLATFORM_UNDERWAY_MB); try again")


def _to_come(body: Body) -> float:
    """How much of a body is announced and not there; one that announces nothing may be as long as any."""
    return math.inf if body.announced is None else body.announced - body.received


def bounds_of(settings: Settings, files: int | None = None) -> Bounds:
    """The bounds that settings make, within the number of files that this process may open."""
    if files is None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    spared = max(LEAST_CONNECTIONS, int((files - min(RESERVED_FILES, files // 2)) / OVER_SHARE))
    if files >= 0 and spared < settings.max_connections:
        log.warning(
            "this process may open %d files, so it holds %d connections instead of PLATFORM_MAX_CONNECTIONS=%d; "
            "raise the limit (ulimit -n)", files, spared, settings.max_connections,
        )  # fmt: skip
    largest = int(max(settings.underway_mb, settings.max_body_mb) * 2**20)
    return Bounds(
        header_bytes=int(settings.header_kb * 1024),
        header_count=settings.header_count,
        header_seconds=settings.header_seconds,
        body_seconds=settings.body_seconds,
        rate=settings.least_rate_kb * 1024,
        idle_seconds=settings.idle_seconds,
        answer_seconds=settings.answer_seconds,
        connections=min(settings.max_connections, spared) if files >= 0 else settings.max_connections,
        per_address=settings.max_connections_per_address,
        held_bytes=largest,
    )
