"""Answers to pictures that were seen before, by content and version; it may lose any of them and never fails anybody.

In this process the newest are kept. With PLATFORM_REDIS_URL the servers share theirs through Redis. A Redis that is
away or slow is left alone for a while: then there is no shared cache, and nothing else.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mlplatform.settings import Settings

log = logging.getLogger(__name__)
REDIS_SECONDS: Final = 0.05
"""How long Redis may take: it must be faster than asking the model."""
REST_SECONDS: Final = 5.0
"""How long a Redis that failed is left alone."""
KEPT_SECONDS: Final = 3600
Row = NDArray[np.float32]


class Shared(Protocol):
    """Bytes by key, shared between servers; any of its errors means that it is away."""

    def mget(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """The values of these keys, None where there is none."""

    def mset(self, values: Mapping[str, bytes]) -> None:
        """Keep these values for a while."""


class Cache:
    """Probabilities by key, at most `size` of them here; 0 keeps none."""

    def __init__(
        self, size: int, classes: int, shared: Shared | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.size, self._classes, self._clock = size, classes, clock
        self._shared = shared if size else None
        self._rows: OrderedDict[str, Row] = OrderedDict()
        self._lock = threading.Lock()
        self._resting_until = 0.0

    @property
    def waits(self) -> bool:
        """Whether looking something up may take a moment, so that an event loop must not do it."""
        return self._shared is not None and self._clock() >= self._resting_until

    def find(self, keys: Sequence[str]) -> list[Row | None]:
        """What is known here; it never waits."""
        if not self.size:
            return [None] * len(keys)
        found: list[Row | None] = []
        with self._lock:
            for key in keys:
                row = self._rows.get(key)
                if row is not None:
                    self._rows.move_to_end(key)
                found.append(row)
        return found

    def ask_others(self, keys: Sequence[str], known: list[Row | None]) -> list[Row | None]:
        """What is known here, completed by what other servers know."""
        missing = [key for key, row in zip(keys, known, strict=True) if row is None]
        if not missing or self._shared is None or not self.waits:
            return known
        try:
            told = dict(zip(missing, self._shared.mget(missing), strict=True))
        except Exception as error:  # noqa: BLE001 - whatever it is, the model can be asked
            self._rest(error)
            return known
        rows = {key: self._row(value) for key, value in told.items() if value is not None}
        self._keep({key: row for key, row in rows.items() if row is not None})
        return [rows.get(key) if row is None else row for key, row in zip(keys, known, strict=True)]

    def keep(self, answered: Mapping[str, Row]) -> None:
        """Remember these answers here; it never waits."""
        if self.size and answered:
            self._keep({key: row.copy() for key, row in answered.items()})  # not a view that holds a whole batch

    def tell_others(self, answered: Mapping[str, Row]) -> None:
        """Let other servers know these answers."""
        if self._shared is None or not answered or not self.waits:
            return
        try:
            self._shared.mset({key: row.astype("<f4").tobytes() for key, row in answered.items()})
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody waits for it
            self._rest(error)

    def _keep(self, answered: Mapping[str, Row]) -> None:
        with self._lock:
            for key, row in answered.items():
                self._rows[key] = row
                self._rows.move_to_end(key)
            while len(self._rows) > self.size:
                self._rows.popitem(last=False)

    def _row(self, value: bytes) -> Row | None:
        """The probabilities in these bytes; None where they cannot be any."""
        if len(value) != 4 * self._classes:
            return None
        row = np.frombuffer(value, dtype="<f4").astype(np.float32)
        return row if np.isfinite(row).all() and abs(float(row.sum()) - 1.0) < 1e-3 and row.min() >= 0 else None

    def _rest(self, error: Exception) -> None:
        log.warning("the shared cache of answers is left alone for %g s: %s", REST_SECONDS, error)
        self._resting_until = self._clock() + REST_SECONDS


class RedisAnswers:
    """`Shared` by a Redis server; nothing is connected before the first use."""

    def __init__(self, url: str) -> None:
        import redis

        self._redis = redis.Redis.from_url(
            url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS, max_connections=16
        )

    def mget(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See Shared."""
        found: list[bytes | None] = self._redis.mget(list(keys))
        return found

    def mset(self, values: Mapping[str, bytes]) -> None:
        """See Shared; all in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for key, value in values.items():
            pipe.set(key, value, ex=KEPT_SECONDS)
        pipe.execute()


def cache_of(settings: Settings, classes: int) -> Cache:
    """The cache that settings describe; without the redis library the shared part is left out, in words."""
    shared: Shared | None = None
    if settings.redis_url and settings.cache_answers:
        try:
            shared = RedisAnswers(settings.redis_url)
        except ImportError:
            log.warning("PLATFORM_REDIS_URL is set and the redis library is missing: pip install 'mlplatform[redis]'")
        except ValueError as error:
            log.warning("PLATFORM_REDIS_URL is no address of a Redis server (%s); answers are not shared", error)
    return Cache(settings.cache_answers, classes, shared)


def key_of(model: str, identity: str, content: str) -> str:
    """The name of an answer: the model as registered, whose it is, and the picture's content."""
    return f"mlplatform/{model}/{identity}/{content}"
