"""Statistics of two models on the same rows: tests and bounds of their difference in accuracy.

Rows that weigh the same and do not depend on each other are tested exactly (McNemar), their difference is bounded by
Tango's score test. Weighted rows and blocks of rows are tested and bounded by Gaffke's method, which is McNemar's test
where all are alike.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from registry.errors import GateError
from registry.gate.bounded_mean import FloatArray, positive_mean_p_value, ratio_bounds

BISECTION_STEPS = 50
FEWEST_BLOCKS: Final = 20
"""With fewer blocks, one of five on which a candidate fails may well be missing among them."""
SHARE_OF_LEVEL: Final = 0.2
"""The part of the level that is spent on how far blocks that were not seen may differ."""
IntArray = NDArray[np.integer]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PairedPredictions:
    """The true class of some rows and what both models said about each of them.

    `shares` say how much each row counts, above 0 and at most 1; without them all count the same. `blocks` number the
    rows that may depend on each other alike; without them no row depends on another.
    """

    labels: IntArray
    champion: IntArray
    candidate: IntArray
    origin: str
    shares: FloatArray | None = None
    blocks: IntArray | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "champion", "candidate"):
            array = np.asarray(getattr(self, name))
            if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
                shape = f"{array.dtype} of shape {array.shape}"
                raise GateError(f"{self.origin} {name} is {shape}: give one integer per row")
            object.__setattr__(self, name, array)
        if not len(self.labels) == len(self.champion) == len(self.candidate):
            counts = f"{len(self.labels)}, {len(self.champion)} and {len(self.candidate)}"
            raise GateError(f"{self.origin} has {counts} rows: both models must answer the same rows")
        if self.shares is not None:
            shares = np.asarray(self.shares, np.float64)
            if shares.shape != self.labels.shape or not ((shares > 0) & (shares <= 1)).all():
                raise GateError(f"{self.origin} shares are not one per row, above 0 and at most 1")
            object.__setattr__(self, "shares", None if (shares == 1).all() else shares)
        if self.blocks is not None:
            blocks = np.unique(np.asarray(self.blocks), return_inverse=True)[1]
            if blocks.shape != self.labels.shape:
                raise GateError(f"{self.origin} has {len(blocks)} blocks for {self.n} rows: give one per row")
            object.__setattr__(self, "blocks", None if len(set(blocks.tolist())) == self.n else blocks)

    @property
    def n(self) -> int:
        return len(self.labels)

    @property
    def champion_correct(self) -> BoolArray:
        """Where the champion is right, (n,)."""
        return np.asarray(self.champion == self.labels)

    @property
    def candidate_correct(self) -> BoolArray:
        """Where the candidate is right, (n,)."""
        return np.asarray(self.candidate == self.labels)

    @property
    def gains(self) -> int:
        """Rows that only the candidate gets right."""
        return int(np.sum(self.candidate_correct & ~self.champion_correct))

    @property
    def losses(self) -> int:
        """Rows that only the champion gets right."""
        return int(np.sum(self.champion_correct & ~self.candidate_correct))

    @property
    def net_gains(self) -> IntArray:
        """1 where only the candidate is right, -1 where only the champion is, else 0, (n,)."""
        return self.candidate_correct.astype(np.int64) - self.champion_correct

    @property
    def accuracy_difference(self) -> float:
        """Candidate accuracy minus champion accuracy, each row by its share."""
        return self.mean(self.net_gains)

    @property
    def is_plain(self) -> bool:
        """Whether all rows count the same and none depends on another."""
        return self.shares is None and self.blocks is None

    @property
    def n_blocks(self) -> int:
        """How many observations the rows are: their blocks, or all of them where none depends on another."""
        return self.n if self.blocks is None else len(np.unique(self.blocks))

    def mean(self, values: IntArray | BoolArray) -> float:
        """The mean of a value per row (n,), each row by its share; 0 without rows."""
        return float(np.average(values, weights=self.shares)) if self.n else 0.0

    def observations(self, values: IntArray | BoolArray) -> tuple[FloatArray, FloatArray]:
        """The sum of a value per row (n,) over each block, and each block's size, as shares of the largest block."""
        shares: FloatArray = np.ones(self.n) if self.shares is None else self.shares
        totals: FloatArray = shares * values.astype(np.float64)
        if self.blocks is None:
            return totals, shares
        sizes, sums = np.bincount(self.blocks, shares), np.bincount(self.blocks, totals)
        return sums / sizes.max(), sizes / sizes.max()

    def take(self, rows: IntArray | BoolArray) -> "PairedPredictions":
        """The rows at these places, or where the mask (n,) is true."""
        return PairedPredictions(
            self.labels[rows],
            self.champion[rows],
            self.candidate[rows],
            self.origin,
            None if self.shares is None else self.shares[rows],
            None if self.blocks is None else self.blocks[rows],
        )

    def concatenate(self, other: "PairedPredictions") -> "PairedPredictions":
        """The rows of both comparisons."""
        return PairedPredictions(
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.champion, other.champion]),
            np.concatenate([self.candidate, other.candidate]),
            f"{self.origin}+{other.origin}",
            np.concatenate([np.ones(part.n) if part.shares is None else part.shares for part in (self, other)]),
            np.concatenate([_block_numbers(self), _block_numbers(other) + self.n]),
        )

    def swapped(self) -> "PairedPredictions":
        """The same rows with the models in each other's place."""
        return replace(self, champion=self.candidate, candidate=self.champion)


def _block_numbers(rows: PairedPredictions) -> IntArray:
    return np.arange(rows.n) if rows.blocks is None else rows.blocks


