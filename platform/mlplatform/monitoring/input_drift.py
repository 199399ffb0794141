"""Compares the champion's newest inputs with its first ones, as plain numbers and as the model's own embedding.

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
from mlplatform.predictions.stored_image import decode_png
from mlplatform.promotion import promotion_history
from monitors.decisions.drift import MAX_COMPARED_INPUTS, REFERENCE_PREDICTIONS, evaluation_level
from monitors.rules.alerts_config import Rule
from monitors.statistics.two_sample import EMBEDDING, FeatureSample, InputComparison, compare_samples
from pipelines.errors import ModelFormatError
from pipelines.image.image_statistics import image_statistics
from registry.model_package import MODEL_FILE

if TYPE_CHECKING:
    from mlplatform.context import AppContext

log = logging.getLogger(__name__)
NEWEST_PREDICTIONS: Final = 5_000
"""So many of the window's newest answers are what its pictures are drawn from."""
FEATURE_NAMES: Final = {
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
class ReferenceProfile:
    """What is remembered of one version: its eyes, and its first pictures once they are complete."""

    version: int
    embed: Embed | None
    sample: FeatureSample
    until: datetime
    input_count: int


@dataclass(frozen=True)
class SamplePair:
    """How many different pictures of a version there are at first and newly, and their profiles if enough."""

    version: int | None
    reference_count: int
    newest_count: int
    profiles: tuple[FeatureSample, FeatureSample] | None


@dataclass
class InputDriftMonitor:
    """Compares a champion's newest pictures with its first ones; threads may share it."""

    context: "AppContext"
    _reference: ReferenceProfile | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def profiles(self, rule: Rule, now: datetime) -> tuple[FeatureSample, FeatureSample] | None:
        """The first and the newest pictures that `compare` compares; None while there are too few."""
        with self._lock:
            return self._sample_pair(rule, now).profiles

    def compare(self, rule: Rule, now: datetime) -> InputComparison | None:
        """The champion's newest pictures in the rule's window against its first; None without a champion."""
        with self._lock:
            sides = self._sample_pair(rule, now)
        if sides.version is None:
            return None
        measures = (
            compare_samples(*sides.profiles, FEATURE_NAMES, evaluation_level(rule))
            if sides.profiles is not None
            else ()
        )
        return InputComparison(sides.version, sides.reference_count, sides.newest_count, measures)

    def _sample_pair(self, rule: Rule, now: datetime) -> SamplePair:
        name = self.context.rules.model
        with self.context.database.read() as connection:
            champion = promotion_history.latest_promotion(connection, name)
        if champion is None:
            return SamplePair(None, 0, 0, None)
        reference, reference_count = self._load_reference(champion.to_version)
        if reference is None:
            return SamplePair(champion.to_version, reference_count, 0, None)
        with self.context.database.read() as connection:
            span = (max(reference.until, now - rule.window), now)
            newest = input_samples.latest_sample(
                connection, name, champion.to_version, span, NEWEST_PREDICTIONS, MAX_COMPARED_INPUTS
            )
        few = min(reference_count, len(newest.pngs)) < max(2, min(rule.min_samples, MAX_COMPARED_INPUTS))
        both = None if few else (reference.sample, _feature_sample(newest.pngs, reference.embed))
        return SamplePair(champion.to_version, reference_count, len(newest.pngs), both)

    def _load_reference(self, version: int) -> tuple[ReferenceProfile | None, int]:
        """What is known of the version's first pictures, and how many there are so far."""
        if self._reference is not None and self._reference.version == version:
            return self._reference, self._reference.input_count
        with self.context.database.read() as connection:
            first = input_samples.earliest_sample(
                connection, self.context.rules.model, version, REFERENCE_PREDICTIONS, MAX_COMPARED_INPUTS
            )
        if first.prediction_count < REFERENCE_PREDICTIONS or first.until is None:
            return None, len(first.pngs)
        embed = self._embedder(version)
        self._reference = ReferenceProfile(
            version, embed, _feature_sample(first.pngs, embed), first.until, len(first.pngs)
        )
        return self._reference, self._reference.input_count

    def _embedder(self, version: int) -> Embed | None:
        """The version's network below its last layer; None where it has no such part, and plain numbers must do."""
        from pipelines.engines.embedding import Embedder
        from pipelines.engines.torch_engine import load_torch_engine

        family = self.context.pipeline
        path = self.context.catalog.download(family.name, version, self.context.model_cache) / MODEL_FILE
        try:
            return Embedder(load_torch_engine(path, family.classes))
        except ModelFormatError as error:
            log.warning("pictures of version %d are compared by plain numbers only: %s", version, error)
            return None


def _feature_sample(pngs: Sequence[bytes], embed: Embed | None) -> FeatureSample:
    images = np.stack([decode_png(png) for png in pngs])
    return FeatureSample(image_statistics(images), None if embed is None else embed(images))
