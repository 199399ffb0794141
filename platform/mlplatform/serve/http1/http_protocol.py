"""Reads HTTP/1.1 requests on one connection, within bounds that hold before any request is understood.

Uvicorn's callbacks of httptools with limits on headers, chunks and pipelined requests. A body reaches the app in large
pieces, so that a client which sends single bytes costs no more than one that does not.
"""

import asyncio
import urllib.parse
from typing import TYPE_CHECKING, Any, Final

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from mlplatform.serve.http1.client_timeouts import TimedConnection, TimedCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent

MAX_URL_BYTES: Final = 8 * 1024
MAX_PIPELINED_REQUESTS: Final = 16
"""Requests that wait behind the one that is being answered; the connection closes after them."""
UNCHECKED_CHUNKS: Final = 4096
MIN_AVERAGE_CHUNK_BYTES: Final = 64
"""Beyond the free ones, chunks must be this large on average."""
MAX_FRAMING_BYTES: Final = 64 * 1024
"""Chunk sizes, extensions and trailers may take so much, and no more than the body itself beyond that."""
MALFORMED_PROBLEM: Final = (400, "garbled", "This is not HTTP/1.1")
HEADERS_TOO_LARGE_PROBLEM: Final = (431, "headers-too-large", "The headers are over a limit")


class _BadRequestError(Exception):
    """What a callback of the parser found: status, kind, title, detail."""


class RequestCycle(TimedCycle):
    """One request and its answer; a large body waits for room before more of it is read."""

    async def receive(self) -> "ASGIReceiveEvent":
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            if self.more_body:
                self.connection.connection_table.request_more(self, self.connection.loop.time())
            else:
                self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, bytearray()
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}


