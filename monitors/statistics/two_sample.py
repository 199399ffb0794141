"""Compares a version's newest inputs with those of its first days, measure by measure.

Each measure says how far apart the two samples lie, from 0 to 1, in one currency: the share of pictures that would have
to be others to make the two alike (total variation), as far as that measure can see it. And it says how likely luck
alone puts them so far apart.

- A plain number of each picture, such as its mean light: the statistic of Kolmogorov and Smirnov and its p-value.
- The network's embedding: a classifier two-sample test (Lopez-Paz and Oquab 2017). How much better than a coin does a
  classifier tell a picture's sample when it has learnt from all others but that picture? The classifier is a kernel
  ridge (Gaussian, of the median distance, as in Gretton et al. 2012), because leaving out each picture once, and
  permuting the samples thousands of times, are then matrix products. The p-value is by permutation, hence exact.

Pictures that belong together (of one client, one request, one writer) are a cluster: they are left out together, or a
picture's siblings would tell its sample, and permuted together, since ten pictures of one hand are not ten witnesses.
Then every p-value is by permutation of whole clusters of a sample, and from each distance is taken off what luck makes
of it (`monitors.statistics.class_mix`). It is exact where clusters are exchangeable; a cluster that lies in both of the
samples makes it careful.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import exp, fsum, lgamma
from typing import TYPE_CHECKING, Final

from monitors.statistics.permutation_test import MIN_LEVEL, permutation_p_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

EMBEDDING: Final = "embedding"
RIDGE_PENALTY: Final = 1.0
MIN_CLUSTERS: Final = 10
"""From so many clusters in either sample on, permutations can prove a difference."""
LUCK_DRAWS: Final = 200


@dataclass(frozen=True, eq=False)
class FeatureSample:
    """What is known of a sample of n pictures: plain numbers (n,) by name, and the embedding (n, d) if there is one.

    `clusters` names what each picture belongs to; nothing where each stands for itself.
    """

    features: "Mapping[str, Floats]"
    embedding: "Floats | None" = None
    clusters: tuple[str, ...] = ()


@dataclass(frozen=True)
class DistanceTest:
    """How far apart two samples lie by one measure, from 0 to 1, and its p-value; `text` says what is measured."""

    name: str
    text: str
    distance: float
    p_value: float


@dataclass(frozen=True)
class InputComparison:
    """The newest pictures of a version against those of its first days.

    No measures while the first days are not over (`is_reference_complete`), or while there are too few pictures of
    either. `clusters` says how many of what noun the pictures of either sample came from, where they are clustered.
    """

    version: int
    reference_count: int
    current_count: int
    tests: tuple[DistanceTest, ...] = field(default=())
    is_reference_complete: bool = True
    clusters: tuple[int, int] | None = None
    cluster_noun: str = ""


def compare_samples(
    first: FeatureSample, newest: FeatureSample, texts: Mapping[str, str], smallest: float
) -> tuple[DistanceTest, ...]:
    """Every measure of two samples; `smallest` is the least level at which all of them together are to be proved.

    Equally many pictures of each are used, the first of the longer sample.
    """
    clusters = _Clusters.of(first, newest)
    if clusters is not None:
        return _compare_clusters(first, newest, texts, smallest, clusters)
    measured = [
        _ks_test(name, texts.get(name, name), first.features[name], newest.features[name]) for name in first.features
    ]
    if first.embedding is not None and newest.embedding is not None:
        level = smallest / (len(measured) + 1)
        apart, p = classifier_two_sample_test(first.embedding, newest.embedding, level)
        measured.append(DistanceTest(EMBEDDING, texts.get(EMBEDDING, EMBEDDING), apart, p))
    return tuple(measured)


@dataclass(frozen=True, eq=False)
class _Clusters:
    """Which cluster each of the pooled pictures belongs to, and which part of it in its own sample (`units`).

    The units of the first sample are numbered from 0 to `first_units`.
    """

    numbers: "NDArray[np.int64]"
    units: "NDArray[np.int64]"
    first_units: int
    unit_count: int

    @classmethod
    def of(cls, first: FeatureSample, newest: FeatureSample) -> "_Clusters | None":
        """The clusters of two samples cut to equal length; None where every picture stands for itself."""
        import numpy as np

        each = min(len(first.clusters), len(newest.clusters))
        sides = [side.clusters[:each] for side in (first, newest)]
        names = sorted({*sides[0], *sides[1]})
        if len(names) == 2 * each:
            return None
        number = {name: place for place, name in enumerate(names)}
        numbers = [np.array([number[name] for name in side]) for side in sides]
        first_units, newest_units = (np.unique(side, return_inverse=True)[1] for side in numbers)
        before = int(first_units.max()) + 1
        units = np.concatenate([first_units, newest_units + before])
        return cls(np.concatenate(numbers), units, before, int(units.max()) + 1)

    @property
    def are_enough(self) -> bool:
        """Whether either sample has enough of them for a proof by permutation."""
        return min(self.first_units, self.unit_count - self.first_units) >= MIN_CLUSTERS

    def marks(self) -> "NDArray[np.float32]":
        """1 for pictures of the first sample and -1 for those of the other, in one row."""
        import numpy as np

        return np.where(self.units < self.first_units, 1, -1).astype(np.float32)[None]

    def permuted_marks(self, generator: "np.random.Generator", times: int) -> "NDArray[np.float32]":
        """The same where whole units have changed their sample by luck, a row for each time."""
        import numpy as np

        sides = np.where(np.arange(self.unit_count) < self.first_units, 1, -1).astype(np.float32)
        drawn = generator.permuted(np.broadcast_to(sides, (times, self.unit_count)), axis=1)
        marks: NDArray[np.float32] = drawn[:, self.units]
        return marks


def cluster_counts(first: FeatureSample, newest: FeatureSample) -> tuple[int, int] | None:
    """How many clusters either sample has, as they are compared; None where every picture stands for itself."""
    clusters = _Clusters.of(first, newest)
    return None if clusters is None else (clusters.first_units, clusters.unit_count - clusters.first_units)


def _compare_clusters(
    first: FeatureSample, newest: FeatureSample, texts: Mapping[str, str], smallest: float, clusters: _Clusters
) -> tuple[DistanceTest, ...]:
    """The measures where pictures are clustered; none where there are too few clusters for any proof."""
    import numpy as np

    if not clusters.are_enough:
        return ()
    each = len(clusters.units) // 2
    statistics = {
        name: _ks_statistic(np.concatenate([first.features[name][:each], newest.features[name][:each]]))
        for name in first.features
    }
    if first.embedding is not None and newest.embedding is not None:
        rows = np.concatenate([first.embedding[:each], newest.embedding[:each]]).astype(np.float64)
        statistics[EMBEDDING] = _classifier_statistic(rows, clusters.numbers)
    level = smallest / len(statistics)
    return tuple(
        DistanceTest(name, texts.get(name, name), *_cluster_test(statistic, clusters, level))
        for name, statistic in statistics.items()
    )


Statistic = Callable[["NDArray[np.float32]"], "NDArray[np.float64]"]
"""A distance of two samples, given which pictures (1) are of the first and which (-1) of the other, row by row."""


def _cluster_test(statistic: Statistic, clusters: _Clusters, level: float, seed: int = 0) -> tuple[float, float]:
    """A distance beyond what luck makes of it, and its p-value, by permutation of whole clusters."""
    import numpy as np

    generator = np.random.default_rng(seed)
    observed = float(statistic(clusters.marks())[0])
    luck = np.maximum(0.0, statistic(clusters.permuted_marks(generator, LUCK_DRAWS)))
    p = permutation_p_value(
        observed, lambda times: statistic(clusters.permuted_marks(generator, times)), max(level, MIN_LEVEL)
    )
    return float(max(0.0, max(0.0, observed) ** 2 - float(np.mean(luck**2))) ** 0.5), p


def _ks_statistic(values: "Floats") -> Statistic:
    """The statistic of Kolmogorov and Smirnov on pooled values, of samples that need not be equally large."""
    import numpy as np

    order = np.argsort(values, kind="stable")
    ordered = values[order]
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)

    def distance(marks: "NDArray[np.float32]") -> "NDArray[np.float64]":
        first = marks[:, order] > 0
        before = np.cumsum(first, axis=1, dtype=np.int32)
        total = np.arange(1, len(values) + 1, dtype=np.int32)
        size = before[:, -1:]
        gaps = before / size - (total - before) / (len(values) - size)
        largest: NDArray[np.float64] = np.abs(gaps[:, last_of_equals]).max(axis=1)
        return largest

    return distance


def _classifier_statistic(rows: "NDArray[np.float64]", clusters: "NDArray[np.int64]") -> Statistic:
    """How much better than a coin a classifier tells the samples that has seen nothing of a picture's cluster."""
    residuals = _leave_cluster_out_residuals(rows, clusters)

    def advantage(marks: "NDArray[np.float32]") -> "NDArray[np.float64]":
        right = (marks - marks @ residuals > 0) == (marks > 0)
        is_first = marks > 0
        first = (right & is_first).sum(axis=1) / is_first.sum(axis=1)
        newest = (right & ~is_first).sum(axis=1) / (~is_first).sum(axis=1)
        above_half: NDArray[np.float64] = first + newest - 1
        return above_half

    return advantage


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

    unfit = _unfitted(rows).astype(np.float32)
    return unfit, np.ascontiguousarray(np.diag(unfit))


def _leave_cluster_out_residuals(rows: "NDArray[np.float64]", clusters: "NDArray[np.int64]") -> "NDArray[np.float32]":
    """The matrix that gives from all marks the residuals of a kernel ridge that never saw a row's cluster.

    They are the ridge's own residuals of the cluster, times the inverse of its block.
    """
    import numpy as np

    unfit = _unfitted(rows)
    residuals = np.empty_like(unfit)
    for number in np.unique(clusters):
        inside = np.flatnonzero(clusters == number)
        residuals[:, inside] = np.linalg.solve(unfit[np.ix_(inside, inside)], unfit[inside]).T
    return residuals.astype(np.float32)


def _unfitted(rows: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """The matrix that makes of marks what a kernel ridge (Gaussian, of the median distance) leaves unfitted."""
    import numpy as np

    squares = np.einsum("ij,ij->i", rows, rows)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * rows @ rows.T, 0)
    between = distances[np.triu_indices(len(rows), 1)]
    width = float(np.median(between)) or float(between.mean()) or 1.0
    unfit: NDArray[np.float64] = np.linalg.inv(np.exp(-distances / width) + 1 + RIDGE_PENALTY * np.eye(len(rows)))
    return unfit
