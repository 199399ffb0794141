"""A version's newest pictures held against its first ones, measure by measure; it knows no picture and no model.

Each measure says how far apart the two samples lie, from 0 to 1, in one currency: the share of pictures that would have
to be others to make the two alike (total variation), as far as that measure can see it. And it says how likely luck
alone puts them so far apart.

- A plain number of each picture, such as its mean light: the statistic of Kolmogorov and Smirnov and its p-value.
- The network's embedding: the maximum mean discrepancy (Gretton et al. 2012, Gaussian kernel of the median distance)
  with a permutation p-value. How far apart: how much better than a coin the witness function tells a picture's sample
  when that picture is left out, as in a classifier two-sample test (Lopez-Paz and Oquab 2017).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from monitors.permutation import p_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

EMBEDDING: Final = "embedding"


@dataclass(frozen=True, eq=False)
class Profile:
    """What is known of a sample of n pictures: plain numbers (n,) by name, and the embedding (n, d) if there is one."""

    stats: "Mapping[str, Floats]"
    embedding: "Floats | None" = None


@dataclass(frozen=True)
class Measure:
    """How far apart two samples lie by one measure, from 0 to 1, and its p-value; `text` says what is measured."""

    name: str
    text: str
    apart: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """The newest pictures of a version against its first ones; no measures while there are too few of either."""

    version: int
    first: int
    newest: int
    measures: tuple[Measure, ...] = field(default=())


def compare(first: Profile, newest: Profile, texts: Mapping[str, str], smallest: float) -> tuple[Measure, ...]:
    """Every measure of two samples; `smallest` is the least level at which all of them together are to be proved."""
    measured = [_plain(name, texts.get(name, name), first.stats[name], newest.stats[name]) for name in first.stats]
    if first.embedding is not None and newest.embedding is not None:
        level = smallest / (len(measured) + 1)
        text = texts.get(EMBEDDING, EMBEDDING)
        apart, p = discrepancy(first.embedding, newest.embedding, level)
        measured.append(Measure(EMBEDDING, text, apart, p))
    return tuple(measured)


def _plain(name: str, text: str, first: "Floats", newest: "Floats") -> Measure:
    from scipy.stats import ks_2samp

    found = ks_2samp(first, newest)
    return Measure(name, text, float(found.statistic), float(found.pvalue))


def discrepancy(first: "Floats", newest: "Floats", level: float, seed: int = 0) -> tuple[float, float]:
    """How far apart two samples (n, d) and (m, d) lie, and the p-value that they come from one distribution."""
    import numpy as np

    n, m = len(first), len(newest)
    kernel = _kernel(np.concatenate([first, newest]).astype(np.float32))
    marks = np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)]).astype(np.float32)
    generator = np.random.default_rng(seed)

    def draw(times: int) -> "NDArray[np.float64]":
        shuffled = generator.permuted(np.broadcast_to(marks, (times, n + m)), axis=1)
        drawn: NDArray[np.float64] = np.einsum("ij,ij->i", shuffled @ kernel, shuffled).astype(np.float64)
        return drawn

    p = p_value(float(marks @ kernel @ marks), draw, level)
    return _told_apart(kernel, n, m), p


def _kernel(rows: "NDArray[np.float32]") -> "NDArray[np.float32]":
    import numpy as np

    squares = np.einsum("ij,ij->i", rows, rows)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * rows @ rows.T, 0)
    apart = distances[np.triu_indices(len(rows), 1)]
    width = float(np.median(apart)) or float(apart.mean()) or 1.0
    kernel: NDArray[np.float32] = np.exp(-distances / width)
    return kernel


def _told_apart(kernel: "NDArray[np.float32]", n: int, m: int) -> float:
    """Twice what the witness function is right more often than a coin, each picture left out of what judges it."""
    import numpy as np

    others = kernel - np.diag(np.diag(kernel))
    to_first = others[:, :n].sum(axis=1) / np.where(np.arange(n + m) < n, n - 1, n)
    to_newest = others[:, n:].sum(axis=1) / np.where(np.arange(n + m) < n, m, m - 1)
    nearer = to_first > to_newest
    return max(0.0, float(nearer[:n].mean() - nearer[n:].mean()))
