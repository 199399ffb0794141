"""One request and its answer on a connection: uvicorn's, with a body that waits for room; it parses nothing."""

import asyncio
from typing import TYPE_CHECKING, Protocol

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from mlplatform.serve.http1.connection_limits import ConnectionTable, ThroughputWindow

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent


class OwnerConnection(Protocol):
    """The connection of a request."""

    connection_table: ConnectionTable
    loop: asyncio.AbstractEventLoop

    def refuse(self, status: int, kind: str, title: str, detail: str) -> None: ...


class RequestCycle(RequestResponseCycle):
    """One request and its answer."""

    started_at = 0.0
    buffered_bytes = received_bytes = received_at_last_check = framing_bytes = chunk_count = 0
    content_length: int | None = None
    """The length that the request says its body has."""
    last_progress_at = 0.0
    """When it last brought as much as bodies must while others wait for room."""
    throughput: ThroughputWindow | None = None
    connection: OwnerConnection
    task: "asyncio.Task[None] | None" = None

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
