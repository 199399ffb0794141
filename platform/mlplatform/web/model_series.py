"""Reads how a model did over a time: accuracy with its limits, volume and latency, from counts that are kept anyway."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Final

from sqlalchemy import Connection

from mlplatform.feedback.outcome_counts import BOTH_SOURCES, TimedOutcomes, outcomes_over_time
from mlplatform.predictions.prediction_counts import TimedCounts, counts_over_time, minute_index, minute_start
from mlplatform.promotion.promotion_history import Promotion
from mlplatform.web.time_ranges import TimeRange
from monitors.statistics.intervals import clopper_pearson
from monitors.windows.latency_bins import BinCounts, bin_of_rank, latency_bin_limits

CONFIDENCE: Final = 0.975
"""Of each end of a band: both ends hold together in 95 of 100 stretches."""
MAX_VERSIONS: Final = 20
"""Newest versions whose counts are read; more have hardly served in one range."""


@dataclass(frozen=True)
class Accuracy:
    """The estimated accuracy of a stretch of time with its limits, from `n` labels."""

    at: datetime
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ModelSeries:
    """What was counted, by stretches of the range, oldest first."""

    source: str
    """The kind of labels that estimate accuracy: audit or delayed, whichever there are more of; empty without any."""
    outcomes: Sequence[TimedOutcomes]
    counts: Sequence[TimedCounts]

    @property
    def accuracy(self) -> list[Accuracy]:
        """One estimate for each stretch with labels."""
        stretches: dict[int, list[TimedOutcomes]] = defaultdict(list)
        for cell in self.outcomes:
            stretches[cell.minute].append(cell)
        return [estimate for minute, cells in stretches.items() if (estimate := estimate_accuracy(minute, cells))]

    @property
    def overall(self) -> Accuracy | None:
        """One estimate of the whole range."""
        return estimate_accuracy(self.outcomes[0].minute, self.outcomes) if self.outcomes else None

    def since(self, moment: datetime) -> "ModelSeries":
        """What was counted in the stretches that begin then or later."""
        first = minute_index(moment)
        return ModelSeries(
            self.source,
            [cell for cell in self.outcomes if cell.minute >= first],
            [counted for counted in self.counts if counted.minute >= first],
        )

    @property
    def overall_latency(self) -> BinCounts:
        """The latencies of the whole range by bin."""
        return sum((counted.latency for counted in self.counts), Counter[int]())

    @property
    def volume(self) -> list[tuple[datetime, int]]:
        """Predictions of each stretch that had any."""
        totals = Counter[int]()
        for counted in self.counts:
            totals[counted.minute] += counted.answers
        return [(minute_start(minute), totals[minute]) for minute in sorted(totals)]

    def latency(self, quantile: float) -> list[tuple[datetime, float]]:
        """That quantile of each stretch in milliseconds, right to 1 %."""
        bins: dict[int, Counter[int]] = defaultdict(Counter)
        for counted in self.counts:
            bins[counted.minute].update(counted.latency)
        return [
            (minute_start(minute), value)
            for minute in sorted(bins)
            if (value := latency_quantile(bins[minute], quantile)) is not None
        ]


def load_series(
    connection: Connection, model: str, versions: Collection[int], period: TimeRange, now: datetime
) -> ModelSeries:
    """Two queries of counts; their cost follows from the range and the classes, not from the traffic."""
    minutes = period.minutes(now)
    outcomes = outcomes_over_time(connection, model, versions, minutes, period.span, period.bucket)
    counts = counts_over_time(connection, model, versions, minutes, period.span, period.bucket)
    source = _leading_source(outcomes)
    return ModelSeries(source, _of_source(outcomes, source), counts)


def serving_versions(history: Sequence[Promotion], since: datetime) -> list[int]:
    """The versions that were champion since then, from a history newest first."""
    versions: dict[int, None] = {}
    for promotion in history:
        versions[promotion.to_version] = None
        if promotion.at <= since or len(versions) == MAX_VERSIONS:
            break
    return list(versions)


def latency_quantile(bins: BinCounts, quantile: float) -> float | None:
    """That quantile in milliseconds; None where nothing was counted."""
    total = sum(bins.values())
    return latency_bin_limits(bin_of_rank(bins, max(1, ceil(quantile * total))))[1] if total else None


def estimate_accuracy(minute: int, cells: Iterable[TimedOutcomes]) -> Accuracy | None:
    """Hájek's estimate, with exact limits for as many labels of equal weight as these are worth (Kish)."""
    counted = list(cells)
    weight, wrong = sum(cell.weight for cell in counted), sum(cell.wrong_weight for cell in counted)
    squared, n = sum(cell.squared_weight for cell in counted), sum(cell.n for cell in counted)
    if not n or weight <= 0 or squared <= 0:
        return None
    effective = weight * weight / squared
    share = min(1.0, max(0.0, 1 - wrong / weight))
    low, high = clopper_pearson(share * effective, effective, CONFIDENCE)
    return Accuracy(minute_start(minute), share, low, high, n)


def _leading_source(outcomes: Iterable[TimedOutcomes]) -> str:
    labels = Counter[str]()
    for cell in outcomes:
        for source in ("audit", "delayed"):
            if source in cell.source.split("+") and cell.weight > 0:
                labels[source] += cell.n
    return labels.most_common(1)[0][0] if labels else ""


def _of_source(outcomes: Iterable[TimedOutcomes], source: str) -> list[TimedOutcomes]:
    """The labels of that source as it weighs them: a delayed one stands for itself, drawn or not."""
    if source == "audit":
        return [cell for cell in outcomes if cell.source in ("audit", BOTH_SOURCES)]
    return [
        TimedOutcomes(cell.minute, cell.source, cell.truth, cell.n, cell.wrong, cell.n, cell.wrong, cell.n)
        for cell in outcomes
        if source and cell.source in ("delayed", BOTH_SOURCES)
    ]
