"""Compares a version's newest inputs with its first ones, measure by measure.

Each measure says how far apart the two samples lie, from 0 to 1, in one currency: the share of pictures that would have
to be others to make the two alike (total variation), as far as that measure can see it. And it says how likely luck
alone puts them so far apart.

- A plain number of each picture, such as its mean light: the statistic of Kolmogorov and Smirnov and its p-value.
- The network's embedding: a classifier two-sample test (Lopez-Paz and Oquab 2017). How much better than a coin does a
  classifier tell a picture's sample when it has learnt from all others but that picture? The classifier is a kernel
  ridge (Gaussian, of the median distance, as in Gretton et al. 2012), because leaving out each picture once, and
  permuting the samples thousands of times, are then matrix products. The p-value is by permutation, hence exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, fsum, lgamma
from typing import TYPE_CHECKING, Final

from monitors.statistics.permutation_test import permutation_p_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

EMBEDDING: Final = "embedding"
RIDGE_PENALTY: Final = 1.0


@dataclass(frozen=True, eq=False)
class FeatureSample:
    """What is known of a sample of n pictures: plain numbers (n,) by name, and the embedding (n, d) if there is one."""

    features: "Mapping[str, Floats]"
    embedding: "Floats | None" = None


@dataclass(frozen=True)
class DistanceTest:
    """How far apart two samples lie by one measure, from 0 to 1, and its p-value; `text` says what is measured."""

    name: str
    text: str
    distance: float
    p_value: float


@dataclass(frozen=True)
class InputComparison:
    """The newest pictures of a version against its first ones; no measures while there are too few of either."""

    version: int
    reference_count: int
    current_count: int
    tests: tuple[DistanceTest, ...] = field(default=())


def compare_samples(
    first: FeatureSample, newest: FeatureSample, texts: Mapping[str, str], smallest: float
) -> tuple[DistanceTest, ...]:
    """Every measure of two samples; `smallest` is the least level at which all of them together are to be proved.

    Equally many pictures of each are used, the first of the longer sample.
    """
    measured = [
        _ks_test(name, texts.get(name, name), first.features[name], newest.features[name]) for name in first.features
    ]
    if first.embedding is not None and newest.embedding is not None:
        level = smallest / (len(measured) + 1)
        apart, p = classifier_two_sample_test(first.embedding, newest.embedding, level)
        measured.append(DistanceTest(EMBEDDING, texts.get(EMBEDDING, EMBEDDING), apart, p))
    return tuple(measured)


def _ks_test(name: str, text: str, first: "Floats", newest: "Floats") -> DistanceTest:
    import numpy as np

    each = min(len(first), len(newest))
    sides = [np.sort(side[:each]) for side in (first, newest)]
    every = np.concatenate(sides)
    below, above = (np.searchsorted(side, every, side="right") for side in sides)
    steps = int(np.abs(below - above).max())
    return DistanceTest(name, text, steps / each, ks_p_value(each, steps))


def ks_p_value(n: int, steps: int) -> float:
    """The chance that two samples of n differ somewhere by so many values or more (Gnedenko and Korolyuk 1951).

    Exact where no two values are equal, and otherwise no smaller than the true chance.
    """
    if steps == 0:
        return 1.0
    terms = (
        (1 if fold % 2 else -1) * exp(2 * lgamma(n + 1) - lgamma(n - fold * steps + 1) - lgamma(n + fold * steps + 1))
        for fold in range(1, n // steps + 1)
    )
    return min(1.0, max(0.0, 2 * fsum(terms)))


def classifier_two_sample_test(first: "Floats", newest: "Floats", level: float, seed: int = 0) -> tuple[float, float]:
    """How far apart two samples of d numbers lie, and the p-value that they come from one distribution.

    `level` is the least one to be proved.
    """
    import numpy as np

    each = min(len(first), len(newest))
    unfit, own = _leave_one_out_residuals(np.concatenate([first[:each], newest[:each]]).astype(np.float64))
    sides = np.repeat(np.array([1, -1], dtype=np.float32), each)
    generator = np.random.default_rng(seed)

    def advantage(marks: "NDArray[np.float32]") -> "NDArray[np.float64]":
        predicted = marks - (marks @ unfit) / own
        right: NDArray[np.float64] = ((predicted > 0) == (marks > 0)).mean(axis=-1)
        return 2 * right - 1

    def draw(times: int) -> "NDArray[np.float64]":
        return advantage(generator.permuted(np.broadcast_to(sides, (times, 2 * each)), axis=1))

    apart = float(advantage(sides))
    return max(0.0, apart), permutation_p_value(apart, draw, level)


def _leave_one_out_residuals(rows: "NDArray[np.float64]") -> "tuple[NDArray[np.float32], NDArray[np.float32]]":
    """What a kernel ridge leaves unfitted: the matrix that gives residuals of all marks at once, and its diagonal.

    The residual of a row by a ridge that never saw it is the ridge's own residual over the diagonal.
    """
    import numpy as np

    squares = np.einsum("ij,ij->i", rows, rows)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * rows @ rows.T, 0)
    between = distances[np.triu_indices(len(rows), 1)]
    width = float(np.median(between)) or float(between.mean()) or 1.0
    unfit = np.linalg.inv(np.exp(-distances / width) + 1 + RIDGE_PENALTY * np.eye(len(rows))).astype(np.float32)
    return unfit, np.ascontiguousarray(np.diag(unfit))
