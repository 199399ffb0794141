"""Caches the probabilities of inputs that were seen before, by content and version, and infers what is not cached.

In this process the newest are kept. With PLATFORM_REDIS_URL the servers share theirs through Redis. A Redis that is
unavailable or slow is left alone for a while: then there is no shared cache, and no request fails.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mlplatform.serve.inference.batcher import Batcher, BatchResult
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.serve.thread_pool import ThreadPool
from mlplatform.settings import Settings
from pipelines.answers import AnswerReader
from pipelines.batch import Batch
from pipelines.input_row import InputRow

log = logging.getLogger(__name__)
REDIS_TIMEOUT_SECONDS: Final = 0.05
"""How long Redis may take: it must be faster than asking the model."""
BACK_OFF_SECONDS: Final = 5.0
"""How long a Redis that failed is left alone."""
TTL_SECONDS: Final = 3600
ProbabilityRow = NDArray[np.float32]


class SharedCache(Protocol):
    """Bytes by key, shared between servers; any of its errors means that it is away."""

    def mget(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """The values of these keys, None where there is none."""

    def mset(self, values: Mapping[str, bytes]) -> None:
        """Keep these values for a while."""


class PredictionCache:
    """Probabilities by key, at most `size` of them here; 0 keeps none."""

    def __init__(
        self, size: int, shared: SharedCache | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.size, self._clock = size, clock
        self._shared = shared if size else None
        self._entries: OrderedDict[str, ProbabilityRow] = OrderedDict()
        self._lock = threading.Lock()
        self._backed_off_until = 0.0

    @property
    def may_block(self) -> bool:
        """Whether looking something up may take a moment, so that an event loop must not do it."""
        return self._shared is not None and self._clock() >= self._backed_off_until

    def lookup(self, keys: Sequence[str]) -> list[ProbabilityRow | None]:
        """What is known here; it never waits."""
        if not self.size:
            return [None] * len(keys)
        rows: list[ProbabilityRow | None] = []
        with self._lock:
            for key in keys:
                row = self._entries.get(key)
                if row is not None:
                    self._entries.move_to_end(key)
                rows.append(row)
        return rows

    def lookup_shared(
        self, keys: Sequence[str], local_rows: list[ProbabilityRow | None], reader: AnswerReader
    ) -> list[ProbabilityRow | None]:
        """What is known here, completed by what other servers know of a model whose outputs are read so."""
        missing = [key for key, row in zip(keys, local_rows, strict=True) if row is None]
        if not missing or self._shared is None or not self.may_block:
            return local_rows
        try:
            shared_values = dict(zip(missing, self._shared.mget(missing), strict=True))
        except Exception as error:  # noqa: BLE001 - whatever it is, the model can be asked
            self._back_off(error)
            return local_rows
        rows = {key: _decode_row(value, reader) for key, value in shared_values.items() if value is not None}
        self._store({key: row for key, row in rows.items() if row is not None})
        return [rows.get(key) if row is None else row for key, row in zip(keys, local_rows, strict=True)]

    def store(self, predictions: Mapping[str, ProbabilityRow]) -> None:
        """Remember these answers here; it never waits."""
        if self.size and predictions:
            self._store({key: row.copy() for key, row in predictions.items()})  # not a view that holds a whole batch

    def publish(self, predictions: Mapping[str, ProbabilityRow]) -> None:
        """Let other servers know these answers."""
        if self._shared is None or not predictions or not self.may_block:
            return
        try:
            self._shared.mset({key: row.astype("<f4").tobytes() for key, row in predictions.items()})
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody waits for it
            self._back_off(error)

    def _store(self, predictions: Mapping[str, ProbabilityRow]) -> None:
        with self._lock:
            for key, row in predictions.items():
                self._entries[key] = row
                self._entries.move_to_end(key)
            while len(self._entries) > self.size:
                self._entries.popitem(last=False)

    def _back_off(self, error: Exception) -> None:
        log.warning("the shared cache of answers is left alone for %g s: %s", BACK_OFF_SECONDS, error)
        self._backed_off_until = self._clock() + BACK_OFF_SECONDS


class RedisCache:
    """`Shared` by a Redis server; nothing is connected before the first use."""

    def __init__(self, url: str) -> None:
        import redis

        self._redis = redis.Redis.from_url(
            url, socket_timeout=REDIS_TIMEOUT_SECONDS, socket_connect_timeout=REDIS_TIMEOUT_SECONDS, max_connections=16
        )

    def mget(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See Shared."""
        values: list[bytes | None] = self._redis.mget(list(keys))
        return values

    def mset(self, values: Mapping[str, bytes]) -> None:
        """See Shared; all in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for key, value in values.items():
            pipe.set(key, value, ex=TTL_SECONDS)
        pipe.execute()


def _decode_row(value: bytes, reader: AnswerReader) -> ProbabilityRow | None:
    """The outputs in these bytes; None where they cannot be those of such a model."""
    if len(value) != 4 * reader.width:
        return None
    row = np.frombuffer(value, dtype="<f4").astype(np.float32)
    return row if reader.is_sound(row) else None


def build_cache(settings: Settings) -> PredictionCache:
    """The cache that settings describe; without the redis library the shared part is left out, in words."""
    shared: SharedCache | None = None
    if settings.redis_url and settings.cache_answers:
        try:
            shared = RedisCache(settings.redis_url)
        except ImportError:
            log.warning("PLATFORM_REDIS_URL is set and the redis library is missing: pip install 'mlplatform[redis]'")
        except ValueError as error:
            log.warning("PLATFORM_REDIS_URL is no address of a Redis server (%s); answers are not shared", error)
    return PredictionCache(settings.cache_answers, shared)


def cache_key(model: str, identity: str, content: str) -> str:
    """The name of an answer: the model as registered, whose it is, and the input's content."""
    return f"mlplatform/{model}/{identity}/{content}"