def benefit_p_value(rows: PairedPredictions) -> float:
    """How well rows agree with a candidate that is no better than the champion; swap the rows to ask about harm."""
    if rows.is_plain:
        return mcnemar_exact(rows.losses, rows.gains)
    return positive_mean_p_value(rows.observations(rows.net_gains)[0], -1.0)


def mcnemar_exact(against: int, in_favour: int) -> float:
    """One-sided exact McNemar p-value: the chance of at least `in_favour` wins if both models were equal.

    Given the discordant rows, the wins of equal models are Binomial(against + in_favour, 1/2) (McNemar,
    Psychometrika 12, 1947; the exact form: Fagerland, Lydersen and Laake, BMC Med Res Methodol 13:91, 2013).
    """
    if against < 0 or in_favour < 0:
        raise GateError(f"Discordant counts {against} and {in_favour} must not be negative")
    return float(special.betainc(in_favour, against + 1, 0.5)) if in_favour else 1.0


def exact_bounds(successes: int, total: int, alpha: float) -> tuple[float, float]:
    """The Clopper-Pearson bounds of a share, each one-sided at level `alpha` (Biometrika 26, 1934)."""
    if not 0 <= successes <= total:
        raise GateError(f"{successes} successes of {total} is not a share")
    failures = total - successes
    low = special.betaincinv(successes, failures + 1, alpha) if successes else 0.0
    high = special.betaincinv(successes + 1, failures, 1 - alpha) if failures else 1.0
    return float(low), float(high)


def difference_bounds(comparison: PairedPredictions, alpha: float) -> tuple[float, float]:
    """Bounds of candidate minus champion accuracy, each one-sided at `alpha`.

    Plain rows: Tango's score test inverted, which keeps its level with few discordant rows and margins away from 0
    (Tango, Stat Med 17, 1998). A bound built on the discordant rows alone does not: it takes their number as certain,
    and lets a candidate that truly loses the margin pass up to half the time.
    """
    if comparison.n == 0:
        return -1.0, 1.0
    if not comparison.is_plain:
        return ratio_bounds(*comparison.observations(comparison.net_gains), (-1.0, 1.0), alpha)
    return _tango_bounds(comparison.gains, comparison.losses, comparison.n, alpha)


def judged_block_bounds(comparison: PairedPredictions, alpha: float) -> tuple[float, float]:
    """The same, of blocks like those that were judged.

    A block's difference is at most the share of its rows that both models answer differently, which is known without a
    label. The largest such share among the judged blocks, raised to what a fifth of `alpha` leaves open of blocks that
    were not seen, and not 1, bounds every block: a model that answers nearly as the other is then told from a worse one
    by weeks of days instead of years. The raise is exact where shares are spread evenly up to their largest. Few rows
    bound such a share badly, so the difference must also lie within Tango's bounds, each row counted half, as rows of
    one block tell of each other. Where fewer than `FEWEST_BLOCKS` are judged, how blocks differ is not known: then the
    bounds leave room for blocks on which everything differs.
    """
    if comparison.blocks is None or comparison.shares is not None or comparison.n_blocks < FEWEST_BLOCKS:
        return difference_bounds(comparison, alpha)
    low, high = _tango_bounds(comparison.gains / 2, comparison.losses / 2, comparison.n / 2, alpha)
    differing, sizes = comparison.observations(comparison.champion != comparison.candidate)
    largest = float(np.max(differing / sizes))
    if not largest:
        return low, high
    most = min(1.0, largest * (alpha * SHARE_OF_LEVEL) ** (-1 / comparison.n_blocks))
    within = ratio_bounds(*comparison.observations(comparison.net_gains), (-most, most), alpha * (1 - SHARE_OF_LEVEL))
    return min(low, within[0]), max(high, within[1])


def square_and_add(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float]:
    """Bounds of first minus second, two independent estimates given as (estimate, low, high).

    Newcombe's hybrid of two intervals (Stat Med 17, 1998, method 10; for any two estimates: Zou and Donner, Stat
    Med 27, 2008). One-sided inputs at level alpha give bounds that are each one-sided at alpha.
    """
    (one, one_low, one_high), (two, two_low, two_high) = first, second
    below, above = math.hypot(one - one_low, two_high - two), math.hypot(one_high - one, two - two_low)
    return one - two - below, one - two + above


def accuracy_bounds(rows: PairedPredictions, right: BoolArray, alpha: float) -> tuple[float, float, float]:
    """An accuracy on some rows with its bounds, each one-sided at `alpha`; 0 of no rows."""
    if rows.is_plain:
        return (rows.mean(right), *exact_bounds(int(right.sum()), rows.n, alpha))
    return (rows.mean(right), *ratio_bounds(*rows.observations(right), (0.0, 1.0), alpha))


def _tango_bounds(gained: float, lost: float, n: float, alpha: float) -> tuple[float, float]:
    quantile = float(special.ndtri(1 - alpha))
    low = _bisect(lambda difference: _tango_score(gained, lost, n, difference) - quantile)
    high = _bisect(lambda difference: _tango_score(gained, lost, n, difference) + quantile)
    return low, high


def _tango_score(gained: float, lost: float, n: float, difference: float) -> float:
    """Tango's standardised score of the hypothesis that the true difference is `difference`."""
    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    share_lost = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * share_lost + difference * (1 - difference))
    return (gained - lost - n * difference) / math.sqrt(max(variance, 1e-12))


def _bisect(falling: Callable[[float], float]) -> float:
    low, high = -1.0, 1.0
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def holm(p_values: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Which hypotheses Holm's step-down procedure rejects at family level `alpha` (Scand J Stat 6, 1979)."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        rejected[index] = True
    return tuple(rejected)
