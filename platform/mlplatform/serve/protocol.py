"""HTTP/1.1 on one connection, within bounds that hold before any request is understood; it decides who goes, not what.

Uvicorn's protocol on httptools with limits on headers, times, chunks and pipelined requests, and no timer per request.
A body reaches the app in large pieces, so that a client which sends single bytes costs no more than one that does not.
"""

import asyncio
import urllib.parse
from typing import TYPE_CHECKING, Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from mlplatform.serve.connections import (
    DISCARD_SECONDS,
    LINGER_SECONDS,
    LOOK_SECONDS,
    PRESSED_RATE,
    PROVEN_SECONDS,
    TOO_SLOW,
    Connections,
    Pace,
)
from mlplatform.serve.headers import ALWAYS, CLOSED
from mlplatform.serve.problems import problem

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent

LINE_BYTES: Final = 8 * 1024
MOST_PIPELINED: Final = 16
"""Requests that wait behind the one that is being answered; the connection closes after them."""
FREE_CHUNKS: Final = 4096
CHUNK_BYTES: Final = 64
"""Beyond the free ones, chunks must be this large on average."""
FRAMING_BYTES: Final = 64 * 1024
"""Chunk sizes, extensions and trailers may take so much, and no more than the body itself beyond that."""
GARBLED: Final = (400, "garbled", "This is not HTTP/1.1")
HEADERS: Final = (431, "headers-too-large", "The headers are over a limit")


class _RefusedError(Exception):
    """What a callback of the parser found: status, kind, title, detail."""


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    since = 0.0
    held = received = seen = framed = chunks = 0
    announced: int | None = None
    """The length that the request says its body has."""
    flowing_at = 0.0
    """When it last brought as much as bodies must while others wait for room."""
    pace: Pace | None = None
    line: "HttpConnection"
    task: "asyncio.Task[None] | None" = None

    async def receive(self) -> "ASGIReceiveEvent":
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            if self.more_body:
                self.line.shared.wanted(self, self.line.loop.time())
            else:
                self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, bytearray()
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    def let_in(self) -> None:
        """Read on."""
        self.flow.resume_reading()

    def refuse(self, status: int, kind: str, title: str, detail: str) -> None:
        """Give this request up."""
        self.line.refuse(status, kind, title, detail)

    def give_up(self) -> None:
        """Let the app know that nobody waits for its answer."""
        self.disconnected = True
        self.message_event.set()


