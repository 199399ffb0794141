"""Statistics of labelled rows as one number: macro F1, calibration error, negative log-likelihood; all weighted."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from monitors.errors import MetricsError
from monitors.windows.jackknife import RowStatistic
from monitors.windows.window import Row

BINS: Final = 15
"""Equally wide, as the gate measures calibration on the golden set."""
MIN_LABELS_PER_BIN: Final = 100
PROBABILITY_FLOOR: Final = 1e-6
"""The smallest probability that counts as such: no row adds more than 13.8 nats to a negative log-likelihood."""
_HALF_NORMAL_MEAN: Final = math.sqrt(2 / math.pi)
"""The mean absolute value of a standard normal variable."""


def macro_f1_statistic(rows: Sequence[Row]) -> RowStatistic:
    """The mean F1 of the classes that occur among these rows' truths, as a function of some of the rows.

    The classes stay the same for every part of the rows: else a rare one would jump in and out of the mean.
    """
    classes = sorted({row.truth for row in rows if row.truth is not None})

    def statistic(part: Sequence[Row]) -> float:
        right, truths, answers = Counter[str](), Counter[str](), Counter[str]()
        for row in part:
            truths[row.truth or ""] += row.weight  # type: ignore[assignment]
            answers[row.label] += row.weight  # type: ignore[assignment]
            if row.correct:
                right[row.label] += row.weight  # type: ignore[assignment]
        scores = [2 * right[name] / both for name in classes if (both := truths[name] + answers[name])]
        return math.fsum(scores) / len(scores) if scores else 0.0

    return statistic


def calibration_error_statistic(rows: Sequence[Row]) -> RowStatistic:
    """The expected calibration error beyond what luck gives a calibrated model, as a function of some of these rows.

    The mean gap between confidence and accuracy over BINS bins (Naeini, Cooper, Hauskrecht 2015) is biased: luck alone
    opens a gap in every bin, the more the fewer labels it holds (Broecker, Smith 2007). So neighbouring bins are put
    together until they hold MIN_LABELS_PER_BIN labels, which makes no error larger, and the mean gap of luck is taken
    off. The mean of what is left is at most the true error.
    """
    places = _merge_bins(rows)

    def statistic(part: Sequence[Row]) -> float:
        bins: dict[int, list[Row]] = defaultdict(list)
        for row in part:
            bins[places[_bin_index(row)]].append(row)
        whole = math.fsum(row.weight for row in part)
        return max(0.0, math.fsum(_gap_beyond_chance(bin_rows) for bin_rows in bins.values()) / whole) if whole else 0.0

    return statistic


def negative_log_likelihood_statistic(_rows: Sequence[Row]) -> RowStatistic:
    """The mean of -log p(true class) in nats, as a function of some of the rows: 0 is certain and right.

    p is the probability that the model gave the true class, from below clipped at PROBABILITY_FLOOR, so that one
    certain mistake cannot be infinitely bad. Raises MetricsError for a row without it.
    """

    def statistic(part: Sequence[Row]) -> float:
        losses = list[float]()
        for row in part:
            if row.truth_probability is None:
                raise MetricsError(
                    f"the probabilities of prediction {row.prediction_id} are not kept; choose another metric"
                )
            losses.append(-row.weight * math.log(max(row.truth_probability, PROBABILITY_FLOOR)))
        weight = math.fsum(row.weight for row in part)
        return math.fsum(losses) / weight if weight else 0.0

    return statistic


def _bin_index(row: Row) -> int:
    return min(BINS - 1, int(row.confidence * BINS))


def _merge_bins(rows: Sequence[Row]) -> list[int]:
    """For each bin the first of those it is put together with."""
    weights, squares = Counter[int](), Counter[int]()
    for row in rows:
        weights[_bin_index(row)] += row.weight  # type: ignore[assignment]
        squares[_bin_index(row)] += row.weight**2  # type: ignore[assignment]
    places, first, last = [], 0, 0
    for place in range(BINS):
        if _effective_labels(weights, squares, range(first, place)) >= MIN_LABELS_PER_BIN:
            last, first = first, place
        places.append(first)
    if _effective_labels(weights, squares, range(first, BINS)) < MIN_LABELS_PER_BIN:
        places = [last if place == first else place for place in places]
    return places


def _effective_labels(weights: Counter[int], squares: Counter[int], bins: range) -> float:
    """How many labels of one weight would be worth as much as those in these bins (Kish)."""
    weight, square = sum(weights[place] for place in bins), sum(squares[place] for place in bins)
    return weight**2 / square if square else 0.0


def _gap_beyond_chance(rows: Sequence[Row]) -> float:
    """The gap of one bin, times its weight, less the mean size that luck gives it."""
    weight = math.fsum(row.weight for row in rows)
    gap = abs(math.fsum(row.weight * (row.confidence - row.correct) for row in rows))
    squares = math.fsum(row.weight**2 for row in rows)
    accuracy = math.fsum(row.weight for row in rows if row.correct) / weight
    claimed = math.fsum(row.weight * row.confidence * (1 - row.confidence) for row in rows) / weight
    return gap - _HALF_NORMAL_MEAN * math.sqrt(max(claimed, accuracy * (1 - accuracy)) * squares)
