"""Simulated networks and rows on which the attacks on the gate and its tests agree.

Two networks are simulated by their margins: what a picture shows both of them, and what each sees by itself. Each is
wrong where its margin is negative, and in doubt where it is near zero.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from monitors.statistics.review_sampling import CONFIDENCE_CUTS, make_sampling_plan, stratum_of
from registry.gate.paired_comparison import PairedPredictions

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating]
_OWN_SHARE: Final = 0.35
"""What a network sees by itself, in standard deviations of what a picture shows to both."""
_STRATA: Final = tuple(stratum_of("0", confidence) for confidence in (0.0, *CONFIDENCE_CUTS))


@dataclass(frozen=True)
class NetworkPair:
    """Where each of two networks is wrong, (n,), and the band of the champion's confidence."""

    champion_wrong: Bools
    candidate_wrong: Bools
    bands: NDArray[np.int64]


def equal_networks(generator: np.random.Generator, answers: int, accuracy: float = 0.98) -> NetworkPair:
    """Two networks of the same accuracy, each with errors of its own."""
    spread = float(np.hypot(1, _OWN_SHARE))
    shown = float(special.ndtri(accuracy)) * spread + generator.standard_normal(answers)
    champion, candidate = (shown + _OWN_SHARE * generator.standard_normal(answers) for _ in range(2))
    confidence = special.expit(4 * np.abs(champion))
    return NetworkPair(champion < 0, candidate < 0, np.digitize(confidence, CONFIDENCE_CUTS))


def better_in_doubtful_answers(generator: np.random.Generator, answers: int) -> NetworkPair:
    """A candidate that gains 10 points in the tenth that the champion doubts, and loses 2.2 in all others."""
    doubtful = generator.random(answers) < 0.1
    wrong = generator.random(answers) < np.where(doubtful, 0.15, 0.005)
    luck = generator.random(answers)
    candidate = np.where(doubtful, wrong & (luck > 0.10 / 0.15), wrong | (luck < 0.022))
    return NetworkPair(wrong, candidate, np.where(doubtful, 0, len(CONFIDENCE_CUTS)))


def drawn_rows(generator: np.random.Generator, world: NetworkPair, drawn: int) -> PairedPredictions:
    """The answers that the shipped plan draws, each with the share that its label counts."""
    counts = np.bincount(world.bands, minlength=len(_STRATA))
    wrong = np.bincount(world.bands, world.champion_wrong, len(_STRATA)) / np.maximum(counts, 1)
    answers, errors = (dict(zip(_STRATA, each.tolist(), strict=True)) for each in (counts, wrong))
    plan = make_sampling_plan(drawn, answers, errors)
    chances = np.array([plan.chance(name) for name in _STRATA])[world.bands]
    taken = generator.random(len(chances)) < chances
    labels = np.zeros(int(taken.sum()), np.int64)
    champion, candidate = (each[taken].astype(np.int64) for each in (world.champion_wrong, world.candidate_wrong))
    return PairedPredictions(labels, champion, candidate, "feedback", plan.uniform / chances[taken])


def discordant_rows(
    generator: np.random.Generator, n: int, lost: float, gained: float, origin: str = "golden", classes: int = 1
) -> PairedPredictions:
    """Rows of which one model alone gets these shares right; both get the others right."""
    labels, luck = generator.integers(0, classes, n), generator.random(n)
    other = (labels + 1) % max(2, classes)
    champion = np.where((luck >= lost) & (luck < lost + gained), other, labels)
    return PairedPredictions(labels, champion, np.where(luck < lost, other, labels), origin)


def days_of_chances(generator: np.random.Generator, per_day: int, differing: Floats, wins: Floats) -> PairedPredictions:
    """Days on each of which the models differ on rows with one chance, and the candidate wins those with another."""
    labels = np.zeros(len(differing) * per_day, np.int64)
    champion, candidate = labels.copy(), labels.copy()
    differs = generator.random(len(labels)) < np.repeat(differing, per_day)
    won = generator.random(len(labels)) < np.repeat(wins, per_day)
    champion[differs & won], candidate[differs & ~won] = 1, 1
    return PairedPredictions(
        labels, champion, candidate, "golden", blocks=np.repeat(np.arange(len(differing)), per_day)
    )


def kinds_of_days(kind: str, generator: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Each day's chance that the models differ, and that the candidate wins: 2 points are truly lost, by all kinds."""
    if kind == "rows differ alike":
        return np.full(count, 0.02), np.zeros(count)
    if kind == "a day has one winner":
        return np.full(count, 0.05), (generator.random(count) < 0.3).astype(np.float64)
    if kind == "days differ unlike":
        return np.minimum(generator.gamma(1, 0.02, count), 1.0), np.zeros(count)
    if kind == "unlike, and one winner":
        return np.minimum(generator.gamma(1, 0.04, count), 1.0), (generator.random(count) < 0.25).astype(np.float64)
    return np.where(generator.random(count) < 0.2, 0.1, 0.0), np.zeros(count)


KINDS_OF_DAYS: Final = (
    "rows differ alike",
    "a day has one winner",
    "days differ unlike",
    "unlike, and one winner",
    "one bad day of five",
)
