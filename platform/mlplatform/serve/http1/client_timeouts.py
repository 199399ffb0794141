"""Bounds how long a client may take on one connection, and answers it that before closing.

Uvicorn's protocol on httptools without its timers; what is read on it is parsed in `http_protocol.py`.
"""

import asyncio
from typing import Any, Protocol

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from mlplatform.auth.rate_limit import client_network
from mlplatform.serve.http1.connection_limits import (
    ANSWERED_IDLE_BONUS_SECONDS,
    CHECK_INTERVAL_SECONDS,
    CONTENTION_MIN_RATE,
    DISCARD_BODY_SECONDS,
    LINGER_SECONDS,
    TOO_SLOW_PROBLEM,
    ConnectionTable,
    ThroughputWindow,
)
from mlplatform.serve.middleware.security_headers import DEFAULT_CSP, SECURITY_HEADERS
from mlplatform.serve.problem_details import problem_response


class OwnerConnection(Protocol):
    """The connection of a request."""

    connection_table: ConnectionTable
    loop: asyncio.AbstractEventLoop

    def refuse(self, status: int, kind: str, title: str, detail: str) -> None: ...


class TimedCycle(RequestResponseCycle):
    """One request and its answer, with what its timeouts and its body's room are decided by."""

    started_at = 0.0
    buffered_bytes = received_bytes = received_at_last_check = framing_bytes = chunk_count = 0
    content_length: int | None = None
    """The length that the request says its body has."""
    last_progress_at = 0.0
    """When it last brought as much as bodies must while others wait for room."""
    throughput: ThroughputWindow | None = None
    connection: OwnerConnection
    task: "asyncio.Task[None] | None" = None

    def resume_reading(self) -> None:
        """Read on."""
        self.flow.resume_reading()

    def refuse(self, status: int, kind: str, title: str, detail: str) -> None:
        """Give this request up."""
        self.connection.refuse(status, kind, title, detail)

    def disconnect(self) -> None:
        """Let the app know that nobody waits for its answer."""
        self.disconnected = True
        self.message_event.set()


