"""One request and its answer on a connection: uvicorn's, with a body that waits for room; it parses nothing."""

import asyncio
from typing import TYPE_CHECKING, Protocol

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from mlplatform.serve.http1.connection_limits import Connections, Pace

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent


class Owner(Protocol):
    """The connection of a request."""

    shared: Connections
    loop: asyncio.AbstractEventLoop

    def refuse(self, status: int, kind: str, title: str, detail: str) -> None: ...


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    since = 0.0
    held = received = seen = framed = chunks = 0
    announced: int | None = None
    """The length that the request says its body has."""
    flowing_at = 0.0
    """When it last brought as much as bodies must while others wait for room."""
    pace: Pace | None = None
    line: Owner
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
