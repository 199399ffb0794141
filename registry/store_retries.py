"""Retries for a store that is unavailable for a moment, so that hours of work are not lost."""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar

from registry.errors import RegistryUnavailableError

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
INITIAL_DELAY_SECONDS: Final = 0.5
MAX_DELAY_SECONDS: Final = 10.0


@dataclass(frozen=True)
class _RetryPolicy:
    seconds: float
    sleep: Callable[[float], object]
    clock: Callable[[], float]


_retry_policy: Final[ContextVar[_RetryPolicy | None]] = ContextVar("patience", default=None)


@contextmanager
def retry_for(
    seconds: float, sleep: Callable[[float], object] = time.sleep, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Let each call of the registry that is made in here be made again while its store is away, for so long."""
    before = _retry_policy.set(_RetryPolicy(seconds, sleep, clock))
    try:
        yield
    finally:
        _retry_policy.reset(before)


def retry_while_unavailable(call: Callable[P, T]) -> Callable[P, T]:
    """The call, made again while the store is away where somebody is patient; for calls that may be made twice."""

    @functools.wraps(call)
    def calling(*args: P.args, **kwargs: P.kwargs) -> T:
        patience = _retry_policy.get()
        if patience is None:
            return call(*args, **kwargs)
        until, delay = patience.clock() + patience.seconds, INITIAL_DELAY_SECONDS
        while True:
            try:
                with _without_retries():  # a call within this one is made again by this one
                    return call(*args, **kwargs)
            except RegistryUnavailableError as error:
                if patience.clock() + delay > until:
                    raise
                log.warning("%s is tried again in %.1f s: %s", call.__name__, delay, error)
                patience.sleep(delay)
                delay = min(2 * delay, MAX_DELAY_SECONDS)

    return calling


@contextmanager
def _without_retries() -> Iterator[None]:
    before = _retry_policy.set(None)
    try:
        yield
    finally:
        _retry_policy.reset(before)
