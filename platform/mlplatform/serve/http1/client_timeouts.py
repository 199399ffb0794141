"""A connection whose client is not waited for without end: how long it may take, when it must go, and what it is told.

Uvicorn's protocol on httptools without its timers; what is read on it is parsed elsewhere (`protocol.py`).
"""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from mlplatform.auth.rate_limit import neighbourhood
from mlplatform.serve.http1.connection_limits import (
    DISCARD_SECONDS,
    LINGER_SECONDS,
    LOOK_SECONDS,
    PRESSED_RATE,
    PROVEN_SECONDS,
    TOO_SLOW,
    Connections,
    Pace,
)
from mlplatform.serve.http1.request_cycle import Cycle
from mlplatform.serve.middleware.security_headers import ALWAYS, CLOSED
from mlplatform.serve.problem_details import problem


class WatchedConnection(HttpToolsProtocol):
    """One connection; a `Line` among `connections`."""

    cycle: Cycle

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.shared, self.address = connections, ""
        self._since = 0.0
        """Since when it idles, or the headers of a request are on their way."""
        self._in_headers = True
        self._deaf = self._proven = False
        self._raw = 0
        """Bytes of headers that have not ended."""
        self._active: Cycle | None = None
        self._taking = Pace()
        self._moved_at, self._unsent_before = 0.0, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = neighbourhood(self.client[0]) if self.client else ""
        self._since = self.loop.time()
        self.shared.admit(self, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deaf = True
        self.shared.leave(self)
        for cycle, _ in self.pipeline:
            assert isinstance(cycle, Cycle)
            self.shared.release(cycle)
        self.pipeline.clear()
        if self._active is not None and not self._active.response_complete:
            self._active.give_up()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._moved_at, self._unsent_before = self.loop.time(), self.unsent()
        self._taking = Pace(self._moved_at, -self._unsent_before)
        self.shared.slow(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.shared.fast(self)

    def shutdown(self) -> None:
        """Close once what was asked is answered; what was not asked in full may still come, until `end`."""
        if self._busy:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    @property
    def _busy(self) -> bool:
        """Whether a request has begun, and its answer is due."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.disconnected

    def look(self, now: float, passed: float) -> None:
        bounds, cycle = self.shared.bounds, self.cycle
        excused = passed if self.flow.read_paused else max(0.0, passed - 2 * LOOK_SECONDS)  # nobody read, or all stood
        self._since += excused
        if self.flow.write_paused:
            self._look_at_answer(now)
        elif self.transport.is_closing():
            if now > self._since + bounds.answer_seconds:
                self.drop()
        elif self._deaf and not self._busy:
            if now > self._since + LINGER_SECONDS:
                self.transport.close()
        elif self._busy:
            if cycle.more_body:
                self._look_at_body(cycle, now, excused)
        elif self._in_headers:
            if now > self._since + bounds.header_seconds:
                self._slow_headers()
        elif cycle.more_body:
            if now > self._since + DISCARD_SECONDS:
                self.transport.close()
        elif now > self._since + bounds.idle_seconds:
            self.transport.close()

    def _look_at_answer(self, now: float) -> None:
        bounds, unsent = self.shared.bounds, self.unsent()
        if unsent < self._unsent_before:
            self._moved_at = now
        self._unsent_before = unsent
        if self._taking.falls_short(now, -unsent, bounds.answer_seconds, bounds.rate):
            self.drop()

    def _look_at_body(self, cycle: Cycle, now: float, excused: float) -> None:
        bounds, pace = self.shared.bounds, cycle.pace
        cycle.since += excused
        cycle.flowing_at += excused
        if pace is None:
            pace = cycle.pace = Pace(cycle.since, 0)
        else:
            pace.since += excused
        if cycle.received - cycle.seen > PRESSED_RATE * LOOK_SECONDS:
            cycle.flowing_at = now
        cycle.seen = cycle.received
        if pace.falls_short(now, cycle.received, bounds.body_seconds, bounds.rate):
            wanted = f"{bounds.rate / 1024:g} KiB a second over {bounds.body_seconds:g} s"
            self.refuse(*TOO_SLOW, f"a body must bring {wanted} (PLATFORM_LEAST_RATE_KB, PLATFORM_BODY_SECONDS)")

    def _slow_headers(self) -> None:
        if self._raw:
            seconds = self.shared.bounds.header_seconds
            self.refuse(*TOO_SLOW, f"the headers did not end within {seconds:g} s (PLATFORM_HEADER_SECONDS)")
        else:
            self.transport.close()

    def used(self) -> float | None:
        cycle = self.cycle
        if self._busy:
            return cycle.flowing_at + PROVEN_SECONDS * self._proven if cycle.more_body else None
        if self._deaf or self.unsent():
            return 0.0
        return self._since + PROVEN_SECONDS * self._proven

    def evict(self) -> None:
        if self._half_sent:
            self.refuse(*TOO_SLOW, "others wait for the connection that this request takes; send it faster")
        self._close()

    def end(self) -> None:
        if self._half_sent:
            self.refuse(503, "stopping", "The server stops", "the request was not all there; ask another server")
        if not self._busy:
            self._close()

    @property
    def _half_sent(self) -> bool:
        """Whether a request has begun that is not all there."""
        if self._deaf or self.unsent():
            return False
        return self.cycle.more_body if self._busy else self._in_headers and self._raw > 0

    def _close(self) -> None:
        """Close without waiting for the client's last words; at once where it has not taken those of before."""
        if self.transport.is_closing() or self.flow.write_paused:
            self.drop()
        else:
            self.transport.close()

    def refuse(self, status: int, kind: str, title: str, detail: str) -> None:
        cycle, self._deaf = self.cycle, True
        self._since = self.loop.time()
        self.shared.refused(status)
        if self.pipeline or (self._busy and not cycle.more_body):  # answers are due before this one could be
            cycle.keep_alive = False
            if cycle.more_body:
                self.drop()
            return
        started = self._busy and cycle.response_started
        if self._busy:
            cycle.give_up()
        if started:
            self.drop()
            return
        answer = problem(status, kind, title, detail, self.scope.get("path", "") if self._busy else "")
        given = [(b"connection", b"close"), (b"content-security-policy", CLOSED), *ALWAYS, *answer.raw_headers]
        lines = [b"%s: %s\r\n" % pair for pair in (*self.server_state.default_headers, *given)]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(answer.body)]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def unsent(self) -> int:
        return int(self.transport.get_write_buffer_size())

    def stalled(self) -> float:
        return self._moved_at

    def drop(self) -> None:
        self.transport.abort()
