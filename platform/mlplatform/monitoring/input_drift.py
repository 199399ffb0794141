"""Compares the champion's newest inputs with those of its first days, as plain numbers and as the network sees them.

Slow, some seconds: it never runs in a transaction. Nothing is remembered: the store keeps the pictures of the first
days that are drawn from, those of the first predictions of every hour, whatever retention removes.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mlplatform.monitoring.reference_inputs import (
    MAX_SAMPLED_PREDICTIONS,
    equal_pieces,
    matching_hours,
    per_hour,
    reference_hours,
    reference_period,
)
from mlplatform.predictions.input_samples import SampledInput, sample_inputs
from mlplatform.promotion import promotion_history
from monitors.decisions.drift import MAX_COMPARED_INPUTS, evaluation_level
from monitors.rules.alerts_config import Rule
from monitors.statistics.two_sample import EMBEDDING, FeatureSample, InputComparison, cluster_counts, compare_samples
from pipelines.batch import Batch
from pipelines.errors import ModelFormatError
from pipelines.inputs.codec_of import codec_of
from registry.model_contract import ImageInputs
from registry.model_package import MODEL_FILE, read_contract
from registry.prediction_task import Classification

if TYPE_CHECKING:
    from mlplatform.context import AppContext

log = logging.getLogger(__name__)
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
MIN_CLIENTS: Final = 20
"""From so many clients in either sample on, a client's pictures count as a whole; before, a request's do."""
Embed = Callable[[Batch], NDArray[np.float32]]
Floats = NDArray[np.float64]
Measures = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class SamplePair:
    """How many different pictures of a version its reference and the window hold, and their profiles if enough.

    `cluster_noun`: what the pictures came from, each of which counts as a whole.
    """

    version: int | None
    reference_count: int
    newest_count: int
    profiles: tuple[FeatureSample, FeatureSample] | None
    is_reference_complete: bool = True
    cluster_noun: str = ""


@dataclass
class InputDriftMonitor:
    """Compares a champion's newest pictures with its first ones; threads may share it."""

    context: "AppContext"
    _embedder_of: tuple[int, Embed | None] | None = None
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
        if sides.profiles is None:
            return InputComparison(
                sides.version,
                sides.reference_count,
                sides.newest_count,
                is_reference_complete=sides.is_reference_complete,
            )
        return InputComparison(
            sides.version,
            sides.reference_count,
            sides.newest_count,
            compare_samples(*sides.profiles, FEATURE_NAMES, evaluation_level(rule)),
            clusters=cluster_counts(*sides.profiles),
            cluster_noun=sides.cluster_noun,
        )

    def _sample_pair(self, rule: Rule, now: datetime) -> SamplePair:
        name = self.context.rules.model
        with self.context.database.read() as connection:
            champion = promotion_history.latest_promotion(connection, name)
            if champion is None:
                return SamplePair(None, 0, 0, None)
            version = champion.to_version
            contract = self.context.contracts.of(connection, name, version)
            codec = codec_of(contract.inputs)
            period = reference_period(connection, name, version, rule.reference)
            window = period.comparable_window(now - rule.window, now)
            hours = reference_hours(period) if window is None else matching_hours(period, window)
            first = sample_inputs(connection, name, version, hours, per_hour(period), MAX_COMPARED_INPUTS)
            if window is None:
                return SamplePair(version, len(first), 0, None, is_reference_complete=False)
            pieces = equal_pieces(*window)
            newest = sample_inputs(
                connection, name, version, pieces, MAX_SAMPLED_PREDICTIONS // len(pieces), MAX_COMPARED_INPUTS
            )
        if min(len(first), len(newest)) < max(2, min(rule.min_samples, MAX_COMPARED_INPUTS)):
            return SamplePair(version, len(first), len(newest), None)
        embed = self._embedder(version) if isinstance(contract.inputs, ImageInputs) else None
        noun, clusters = _clusters(rule.by, first, newest)
        batches = [codec.unpack([row.content for row in side]) for side in (first, newest)]
        measures = comparable_measures(codec.measures(batches[0]), codec.measures(batches[1]))
        of_first, of_newest = (
            FeatureSample(features, None if embed is None else embed(batch), named)
            for features, batch, named in zip(measures, batches, clusters, strict=True)
        )
        return SamplePair(version, len(first), len(newest), (of_first, of_newest), cluster_noun=noun)

    def _embedder(self, version: int) -> Embed | None:
        """The version's network below its last layer, loaded once; None where it has no such part."""
        if self._embedder_of is None or self._embedder_of[0] != version:
            self._embedder_of = version, self._load_embedder(version)
        return self._embedder_of[1]

    def _load_embedder(self, version: int) -> Embed | None:
        from pipelines.engines.embedding import Embedder
        from pipelines.engines.torch_engine import load_torch_engine

        folder = self.context.catalog.download(self.context.model_name, version, self.context.model_cache)
        contract = read_contract(folder)
        if not isinstance(contract.task, Classification):  # what reads texts has no PyTorch graph
            return None
        try:
            return Embedder(load_torch_engine(folder / MODEL_FILE, contract.classes))
        except ModelFormatError as error:
            log.warning("pictures of version %d are compared by plain numbers only: %s", version, error)
            return None


def _clusters(
    tag: str | None, first: Sequence[SampledInput], newest: Sequence[SampledInput]
) -> tuple[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """What the pictures of both samples came from, in words and by picture.

    The tag that the rule names; else the client, where either sample has enough of them; else the request. An input
    without the tag or the client belongs to its request.
    """

    def named(name: Callable[[SampledInput], str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        before, now = (
            tuple(f"name {name(row)}" if name(row) else f"request {row.request}" for row in side)
            for side in (first, newest)
        )
        return before, now

    if tag is not None:
        return f"value of {tag}", named(lambda row: row.tags.get(tag, ""))
    clients = named(lambda row: row.client_id)
    if min(len({name for name in side if name.startswith("name ")}) for side in clients) >= MIN_CLIENTS:
        return "client", clients
    return "request", named(lambda _: "")


def comparable_measures(first: Measures, newest: Measures) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """The measures of two samples as numbers that can be ordered: names as their places, missing values above all."""
    sides: tuple[dict[str, Floats], dict[str, Floats]] = ({}, {})
    for name in first:
        pair = first[name], newest[name]
        if pair[0].dtype == np.dtype(object):
            places = {value: place for place, value in enumerate(sorted({*pair[0], *pair[1]}))}
            pair = _placed(pair[0], places), _placed(pair[1], places)
        for side, values in zip(sides, pair, strict=True):
            side[name] = np.nan_to_num(values, nan=np.inf)
    return sides


def _placed(names: NDArray[Any], places: Mapping[str, int]) -> Floats:
    return np.array([places[name] for name in names], dtype=np.float64)
