"""Probabilities of a request's images: from the cache where they are known, else from the model; it records nothing."""

from dataclasses import dataclass

import numpy as np

from mlplatform.serve.inference.batcher import Computed, Images
from mlplatform.serve.inference.model_slot import Loaded
from mlplatform.serve.inference.prediction_cache import Row, key_of
from mlplatform.serve.state import Server
from pipelines.data import content_hash


@dataclass(frozen=True)
class _Known:
    """The images of one request with their keys, and what the cache knows of them."""

    images: Images
    keys: list[str]
    rows: list[Row | None]

    def missing(self) -> list[int]:
        """Places of the images that must be computed."""
        return [place for place, row in enumerate(self.rows) if row is None]


async def awaited(server: Server, loaded: Loaded, images: Images) -> Computed:
    """The probabilities, without holding up the event loop."""
    if not server.cache.size:
        return await server.batcher.run(loaded, images)
    known = _looked_up(server, loaded, images)
    if known.missing() and server.cache.waits:
        rows = await server.pool.run(server.cache.ask_others, known.keys, known.rows)
        known = _shared(server, known, rows)
    missing = known.missing()
    made = (
        await server.batcher.run(loaded, images if len(missing) == len(images) else images[missing])
        if missing
        else None
    )
    fresh = _remembered(server, known, made)
    if fresh and server.cache.waits:
        server.pool.submit(server.cache.tell_others, fresh)
    return _together(known, made)


def _looked_up(server: Server, loaded: Loaded, images: Images) -> _Known:
    identity = f"{loaded.version}/{loaded.digest}"
    keys = [key_of(loaded.name, identity, content_hash(image)) for image in images]
    known = _Known(images, keys, server.cache.find(keys))
    server.metrics.looked_up("here", len(images) - len(known.missing()))
    return known


def _shared(server: Server, known: _Known, rows: list[Row | None]) -> _Known:
    told = _Known(known.images, known.keys, rows)
    server.metrics.looked_up("shared", len(known.missing()) - len(told.missing()))
    return told


def _remembered(server: Server, known: _Known, made: Computed | None) -> dict[str, Row]:
    """What was computed, by key."""
    if made is None:
        return {}
    missing = known.missing()
    server.metrics.looked_up("miss", len(missing))
    fresh = {known.keys[place]: row for place, row in zip(missing, made.probabilities, strict=True)}
    server.cache.keep(fresh)
    return fresh


def _together(known: _Known, made: Computed | None) -> Computed:
    """One row for each image, in their order."""
    rows = [] if made is None else list(made.probabilities)
    if made is not None and len(rows) == len(known.rows):
        return made
    computed = iter(rows)
    whole = np.stack([next(computed) if row is None else row for row in known.rows])
    return Computed(whole, 0.0 if made is None else made.seconds, 0 if made is None else made.batch)
