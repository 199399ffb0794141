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
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Final

import uvicorn

from mlplatform.serve.http1.connection_limits import ConnectionTable

log = logging.getLogger(__name__)
FINISH_SHARE: Final = 0.4
"""Of the time after draining, the part in which requests must end; the rest is for the server's parts."""
ABANDON_SHARE: Final = 0.5
"""Of that part, when requests that are not all there are given up."""
DEFAULT_CLOSE_SECONDS: Final = 10.0
RESERVED_SECONDS: Final = 1.0
"""Kept back for the process itself to end."""
EXIT_CODE: Final = 128 + signal.SIGTERM


@dataclass
class ShutdownState:
    """The end of a server, `total` seconds after it was begun at the latest."""

    total_seconds: float
    clock: Callable[[], float] = time.monotonic
    started_at: float | None = None

    def start(self) -> None:
        """From now on."""
        if self.started_at is None:
            self.started_at = self.clock()

    @property
    def has_started(self) -> bool:
        """Whether the server was told to end."""
        return self.started_at is not None

    def seconds_left(self) -> float:
        """Seconds for the parts to close, one second kept back; enough of them where nobody waits."""
        if self.started_at is None:
            return DEFAULT_CLOSE_SECONDS
        return max(0.0, self.started_at + self.total_seconds - self.clock() - RESERVED_SECONDS)


class GracefulServer(uvicorn.Server):
    """Uvicorn's server with an end in time; the first signal begins the ending."""

    def __init__(
        self,
        config: uvicorn.Config,
        connections: ConnectionTable,
        *,
        shutdown_state: ShutdownState,
        drain_seconds: float,
        exit_process: Callable[[int], None] = os._exit,
    ) -> None:
        self._finish_seconds = FINISH_SHARE * (shutdown_state.total_seconds - drain_seconds)
        config.timeout_graceful_shutdown = max(1, round(self._finish_seconds))
        super().__init__(config)
        self._connection_table, self._shutdown_state, self._drain_seconds, self._exit = (
            connections,
            shutdown_state,
            drain_seconds,
            exit_process,
        )
        self._closed = threading.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self._shutdown_state.has_started:
            self._shutdown_state.start()
            if sig == signal.SIGINT:
                self._drain_seconds = 0.0  # somebody waits at the keyboard
            threading.Thread(target=self._exit_after_deadline, name="stopping", daemon=True).start()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, finish, close."""
        await self._wait_for_drain()
        loop = asyncio.get_running_loop()
        giving_up = loop.call_later(ABANDON_SHARE * self._finish_seconds, self._connection_table.abandon_incomplete)
        dropping = loop.call_later(0.9 * self._finish_seconds, self._connection_table.abort_all)
        await super().shutdown(sockets)
        giving_up.cancel()
        dropping.cancel()

    def mark_closed(self) -> None:
        """All is closed: nothing has to be ended by force."""
        self._closed.set()

    async def _wait_for_drain(self) -> None:
        begun_at = self._shutdown_state.started_at
        if begun_at is None or not self._drain_seconds:
            return
        log.info("stopping: requests are taken for %g s more", self._drain_seconds)
        while not self.force_exit and self._shutdown_state.clock() < begun_at + self._drain_seconds:
            await asyncio.sleep(0.05)
            await self.on_tick(0)  # the date of answers

    def _exit_after_deadline(self) -> None:
        if not self._closed.wait(self._shutdown_state.total_seconds):
            log.critical(
                "stopping took longer than PLATFORM_STOP_SECONDS=%g; ended all the same, and what waits for the "
                "database stays in the spool for the next server", self._shutdown_state.total_seconds,
            )  # fmt: skip
            self._exit(EXIT_CODE)
