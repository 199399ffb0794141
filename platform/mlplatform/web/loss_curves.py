"""Losses of runs for pages, each read from MLflow once for all who look, and no more often than every few seconds."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from registry.errors import RegistryError, RegistryUnavailableError

Histories = Mapping[str, Sequence[tuple[int, float]]]
MAX_AGE_SECONDS: Final = 4.0
FAILED_SECONDS: Final = 30.0
"""For so long after a failure MLflow is not asked again about a run: each try may take seconds."""
WAIT_SECONDS: Final = 1.0
"""How long a page waits for a reading that another one has begun."""
MAX_RUNS: Final = 50


@dataclass(frozen=True)
class _Reading:
    """What was read of a run, or is being read; `until` is when it is old."""

    result: "Future[Histories]"
    until: float
    before: "Future[Histories] | None" = None


class LossCurves:
    """Reads the losses of runs, keeps each for a few seconds, and remembers failures."""

    def __init__(self, read: Callable[[str], Histories], stopwatch: Callable[[], float] = time.monotonic) -> None:
        self._read, self._stopwatch = read, stopwatch
        self._lock, self._readings = threading.Lock(), dict[str, _Reading]()

    def of(self, run_id: str) -> Histories:
        """The losses by name, each as (step, value); raises RegistryError where they cannot be read now."""
        with self._lock:
            now, known = self._stopwatch(), self._readings.get(run_id)
            is_current = known is not None and (not known.result.done() or now < known.until)
            if known is None or not is_current:
                mine = _Reading(Future(), now, None if known is None else known.result)
                self._keep(run_id, mine)
        if known is not None and is_current:
            return _shared(known)
        return self._load(run_id, mine)

    def _load(self, run_id: str, reading: _Reading) -> Histories:
        """Read it, for everybody who asks meanwhile."""
        age = FAILED_SECONDS
        try:
            reading.result.set_result(self._read(run_id))
            age = MAX_AGE_SECONDS
        except BaseException as error:
            reading.result.set_exception(error)
            raise
        finally:
            with self._lock:
                if self._readings.get(run_id) is reading:
                    self._keep(run_id, _Reading(reading.result, self._stopwatch() + age))
        return reading.result.result()

    def _keep(self, run_id: str, reading: _Reading) -> None:
        self._readings.pop(run_id, None)
        self._readings[run_id] = reading
        while len(self._readings) > MAX_RUNS:
            del self._readings[next(iter(self._readings))]


def _shared(reading: _Reading) -> Histories:
    """What a reading of somebody else gives; while it is under way, what was known before."""
    if not reading.result.done() and reading.before is not None and reading.before.exception() is None:
        return reading.before.result()
    try:
        return reading.result.result(timeout=WAIT_SECONDS)
    except TimeoutError:
        raise RegistryUnavailableError("MLflow is being asked already") from None
    except RegistryError as error:
        raise type(error)(str(error)) from error  # one exception is not raised on two threads
