"""HTTP/1.1 as it is read on one connection, within bounds that hold before any request is understood.

Uvicorn's callbacks of httptools with limits on headers, chunks and pipelined requests. A body reaches the app in large
pieces, so that a client which sends single bytes costs no more than one that does not.
"""

import asyncio
import urllib.parse
from typing import Any, Final

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from mlplatform.serve.http1.client_timeouts import WatchedConnection
from mlplatform.serve.http1.request_cycle import Cycle

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


class HttpConnection(WatchedConnection):
    """A connection on which requests are read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - those of a watched connection
        super().__init__(*args, **kwargs)
        self._begun = self._size = self._count = 0
        self._unparsed = 0
        """Bytes of a body still to come that the parser takes for another protocol."""
        self._announced: int | None = None

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

    def _header_limit(self) -> str:
        bounds = self.shared.bounds
        return (
            f"they may have {bounds.header_count} lines and {bounds.header_bytes} bytes "
            "(PLATFORM_HEADER_COUNT, PLATFORM_HEADER_KB)"
        )