@dataclass(frozen=True)
class _CacheLookup:
    """The keys of one request's rows, and what the cache knows of them."""

    keys: list[str]
    rows: list[ProbabilityRow | None]

    def missing_indices(self) -> list[int]:
        """Indices of the rows that must be computed."""
        return [index for index, row in enumerate(self.rows) if row is None]


@dataclass(frozen=True)
class CachedInference:
    """Probabilities of a request's rows: from the cache where it has them, else from the model."""

    batcher: Batcher
    cache: PredictionCache
    thread_pool: ThreadPool
    count_lookups: Callable[[str, int], None]
    """Is told an outcome (`here`, `shared`, `miss`) and how many rows had it."""

    async def infer(self, model: LoadedModel, batch: Batch, rows: Sequence[InputRow] | None) -> BatchResult:
        """Probabilities (n, classes) of a batch without blocking; `rows` are its rows in their canonical form.

        None where that does not say all that the model reads, so that nothing may be remembered by it.
        """
        if rows is None or not self.cache.size:
            return await self.batcher.run(model, batch)
        lookup = self._lookup_local(model, rows)
        missing = lookup.missing_indices()
        if missing and self.cache.may_block:
            reader = model.predictor.reader
            known = await self.thread_pool.run(self.cache.lookup_shared, lookup.keys, lookup.rows, reader)
            shared = _CacheLookup(lookup.keys, known)
            self.count_lookups("shared", len(missing) - len(shared.missing_indices()))
            lookup, missing = shared, shared.missing_indices()
        if not missing:
            return _merge_rows(lookup, None)
        computed = await self.batcher.run(model, batch if len(missing) == len(batch) else batch.take(missing))
        self.count_lookups("miss", len(missing))
        fresh = {lookup.keys[index]: row for index, row in zip(missing, computed.probabilities, strict=True)}
        self.cache.store(fresh)
        if fresh and self.cache.may_block:
            self.thread_pool.submit(self.cache.publish, fresh)
        return _merge_rows(lookup, computed)

    def _lookup_local(self, model: LoadedModel, rows: Sequence[InputRow]) -> _CacheLookup:
        identity = f"{model.version}/{model.digest}"
        keys = [cache_key(model.name, identity, row.content_hash) for row in rows]
        lookup = _CacheLookup(keys, self.cache.lookup(keys))
        self.count_lookups("here", len(rows) - len(lookup.missing_indices()))
        return lookup


def _merge_rows(lookup: _CacheLookup, batch_result: BatchResult | None) -> BatchResult:
    """One row for each that was asked about, in their order."""
    rows = [] if batch_result is None else list(batch_result.probabilities)
    if batch_result is not None and len(rows) == len(lookup.rows):
        return batch_result
    computed = iter(rows)
    whole = np.stack([next(computed) if row is None else row for row in lookup.rows])
    return BatchResult(
        whole,
        0.0 if batch_result is None else batch_result.seconds,
        0 if batch_result is None else batch_result.batch_size,
    )
