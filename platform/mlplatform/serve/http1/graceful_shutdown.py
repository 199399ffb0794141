"""How an API server ends: it says so, takes requests a little longer, finishes them, and is gone in time in any case.

After SIGTERM readiness is false at once, so that balancers look elsewhere; after `drain` seconds nobody is accepted any
more; what was asked is answered, what is not all there is given up; then the server's parts are closed. Whatever hangs
on the way, a database or a client, the process is gone after the ending's seconds: what was answered is on disk.
"""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn

from mlplatform.serve.http1.connection_limits import Connections
from mlplatform.serve.http1.shutdown_state import Ending

log = logging.getLogger(__name__)
FINISHING_SHARE: Final = 0.4
"""Of the time after draining, the part in which requests must end; the rest is for the server's parts."""
GIVE_UP_SHARE: Final = 0.5
"""Of that part, when requests that are not all there are given up."""
EXIT_CODE: Final = 128 + signal.SIGTERM


class StoppingServer(uvicorn.Server):
    """Uvicorn's server with an end in time; the first signal begins the ending."""

    def __init__(
        self,
        config: uvicorn.Config,
        connections: Connections,
        *,
        ending: Ending,
        drain: float,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        self._finishing = FINISHING_SHARE * (ending.total - drain)
        config.timeout_graceful_shutdown = max(1, round(self._finishing))
        super().__init__(config)
        self._connections, self._ending, self._drain, self._leave = connections, ending, drain, leave
        self._ended = threading.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self._ending.begun:
            self._ending.begin()
            if sig == signal.SIGINT:
                self._drain = 0.0  # somebody waits at the keyboard
            threading.Thread(target=self._end_in_time, name="stopping", daemon=True).start()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, finish, close."""
        await self._drained()
        loop = asyncio.get_running_loop()
        giving_up = loop.call_later(GIVE_UP_SHARE * self._finishing, self._connections.end)
        dropping = loop.call_later(0.9 * self._finishing, self._connections.drop)
        await super().shutdown(sockets)
        giving_up.cancel()
        dropping.cancel()

    def ended(self) -> None:
        """All is closed: nothing has to be ended by force."""
        self._ended.set()

    async def _drained(self) -> None:
        begun_at = self._ending.begun_at
        if begun_at is None or not self._drain:
            return
        log.info("stopping: requests are taken for %g s more", self._drain)
        while not self.force_exit and self._ending.clock() < begun_at + self._drain:
            await asyncio.sleep(0.05)
            await self.on_tick(0)  # the date of answers

    def _end_in_time(self) -> None:
        if not self._ended.wait(self._ending.total):
            log.critical(
                "stopping took longer than PLATFORM_STOP_SECONDS=%g; ended all the same, and what waits for the "
                "database stays in the spool for the next server", self._ending.total,
            )  # fmt: skip
            self._leave(EXIT_CODE)