class HttpConnection(TimedConnection):
    """A connection on which requests are read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - those of a watched connection
        super().__init__(*args, **kwargs)
        self._request_count = self._header_bytes = self._header_count = 0
        self._unparsed_bytes = 0
        """Bytes of a body still to come that the parser takes for another protocol."""
        self._content_length: int | None = None

    def data_received(self, data: bytes) -> None:
        if self._ignores_input:
            return
        if self._unparsed_bytes:
            self._read_unparsed_body(data)
            return
        cycle, count_before = self.cycle, self._request_count
        idle = cycle is None or (cycle.response_complete and not cycle.more_body)
        if idle and not self._in_headers:
            self._in_headers, self._idle_since, self._raw_header_bytes = True, self.loop.time(), 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_unparsed_body(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, _BadRequestError):
                self.refuse(*cause.args)
            else:
                self.refuse(*MALFORMED_PROBLEM, "the request cannot be read")
        else:
            self._check_framing(len(data), count_before, idle=idle)

    def _check_framing(self, size: int, count_before: int, *, idle: bool) -> None:
        """Count what no callback tells of: headers without an end, and what frames a chunked body."""
        if self._in_headers:
            if self._request_count == count_before:
                self._raw_header_bytes += size
            else:
                self._raw_header_bytes = size if idle and self._request_count == count_before + 1 else 0
            if self._raw_header_bytes > self.connection_table.limits.header_bytes:
                self.refuse(*HEADERS_TOO_LARGE_PROBLEM, self._header_limit())
        elif self._request_count == count_before and (cycle := self.cycle) is not None and cycle.more_body:
            cycle.framing_bytes += size
            if cycle.framing_bytes > MAX_FRAMING_BYTES + 2 * cycle.received_bytes:
                self.refuse(*MALFORMED_PROBLEM, "chunks carry more framing than content; send larger ones")

    def _read_unparsed_body(self, data: bytes) -> None:
        """The body of a request for another protocol, which is not spoken here; nothing after it is read."""
        if self._unparsed_bytes:
            body = data[: self._unparsed_bytes]
            self._unparsed_bytes -= len(body)
            self.on_body(body)
            if self._unparsed_bytes:
                return
            self.on_message_complete()
        self._ignores_input = True

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._request_count += 1
        self._in_headers, self._header_bytes, self._header_count, self._content_length = True, 0, 0, None

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > MAX_URL_BYTES:
            raise _BadRequestError(414, "line-too-long", "The address is too long", f"it is over {MAX_URL_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._header_bytes += len(name) + len(value)
        bounds = self.connection_table.limits
        if self._header_count > bounds.header_count or self._header_bytes > bounds.header_bytes:
            raise _BadRequestError(*HEADERS_TOO_LARGE_PROBLEM, self._header_limit())
        if self._in_headers:  # trailers, which come after the body, are counted and left
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            elif name == b"content-length" and value.isdigit():
                self._content_length = int(value)
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        parsed = httptools.parse_url(self.url)
        if parsed.path is None:
            raise _BadRequestError(*MALFORMED_PROBLEM, "the address has no path")
        path = parsed.path.decode("ascii")
        scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        scope["raw_path"] = parsed.path
        scope["query_string"] = parsed.query or b""
        before = self.cycle
        self.cycle = cycle = RequestCycle(
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
        cycle.connection, cycle.content_length = self, self._content_length
        cycle.started_at = cycle.last_progress_at = self.loop.time()
        self._in_headers = False
        if parser.should_upgrade():
            self._refuse_upgrade(cycle)
        if before is None or before.response_complete:
            self._start_request(cycle)
        elif len(self.pipeline) < MAX_PIPELINED_REQUESTS:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
        else:
            self.cycle = before
            raise _BadRequestError(
                *MALFORMED_PROBLEM, f"more than {MAX_PIPELINED_REQUESTS} requests wait for their answers"
            )

    def _refuse_upgrade(self, cycle: RequestCycle) -> None:
        """Answer a request for another protocol in this one, and close: some clients send that with every request."""
        cycle.keep_alive = False
        if any(name == b"transfer-encoding" for name, _ in self.headers):
            raise _BadRequestError(
                *MALFORMED_PROBLEM, "a request to change the protocol has a body in chunks; leave `upgrade` out"
            )
        self._unparsed_bytes = cycle.content_length or 0

    def _start_request(self, cycle: RequestCycle) -> None:
        self._active_cycle = cycle
        cycle.task = task = self.loop.create_task(cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        if cycle.buffered_bytes:
            task.add_done_callback(lambda _task: self.connection_table.release_body(cycle))

    def on_chunk_header(self) -> None:
        """Called by the parser where a chunk begins."""
        cycle = self.cycle
        cycle.chunk_count += 1
        if cycle.chunk_count > UNCHECKED_CHUNKS + cycle.received_bytes // MIN_AVERAGE_CHUNK_BYTES:
            raise _BadRequestError(*MALFORMED_PROBLEM, "the chunks are too small; send larger ones")

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        cycle.received_bytes += len(body)
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
            cycle.message_event.set()
            self._track_body(cycle)

    def _track_body(self, cycle: TimedCycle) -> None:
        if cycle.response_started:  # it was refused, and what still comes is thrown away
            self.connection_table.release_body(cycle)
        else:
            if not cycle.buffered_bytes and cycle.task is not None:
                cycle.task.add_done_callback(lambda _task: self.connection_table.release_body(cycle))
            self.connection_table.track_body(cycle)

    def on_message_complete(self) -> None:
        if self._unparsed_bytes:
            return
        cycle = self.cycle
        cycle.more_body = False
        cycle.message_event.set()
        if cycle.response_complete:
            self._idle_since = self.loop.time()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._idle_since, self._has_answered = self.loop.time(), True
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, _ = self.pipeline.pop()
            assert isinstance(cycle, RequestCycle)
            cycle.started_at = cycle.last_progress_at = self._idle_since
            self._start_request(cycle)

    def _header_limit(self) -> str:
        bounds = self.connection_table.limits
        return (
            f"they may have {bounds.header_count} lines and {bounds.header_bytes} bytes "
            "(PLATFORM_HEADER_COUNT, PLATFORM_HEADER_KB)"
        )