class TimedConnection(HttpToolsProtocol):
    """One connection; a `Line` among `connections`."""

    cycle: TimedCycle

    def __init__(
        self,
        connections: ConnectionTable,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.connection_table, self.address = connections, ""
        self._idle_since = 0.0
        """Since when it idles, or the headers of a request are on their way."""
        self._in_headers = True
        self._ignores_input = self._has_answered = False
        self._raw_header_bytes = 0
        """Bytes of headers that have not ended."""
        self._active_cycle: TimedCycle | None = None
        self._read_throughput = ThroughputWindow()
        self._last_read_at, self._unsent_at_last_check = 0.0, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = client_network(self.client[0]) if self.client else ""
        self._idle_since = self.loop.time()
        self.connection_table.admit(self, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ignores_input = True
        self.connection_table.remove(self)
        for cycle, _ in self.pipeline:
            assert isinstance(cycle, TimedCycle)
            self.connection_table.release_body(cycle)
        self.pipeline.clear()
        if self._active_cycle is not None and not self._active_cycle.response_complete:
            self._active_cycle.disconnect()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._last_read_at, self._unsent_at_last_check = self.loop.time(), self.unsent_bytes()
        self._read_throughput = ThroughputWindow(self._last_read_at, -self._unsent_at_last_check)
        self.connection_table.mark_slow_reader(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.connection_table.unmark_slow_reader(self)

    def shutdown(self) -> None:
        """Close once what was asked is answered; what was not asked in full may still come, until `end`."""
        if self._is_busy:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    @property
    def _is_busy(self) -> bool:
        """Whether a request has begun, and its answer is due."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.disconnected

    def check_timeouts(self, now: float, elapsed: float) -> None:
        bounds, cycle = self.connection_table.limits, self.cycle
        excused = (
            elapsed if self.flow.read_paused else max(0.0, elapsed - 2 * CHECK_INTERVAL_SECONDS)
        )  # nobody read, or all stood
        self._idle_since += excused
        if self.flow.write_paused:
            self._check_response_rate(now)
        elif self.transport.is_closing():
            if now > self._idle_since + bounds.answer_seconds:
                self.abort()
        elif self._ignores_input and not self._is_busy:
            if now > self._idle_since + LINGER_SECONDS:
                self.transport.close()
        elif self._is_busy:
            if cycle.more_body:
                self._check_body_rate(cycle, now, excused)
        elif self._in_headers:
            if now > self._idle_since + bounds.header_seconds:
                self._close_slow_headers()
        elif cycle.more_body:
            if now > self._idle_since + DISCARD_BODY_SECONDS:
                self.transport.close()
        elif now > self._idle_since + bounds.idle_seconds:
            self.transport.close()

    def _check_response_rate(self, now: float) -> None:
        bounds, unsent = self.connection_table.limits, self.unsent_bytes()
        if unsent < self._unsent_at_last_check:
            self._last_read_at = now
        self._unsent_at_last_check = unsent
        if self._read_throughput.is_below_rate(now, -unsent, bounds.answer_seconds, bounds.min_bytes_per_second):
            self.abort()

    def _check_body_rate(self, cycle: TimedCycle, now: float, excused: float) -> None:
        bounds, pace = self.connection_table.limits, cycle.throughput
        cycle.started_at += excused
        cycle.last_progress_at += excused
        if pace is None:
            pace = cycle.throughput = ThroughputWindow(cycle.started_at, 0)
        else:
            pace.since += excused
        if cycle.received_bytes - cycle.received_at_last_check > CONTENTION_MIN_RATE * CHECK_INTERVAL_SECONDS:
            cycle.last_progress_at = now
        cycle.received_at_last_check = cycle.received_bytes
        if pace.is_below_rate(now, cycle.received_bytes, bounds.body_seconds, bounds.min_bytes_per_second):
            wanted = f"{bounds.min_bytes_per_second / 1024:g} KiB a second over {bounds.body_seconds:g} s"
            self.refuse(
                *TOO_SLOW_PROBLEM, f"a body must bring {wanted} (PLATFORM_LEAST_RATE_KB, PLATFORM_BODY_SECONDS)"
            )

    def _close_slow_headers(self) -> None:
        if self._raw_header_bytes:
            seconds = self.connection_table.limits.header_seconds
            self.refuse(*TOO_SLOW_PROBLEM, f"the headers did not end within {seconds:g} s (PLATFORM_HEADER_SECONDS)")
        else:
            self.transport.close()

    def last_used_at(self) -> float | None:
        cycle = self.cycle
        if self._is_busy:
            return (
                cycle.last_progress_at + ANSWERED_IDLE_BONUS_SECONDS * self._has_answered if cycle.more_body else None
            )
        if self._ignores_input or self.unsent_bytes():
            return 0.0
        return self._idle_since + ANSWERED_IDLE_BONUS_SECONDS * self._has_answered

    def evict(self) -> None:
        if self._is_request_incomplete:
            self.refuse(*TOO_SLOW_PROBLEM, "others wait for the connection that this request takes; send it faster")
        self._close()

    def abandon_incomplete(self) -> None:
        if self._is_request_incomplete:
            self.refuse(503, "stopping", "The server stops", "the request was not all there; ask another server")
        if not self._is_busy:
            self._close()

    @property
    def _is_request_incomplete(self) -> bool:
        """Whether a request has begun that is not all there."""
        if self._ignores_input or self.unsent_bytes():
            return False
        return self.cycle.more_body if self._is_busy else self._in_headers and self._raw_header_bytes > 0

    def _close(self) -> None:
        """Close without waiting for the client's last words; at once where it has not taken those of before."""
        if self.transport.is_closing() or self.flow.write_paused:
            self.abort()
        else:
            self.transport.close()

    def refuse(self, status: int, kind: str, title: str, detail: str) -> None:
        cycle, self._ignores_input = self.cycle, True
        self._idle_since = self.loop.time()
        self.connection_table.on_refused(status)
        if self.pipeline or (self._is_busy and not cycle.more_body):  # answers are due before this one could be
            cycle.keep_alive = False
            if cycle.more_body:
                self.abort()
            return
        started = self._is_busy and cycle.response_started
        if self._is_busy:
            cycle.disconnect()
        if started:
            self.abort()
            return
        answer = problem_response(status, kind, title, detail, self.scope.get("path", "") if self._is_busy else "")
        headers = [
            (b"connection", b"close"),
            (b"content-security-policy", DEFAULT_CSP),
            *SECURITY_HEADERS,
            *answer.raw_headers,
        ]
        lines = [b"%s: %s\r\n" % pair for pair in (*self.server_state.default_headers, *headers)]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(answer.body)]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def unsent_bytes(self) -> int:
        return int(self.transport.get_write_buffer_size())

    def stalled_since(self) -> float:
        return self._last_read_at

    def abort(self) -> None:
        self.transport.abort()