class HttpConnection(HttpToolsProtocol):
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
        self._begun = self._raw = self._size = self._count = 0
        self._unparsed = 0
        """Bytes of a body still to come that the parser takes for another protocol."""
        self._active: Cycle | None = None
        self._announced: int | None = None
        self._taking = Pace()
        self._moved_at, self._unsent_before = 0.0, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
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

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._unparsed:
            self._take_unparsed(data)
            return
        cycle, begun = self.cycle, self._begun
        idle = cycle is None or (cycle.response_complete and not cycle.more_body)
        if idle and not self._in_headers:
            self._in_headers, self._since, self._raw = True, self.loop.time(), 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._take_unparsed(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            found = error.__context__
            if isinstance(found, _RefusedError):
                self.refuse(*found.args)
            else:
                self.refuse(*GARBLED, "the request cannot be read")
        else:
            self._measure(len(data), begun, idle=idle)

    def _measure(self, size: int, begun: int, *, idle: bool) -> None:
        """Count what no callback tells of: headers without an end, and what frames a chunked body."""
        if self._in_headers:
            if self._begun == begun:
                self._raw += size
            else:
                self._raw = size if idle and self._begun == begun + 1 else 0
            if self._raw > self.shared.bounds.header_bytes:
                self.refuse(*HEADERS, self._header_limit())
        elif self._begun == begun and (cycle := self.cycle) is not None and cycle.more_body:
            cycle.framed += size
            if cycle.framed > FRAMING_BYTES + 2 * cycle.received:
                self.refuse(*GARBLED, "chunks carry more framing than content; send larger ones")

    def _take_unparsed(self, data: bytes) -> None:
        """The body of a request for another protocol, which is not spoken here; nothing after it is read."""
        if self._unparsed:
            body = data[: self._unparsed]
            self._unparsed -= len(body)
            self.on_body(body)
            if self._unparsed:
                return
            self.on_message_complete()
        self._deaf = True

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun += 1
        self._in_headers, self._size, self._count, self._announced = True, 0, 0, None

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > LINE_BYTES:
            raise _RefusedError(414, "line-too-long", "The address is too long", f"it is over {LINE_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        self._size += len(name) + len(value)
        bounds = self.shared.bounds
        if self._count > bounds.header_count or self._size > bounds.header_bytes:
            raise _RefusedError(*HEADERS, self._header_limit())
        if self._in_headers:  # trailers, which come after the body, are counted and left
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            elif name == b"content-length" and value.isdigit():
                self._announced = int(value)
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        parsed = httptools.parse_url(self.url)
        if parsed.path is None:
            raise _RefusedError(*GARBLED, "the address has no path")
        path = parsed.path.decode("ascii")
        scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        scope["raw_path"] = parsed.path
        scope["query_string"] = parsed.query or b""
        before = self.cycle
        self.cycle = cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        cycle.line, cycle.announced = self, self._announced
        cycle.since = cycle.flowing_at = self.loop.time()
        self._in_headers = False
        if parser.should_upgrade():
            self._keep_http(cycle)
        if before is None or before.response_complete:
            self._start(cycle)
        elif len(self.pipeline) < MOST_PIPELINED:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
        else:
            self.cycle = before
            raise _RefusedError(*GARBLED, f"more than {MOST_PIPELINED} requests wait for their answers")

    def _keep_http(self, cycle: Cycle) -> None:
        """Answer a request for another protocol in this one, and close: some clients send that with every request."""
        cycle.keep_alive = False
        if any(name == b"transfer-encoding" for name, _ in self.headers):
            raise _RefusedError(*GARBLED, "a request to change the protocol has a body in chunks; leave `upgrade` out")
        self._unparsed = cycle.announced or 0

    def _start(self, cycle: Cycle) -> None:
        self._active = cycle
        cycle.task = task = self.loop.create_task(cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        if cycle.held:
            task.add_done_callback(lambda _task: self.shared.release(cycle))

    def on_chunk_header(self) -> None:
        """Called by the parser where a chunk begins."""
        cycle = self.cycle
        cycle.chunks += 1
        if cycle.chunks > FREE_CHUNKS + cycle.received // CHUNK_BYTES:
            raise _RefusedError(*GARBLED, "the chunks are too small; send larger ones")

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        cycle.received += len(body)
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
            cycle.message_event.set()
            self._account(cycle)

    def _account(self, cycle: Cycle) -> None:
        if cycle.response_started:  # it was refused, and what still comes is thrown away
            self.shared.release(cycle)
        else:
            if not cycle.held and cycle.task is not None:
                cycle.task.add_done_callback(lambda _task: self.shared.release(cycle))
            self.shared.hold(cycle)

    def on_message_complete(self) -> None:
        if self._unparsed:
            return
        cycle = self.cycle
        cycle.more_body = False
        cycle.message_event.set()
        if cycle.response_complete:
            self._since = self.loop.time()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._since, self._proven = self.loop.time(), True
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, _ = self.pipeline.pop()
            assert isinstance(cycle, Cycle)
            cycle.since = cycle.flowing_at = self._since
            self._start(cycle)

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
        """Whether a request has begun to be answered."""
        return self.cycle is not None and not self.cycle.response_complete

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
        if self._busy and not self._deaf:
            return cycle.flowing_at + PROVEN_SECONDS * self._proven if cycle.more_body else None
        if self._deaf or self.unsent():
            return 0.0
        return self._since + PROVEN_SECONDS * self._proven

    def evict(self) -> None:
        if not self._deaf and (self._busy or (self._in_headers and self._raw)):
            self.refuse(*TOO_SLOW, "others wait for the connection that this request takes; send it faster")
        self._close()

    def _close(self) -> None:
        """Close without waiting for the client's last words."""
        if self.unsent() or self.transport.is_closing():
            self.drop()
        else:
            self.transport.close()

    def end(self) -> None:
        if self._busy and self.cycle.more_body:
            self.refuse(503, "stopping", "The server stops", "the request was not all there; ask another server")
        if not self._busy or self.cycle.disconnected:
            self._close()

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

    def _header_limit(self) -> str:
        bounds = self.shared.bounds
        return (
            f"they may have {bounds.header_count} lines and {bounds.header_bytes} bytes "
            "(PLATFORM_HEADER_COUNT, PLATFORM_HEADER_KB)"
        )
