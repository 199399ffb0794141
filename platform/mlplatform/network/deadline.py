"""Gives work that talks to others one deadline, counted from its start, and cuts its connections when time is over.

Libraries limit each read, so a peer that sends a byte now and then keeps them for ever. Here the work runs on a thread
of its own. The connections made by `connections.py` register with the work of their thread (HTTP by
`http_clients.py`, SMTP by `alerting/channels/smtp.py`): when the deadline passes they are shut down, and no further one
is made. What hangs in the system itself, such as the lookup of a name, is left behind on its daemon thread.
"""

import ctypes
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from mlplatform.errors import PlatformError

T = TypeVar("T")
UNWIND_SECONDS: Final = 1.0
"""How long work whose connections were cut may take to notice."""
CUT_AGAIN_SECONDS: Final = 0.05
UNSPECIFIED_ADDRESS: Final = bytes(16)


class DeadlineError(PlatformError, TimeoutError):
    """The work did not end in time."""


@dataclass
class Cancellation:
    """What to end when the time of a piece of work is over: its connections, and what else it registered."""

    is_cancelled: bool = False
    _sockets: list[int] = field(default_factory=list)
    _callbacks: list[Callable[[], object]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def raise_if_cancelled(self) -> None:
        """Raise TimeoutError when the time of the work is over."""
        if self.is_cancelled:
            raise TimeoutError("the time of this work is over")

    def add_socket(self, connection: socket.socket) -> None:
        """Register a socket by a handle of its own, which outlives a library's wrapping of it (TLS).

        Raises TimeoutError when the time of the work is over.
        """
        with self._lock:
            self.raise_if_cancelled()
            self._sockets.append(os.dup(connection.fileno()))

    @contextmanager
    def on_cancel(self, callback: Callable[[], object]) -> Iterator[None]:
        """Let something else be ended with the connections, while the block runs."""
        with self._lock:
            self.raise_if_cancelled()
            self._callbacks.append(callback)
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)

    def cancel(self) -> None:
        """Shut everything down: whoever waits for it goes on with an error."""
        with self._lock:
            self.is_cancelled = True
            for callback in self._callbacks:
                callback()
            for handle in self._sockets:
                _disconnect(handle)

    def close(self) -> None:
        """Give the handles back; nothing can be registered any more."""
        with self._lock:
            self.is_cancelled = True
            for handle in self._sockets:
                os.close(handle)
            self._sockets.clear()


_cancellation: Final[ContextVar[Cancellation | None]] = ContextVar("cancellation", default=None)


class DeadlineTask(Generic[T]):
    """One call on a daemon thread of its own, which begins at once."""

    def __init__(self, job: Callable[[], T], name: str) -> None:
        self._job, self._cancellation = job, Cancellation()
        self._future: Future[T] = Future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it still runs, perhaps left behind."""
        return not self._future.done()

    def result(self, seconds: float | None, *, accept_late: bool = False) -> T:
        """What it returned or raised; DeadlineError when that took longer than so many seconds.

        With `accept_late`, what it returns once it was cut counts: for libraries that take no cut connection for an
        end.
        """
        try:
            return self._future.result(seconds)
        except TimeoutError:
            if not self.is_running:  # it was the work's own
                raise
        end = time.monotonic() + UNWIND_SECONDS
        while self.is_running and time.monotonic() < end:
            self.cancel()
            wait([self._future], CUT_AGAIN_SECONDS)
        try:
            late = self._future.result(0)
        except Exception as error:
            raise DeadlineError(f"no end within {seconds:g} s") from error
        if not accept_late:
            raise DeadlineError(f"no end within {seconds:g} s")
        return late

    def cancel(self) -> None:
        """End its time now."""
        self._cancellation.cancel()

    def _run(self) -> None:
        _cancellation.set(self._cancellation)
        try:
            self._future.set_result(self._job())
        except BaseException as error:  # noqa: BLE001 - whatever it was belongs to whoever asks for the result
            self._future.set_exception(error)
        finally:
            self._cancellation.close()


def run_with_deadline(seconds: float, job: Callable[[], T], name: str = "work") -> T:
    """What the job returns or raises; DeadlineError when it takes longer than so many seconds."""
    return DeadlineTask(job, name).result(seconds)


def current_cancellation() -> Cancellation:
    """The cancellation of the work that this thread does; one that nobody cancels, where it does none."""
    return _cancellation.get() or Cancellation()


def register_socket(connection: socket.socket) -> None:
    """Let a connection be cut with the work that this thread does, where it does any.

    Raises TimeoutError when the time of the work is over.
    """
    cancellation = _cancellation.get()
    if cancellation is not None:
        cancellation.add_socket(connection)


def _disconnect(handle: int) -> None:
    """End a connection for whoever uses it: who waits is woken, and what a peer goes on sending is not read.

    Linux lets a socket that was shut down be read as long as more arrives. Connecting it to nowhere (AF_UNSPEC) drops
    the connection, unless somebody waits in the kernel this very moment: so it is tried again.
    """
    with suppress(OSError), socket.socket(fileno=os.dup(handle)) as connected:
        connected.shutdown(socket.SHUT_RDWR)
    if sys.platform == "linux":
        ctypes.CDLL(None).connect(handle, UNSPECIFIED_ADDRESS, len(UNSPECIFIED_ADDRESS))
