"""Compares a model's accuracy between groups of rows, such as writers.

Every group is tested against all other rows (Fisher's exact test), a family of tests at a time (Holm), so that among
many groups one that is only unlucky is seldom called worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipelines.errors import DataError
from registry.gate.paired_comparison import exact_bounds, holm, square_and_add

ALPHA = 0.05
MIN_GROUP_ROWS = 20
"""A group of fewer rows is listed, and neither tested nor part of the gap."""
SIMULATIONS = 2000

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class GroupScore:
    """How one group fared, `of_class` empty where all its classes are meant."""

    group: str
    of_class: str
    rows: int
    correct: int
    low: float
    high: float
    """Exact 95 % interval of its accuracy (Clopper-Pearson)."""
    p_value: float
    """That it and the other rows are read alike well; 1 where it was not tested."""
    differs: bool
    """Whether that is refuted at 5 % for the whole family of tests (Holm)."""

    @property
    def accuracy(self) -> float:
        """Share of rows read right."""
        return self.correct / self.rows


@dataclass(frozen=True)
class WorstDecile:
    """The tenth of the groups that fared worst, beside what chance alone would show."""

    groups: int
    accuracy: float
    chance_low: float
    chance_high: float
    """Where the same number lies in 95 % of draws in which every group is read alike well."""
    p_value: float
    """The chance of a tail this bad if every group were read alike well."""


@dataclass(frozen=True)
class FactorFairness:
    """How a model fared by one factor, such as the series a writer belongs to."""

    factor: str
    groups: tuple[GroupScore, ...]
    cells: tuple[GroupScore, ...]
    """Each class within each group; empty where there are too many groups."""
    gap: float
    """Best minus worst group with enough rows; 0 with fewer than two of them."""
    gap_low: float
    gap_high: float
    """95 % interval of the gap between those two (Newcombe). They are picked as extremes of many."""
    tail: WorstDecile | None
    """Where there are twenty groups or more."""

    def as_metrics(self, prefix: str) -> dict[str, float]:
        """Names for a tracking server, each behind the factor's own."""
        metrics = {
            f"{prefix}_gap": self.gap,
            f"{prefix}_gap_low": self.gap_low,
            f"{prefix}_gap_high": self.gap_high,
            f"{prefix}_differ": float(sum(score.differs for score in self.groups)),
            f"{prefix}_cells_differ": float(sum(score.differs for score in self.cells)),
        }
        if self.tail is not None:
            metrics[f"{prefix}_worst_decile_accuracy"] = self.tail.accuracy
        return metrics


def compare_groups(
    correct: Flags, labels: NDArray[np.int64], group_tags: Sequence[str], classes: Sequence[str], factor: str
) -> FactorFairness:
    """Compare the groups of one factor: `group_tags` names the group of each of n rows, "" for none.

    Raises DataError where no row has a group or the lengths differ.
    """
    groups = np.array(group_tags, dtype=np.str_)
    if not len(correct) == len(labels) == len(groups) or not (groups != "").any():
        raise DataError(
            f"{len(correct)} answers, {len(labels)} labels and {len(groups)} tags of {factor!r} make no groups; "
            "give one of each per row, and a tag to some"
        )
    tagged = groups != ""
    correct, labels, groups = correct[tagged], labels[tagged], groups[tagged]
    names = sorted(set(groups.tolist()))
    scores = _with_holm_correction(
        [_score(correct, groups == name, np.ones(len(correct), dtype=bool), name, "") for name in names]
    )
    cells: list[tuple[GroupScore, bool]] = []
    few = len(names) <= 2 * len(classes)
    for index, of_class in enumerate(classes if few and len(names) > 1 else ()):
        among = labels == index
        cells += [
            _score(correct, groups == name, among, name, of_class) for name in names if (among & (groups == name)).any()
        ]
    best, worst = _best_and_worst(scores)
    gap, limits = 0.0, (0.0, 0.0)
    if best is not None and worst is not None:
        gap = best.accuracy - worst.accuracy
        limits = square_and_add((best.accuracy, best.low, best.high), (worst.accuracy, worst.low, worst.high))
    tail = _worst_decile(scores) if len(scores) >= 20 else None
    return FactorFairness(factor, scores, _with_holm_correction(cells), gap, *limits, tail)


def _score(right: Flags, inside: Flags, among: Flags, group: str, of_class: str) -> tuple[GroupScore, bool]:
    """The group's rows against the other rows among them, and whether it can be tested."""
    mine, others = right[inside & among], right[~inside & among]
    hits, rows = int(mine.sum()), len(mine)
    low, high = exact_bounds(hits, rows, ALPHA / 2)
    tested = rows >= MIN_GROUP_ROWS and len(others) >= MIN_GROUP_ROWS
    p_value = 1.0
    if tested:
        table = [[hits, rows - hits], [int(others.sum()), len(others) - int(others.sum())]]
        p_value = float(stats.fisher_exact(table).pvalue)
    return GroupScore(group, of_class, rows, hits, low, high, p_value, False), tested


def _with_holm_correction(scores: Sequence[tuple[GroupScore, bool]]) -> tuple[GroupScore, ...]:
    family = [score for score, tested in scores if tested]
    rejected = dict(zip(map(id, family), holm([tested_score.p_value for tested_score in family], ALPHA), strict=True))
    return tuple(_with_difference(score, rejected.get(id(score), False)) for score, _ in scores)


def _with_difference(score: GroupScore, differs: bool) -> GroupScore:
    return GroupScore(
        score.group, score.of_class, score.rows, score.correct, score.low, score.high, score.p_value, differs
    )


def _best_and_worst(scores: Sequence[GroupScore]) -> tuple[GroupScore | None, GroupScore | None]:
    full = sorted((score for score in scores if score.rows >= MIN_GROUP_ROWS), key=lambda score: score.accuracy)
    return (full[-1], full[0]) if len(full) > 1 else (None, None)


def _worst_decile(scores: Sequence[GroupScore], seed: int = 0) -> WorstDecile:
    """Mean accuracy of the worst tenth of groups; picked as the worst, so it is held against chance."""
    rows = np.array([score.rows for score in scores])
    shares = np.array([score.correct for score in scores]) / rows
    worst = max(1, len(scores) // 10)
    observed = float(np.sort(shares)[:worst].mean())
    whole = sum(score.correct for score in scores) / int(rows.sum())
    drawn = np.random.default_rng(seed).binomial(rows, whole, (SIMULATIONS, len(rows))) / rows
    tails = np.sort(drawn, axis=1)[:, :worst].mean(axis=1)
    low, high = np.quantile(tails, [ALPHA / 2, 1 - ALPHA / 2])
    p_value = (1 + int((tails <= observed).sum())) / (SIMULATIONS + 1)
    return WorstDecile(worst, observed, float(low), float(high), p_value)
