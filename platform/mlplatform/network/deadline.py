"""A whole deadline for work that talks to others: it counts from the start, and cuts what is still connected.

Libraries limit each read, so a peer that sends a byte now and then keeps them for ever. Here the work runs on a thread
of its own. When its time is over, its connections are shut down, whatever library made them (an audit hook of Python's
hears of each), and it may make no more; what hangs in the system itself, such as the lookup of a name, is left behind
on its daemon thread. It does not know what the work is.
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
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from mlplatform.errors import PlatformError

T = TypeVar("T")
UNWIND_SECONDS: Final = 1.0
"""How long work whose connections were cut may take to notice."""
RETRY_SECONDS: Final = 0.05
UNSPECIFIED_ADDRESS: Final = bytes(16)
_THREAD_KEY: Final = "mlplatform_deadline"


class DeadlineError(PlatformError, TimeoutError): ...


@dataclass
class Cancellation:
    """What keeps a piece of work waiting: its connections, and what else is to be ended when its time is over."""

    is_cancelled: bool = False
    _sockets: list[int] = field(default_factory=list)
    _callbacks: list[Callable[[], object]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_socket(self, connecting: socket.socket) -> None:
        """Remember a socket by a handle of its own, which outlives a library's wrapping of it; none is let in late."""
        with self._lock:
            if self.is_cancelled:
                raise TimeoutError("the time of this work is over")
            self._sockets.append(os.dup(connecting.fileno()))

    @contextmanager
    def on_cancel(self, end: Callable[[], object]) -> Iterator[None]:
        """Let something else be ended with the connections, while the block runs."""
        with self._lock:
            if self.is_cancelled:
                raise TimeoutError("the time of this work is over")
            self._callbacks.append(end)
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(end)

    def cancel(self) -> None:
        """Shut everything down: whoever waits for it goes on with an error."""
        with self._lock:
            self.is_cancelled = True
            for end in self._callbacks:
                end()
            for handle in self._sockets:
                _disconnect(handle)

    def close(self) -> None:
        """Give the handles back; nothing can be noted any more."""
        with self._lock:
            self.is_cancelled = True
            for handle in self._sockets:
                os.close(handle)
            self._sockets.clear()


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

        With `late`, what it returns once it was cut counts: for libraries that take no cut connection for an end.
        """
        try:
            return self._future.result(seconds)
        except TimeoutError:
            if not self.is_running:  # it was the work's own
                raise
        end = time.monotonic() + UNWIND_SECONDS
        while self.is_running and time.monotonic() < end:
            self.cancel()
            wait([self._future], RETRY_SECONDS)
        try:
            found = self._future.result(0)
        except Exception as error:
            raise DeadlineError(f"no end within {seconds:g} s") from error
        if not accept_late:
            raise DeadlineError(f"no end within {seconds:g} s")
        return found

    def cancel(self) -> None:
        """End its time now."""
        self._cancellation.cancel()

    def _run(self) -> None:
        _install_audit_hook()
        vars(threading.current_thread())[_THREAD_KEY] = self._cancellation
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
    """The ties of the work that this thread does; of none, where it does none."""
    found = vars(threading.current_thread()).get(_THREAD_KEY)
    return found if isinstance(found, Cancellation) else Cancellation()


def _disconnect(handle: int) -> None:
    """End a connection for whoever uses it: who waits is woken, and what a peer goes on sending is not read.

    Linux lets a socket that was shut down be read as long as more arrives. Connecting it to nowhere (AF_UNSPEC) drops
    the connection, unless somebody waits in the kernel this very moment: so it is tried again.
    """
    with suppress(OSError), socket.socket(fileno=os.dup(handle)) as connected:
        connected.shutdown(socket.SHUT_RDWR)
    if sys.platform == "linux":
        ctypes.CDLL(None).connect(handle, UNSPECIFIED_ADDRESS, len(UNSPECIFIED_ADDRESS))


_install_lock = threading.Lock()
_installed: list[bool] = []


def _install_audit_hook() -> None:
    """Listen to this process's sockets, once: Python lets nobody stop listening."""
    with _install_lock:
        if not _installed:
            sys.addaudithook(_audit_hook)
            _installed.append(True)


def _audit_hook(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        found = vars(threading.current_thread()).get(_THREAD_KEY)
        if found is not None:
            found.add_socket(args[0])
