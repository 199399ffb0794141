"""Probabilities of a request's images: from the cache where they are known, else from the model; it records nothing."""

from dataclasses import dataclass

import numpy as np

from mlplatform.serve.inference.batcher import BatchResult, Images
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.serve.inference.prediction_cache import ProbabilityRow, cache_key
from mlplatform.serve.state import ApiServer
from pipelines.data import content_hash


@dataclass(frozen=True)
class _CacheLookup:
    """The images of one request with their keys, and what the cache knows of them."""

    images: Images
    keys: list[str]
    rows: list[ProbabilityRow | None]

    def missing_indices(self) -> list[int]:
        """Places of the images that must be computed."""
        return [place for place, row in enumerate(self.rows) if row is None]


async def infer(server: ApiServer, model: LoadedModel, images: Images) -> BatchResult:
    """The probabilities, without holding up the event loop."""
    if not server.prediction_cache.size:
        return await server.batcher.run(model, images)
    known = _lookup_local(server, model, images)
    if known.missing_indices() and server.prediction_cache.may_block:
        rows = await server.thread_pool.run(server.prediction_cache.lookup_shared, known.keys, known.rows)
        known = _with_shared_rows(server, known, rows)
    missing = known.missing_indices()
    made = (
        await server.batcher.run(model, images if len(missing) == len(images) else images[missing]) if missing else None
    )
    fresh = _store_computed(server, known, made)
    if fresh and server.prediction_cache.may_block:
        server.thread_pool.submit(server.prediction_cache.publish, fresh)
    return _merge_rows(known, made)


def _lookup_local(server: ApiServer, model: LoadedModel, images: Images) -> _CacheLookup:
    identity = f"{model.version}/{model.digest}"
    keys = [cache_key(model.name, identity, content_hash(image)) for image in images]
    known = _CacheLookup(images, keys, server.prediction_cache.lookup(keys))
    server.metrics.count_cache_lookups("here", len(images) - len(known.missing_indices()))
    return known


def _with_shared_rows(server: ApiServer, lookup: _CacheLookup, rows: list[ProbabilityRow | None]) -> _CacheLookup:
    told = _CacheLookup(lookup.images, lookup.keys, rows)
    server.metrics.count_cache_lookups("shared", len(lookup.missing_indices()) - len(told.missing_indices()))
    return told


def _store_computed(
    server: ApiServer, lookup: _CacheLookup, batch_result: BatchResult | None
) -> dict[str, ProbabilityRow]:
    """What was computed, by key."""
    if batch_result is None:
        return {}
    missing = lookup.missing_indices()
    server.metrics.count_cache_lookups("miss", len(missing))
    fresh = {lookup.keys[place]: row for place, row in zip(missing, batch_result.probabilities, strict=True)}
    server.prediction_cache.store(fresh)
    return fresh


def _merge_rows(lookup: _CacheLookup, batch_result: BatchResult | None) -> BatchResult:
    """One row for each image, in their order."""
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
