"""Looks at the pictures a champion is shown, as plain numbers and through its own eyes; it judges nothing.

Slow, some seconds: it never runs in a transaction. What is remembered of a version's first pictures can be computed
again at any time, for the store keeps both the pictures and who was shown which first.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mlplatform.predictions import input_samples
from mlplatform.predictions.stored_image import from_png
from mlplatform.promotion import promotion_history
from monitors.decisions.drift import FIRST_ANSWERS, SAMPLE, level_of
from monitors.rules.alerts_config import Rule
from monitors.statistics.two_sample import EMBEDDING, Comparison, Profile, compare
from pipelines.errors import ModelFormatError
from pipelines.image.image_statistics import image_stats
from registry.model_package import MODEL_FILE

if TYPE_CHECKING:
    from mlplatform.context import Parts

log = logging.getLogger(__name__)
NEWEST_ANSWERS: Final = 5_000
"""So many of the window's newest answers are what its pictures are drawn from."""
TEXTS: Final = {
    "mean": "their mean light",
    "deviation": "the spread of their light",
    "ground": "the light of their ground",
    "contrast": "the contrast of ink and ground",
    "ink_share": "the amount of ink",
    "stroke_width": "the width of strokes",
    "centre_x": "the place of the ink from left to right",
    "centre_y": "the place of the ink from top to bottom",
    "slant": "the slant",
    "sharpness": "the sharpness",
    "noise": "the noise of the ground",
    EMBEDDING: "what the network itself sees in them",
}
Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Known:
    """What is remembered of one version: its eyes, and its first pictures once they are complete."""

    version: int
    embed: Embed | None
    first: Profile
    until: datetime
    pictures: int


@dataclass(frozen=True)
class Sides:
    """How many different pictures of a version there are at first and newly, and their profiles if enough."""

    version: int | None
    first: int
    newest: int
    profiles: tuple[Profile, Profile] | None


@dataclass
class Looker:
    """Compares a champion's newest pictures with its first ones; threads may share it."""

    parts: "Parts"
    _known: Known | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def profiles(self, rule: Rule, now: datetime) -> tuple[Profile, Profile] | None:
        """The first and the newest pictures that `look` would compare; None while there are too few."""
        with self._lock:
            return self._sides(rule, now).profiles

    def look(self, rule: Rule, now: datetime) -> Comparison | None:
        """The champion's newest pictures in the rule's window against its first; None without a champion."""
        with self._lock:
            sides = self._sides(rule, now)
        if sides.version is None:
            return None
        measures = compare(*sides.profiles, TEXTS, level_of(rule)) if sides.profiles is not None else ()
        return Comparison(sides.version, sides.first, sides.newest, measures)

    def _sides(self, rule: Rule, now: datetime) -> Sides:
        name = self.parts.rules.model
        with self.parts.database.read() as connection:
            champion = promotion_history.latest(connection, name)
        if champion is None:
            return Sides(None, 0, 0, None)
        known, shown = self._first(champion.to_version)
        if known is None:
            return Sides(champion.to_version, shown, 0, None)
        with self.parts.database.read() as connection:
            span = (max(known.until, now - rule.window), now)
            newest = input_samples.newest(connection, name, champion.to_version, span, NEWEST_ANSWERS, SAMPLE)
        few = min(shown, len(newest.pngs)) < max(2, min(rule.min_samples, SAMPLE))
        both = None if few else (known.first, _profile(newest.pngs, known.embed))
        return Sides(champion.to_version, shown, len(newest.pngs), both)

    def _first(self, version: int) -> tuple[Known | None, int]:
        """What is known of the version's first pictures, and how many there are so far."""
        if self._known is not None and self._known.version == version:
            return self._known, self._known.pictures
        with self.parts.database.read() as connection:
            first = input_samples.first(connection, self.parts.rules.model, version, FIRST_ANSWERS, SAMPLE)
        if first.answers < FIRST_ANSWERS or first.until is None:
            return None, len(first.pngs)
        embed = self._eyes(version)
        self._known = Known(version, embed, _profile(first.pngs, embed), first.until, len(first.pngs))
        return self._known, self._known.pictures

    def _eyes(self, version: int) -> Embed | None:
        """The version's network below its last layer; None where it has no such part, and plain numbers must do."""
        from pipelines.engines.embedding import Embedder
        from pipelines.engines.torch_engine import load

        family = self.parts.family
        path = self.parts.catalog.download(family.name, version, self.parts.model_cache) / MODEL_FILE
        try:
            return Embedder(load(path, family.classes))
        except ModelFormatError as error:
            log.warning("pictures of version %d are compared by plain numbers only: %s", version, error)
            return None


def _profile(pngs: Sequence[bytes], embed: Embed | None) -> Profile:
    images = np.stack([from_png(png) for png in pngs])
    return Profile(image_stats(images), None if embed is None else embed(images))
