"""Counts prediction requests by HTTP status and minute, and writes the counts to the database now and then.

Counting is an addition under a lock, so no request waits for it. The recorder's thread writes, also in minutes without
a prediction. Each write holds the whole count of a minute, so one that is repeated after a lost connection counts
nothing twice; a killed server loses the counts of its last seconds.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from mlplatform.clock import Clock
from mlplatform.errors import StoreUnavailableError
from mlplatform.predictions import prediction_counts
from mlplatform.store.database import Database

log = logging.getLogger(__name__)
WRITE_INTERVAL: Final = timedelta(seconds=10)
MAX_UNWRITTEN_MINUTES: Final = 180
"""Minutes that wait for a database that is away; of an hour that is over, the counts are complete."""
CLIENT_CLOSED_REQUEST: Final = 499
"""The client closed the connection before its response: nobody's fault on this side, and not counted."""
VersionMinute = tuple[int, int]


def is_prediction_request(path: str) -> bool:
    """Whether a POST to this path is a prediction request, by whichever protocol."""
    return path in ("/v1/predict", "/invocations") or (path.startswith("/v2/models/") and path.endswith("/infer"))


class RequestCounts:
    """The counts of one server; `version` says which version serves now, NO_MODEL_VERSION when none does."""

    def __init__(self, database: Database, clock: Clock, model: str, instance: str, version: Callable[[], int]) -> None:
        self._database, self._clock, self._version = database, clock, version
        self._model, self._instance = model, instance
        self._counts: dict[VersionMinute, Counter[str]] = {}
        self._unwritten_minutes: set[VersionMinute] = set()
        self._lock = threading.Lock()
        self._written_at: datetime | None = None

    def count(self, status: int) -> None:
        """One prediction request has ended with this HTTP status."""
        if status == CLIENT_CLOSED_REQUEST:
            return
        minute = (self._version(), prediction_counts.minute_index(self._clock()))
        with self._lock:
            self._counts.setdefault(minute, Counter())[str(status)] += 1
            self._unwritten_minutes.add(minute)
            if len(self._counts) > MAX_UNWRITTEN_MINUTES:
                oldest = min(self._counts, key=lambda version_minute: version_minute[1])
                del self._counts[oldest]
                if oldest in self._unwritten_minutes:
                    self._unwritten_minutes.discard(oldest)
                    log.error("requests of minute %d were counted and never written: the database is away", oldest[1])

    def write(self, *, now: bool = False) -> int:
        """Write what was counted since the last write, if that is long enough ago; returns how many minutes.

        Where the database is away, the counts wait for the next time.
        """
        moment = self._clock()
        if not now and self._written_at is not None and WRITE_INTERVAL > moment - self._written_at >= timedelta(0):
            return 0
        with self._lock:
            waiting = {minute: dict(self._counts[minute]) for minute in self._unwritten_minutes}
        if not waiting:
            return 0
        self._written_at = moment
        try:
            with self._database.write() as connection:
                prediction_counts.record_request_counts(connection, self._instance, self._model, waiting)
        except StoreUnavailableError as error:
            log.warning("counts of requests wait: %s", error)
            return 0
        except Exception:  # the recorder's thread must go on: predictions matter more than their counts
            log.exception("counts of requests could not be written")
            return 0
        with self._lock:
            self._unwritten_minutes -= {
                minute for minute, written in waiting.items() if self._counts.get(minute) == written
            }
        return len(waiting)
