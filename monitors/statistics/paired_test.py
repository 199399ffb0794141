"""Tests whether a new version is worse than the one before, on blocks of answers that both versions gave.

A block is what is independent: a request, a client's hour, an entity. `excess` is the number of its answers that only
the version before read rightly, less those that only the new one did, each answer weighing one over the chance its
label had to be drawn; answers on which the versions agree, or that were not drawn, count nothing. A stake `s` turns a
block into the factor `1 + s * excess`, and the product of such factors is evidence: while the new version is at least
as good its expectation is at most 1, so it reaches 1/level with a chance of at most `level` (Markov; for all moments
together: Ville).

`whole_week_evidence` is one look at whole weeks, by one stake that was fixed by the blocks' sizes alone. With a fixed
stake the product's expectation is at most exp(s * sum of the blocks' expectations), so it holds for a version that is
as good over the whole week, whatever its better and worse hours and days are.

`early_evidence` may be looked at whenever one likes, so it asks for more: it is evidence against "at no time is the new
version more than `margin` worse", where weekdays and weekends differ by less than that. Each of its stakes pays
`1 - s * margin` for every answer that was put to both versions (bets: Waudby-Smith and Ramdas 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, log1p, sqrt
from typing import Final

from monitors.errors import WindowError

EARLY_STAKES: Final[tuple[float, ...]] = tuple(0.9 / 2**place for place in range(16))
"""Stakes per answer; one that a block could ruin is left out, its wealth with it."""
MAX_STAKE: Final = 0.9
"""The most of the wealth that one block may cost."""
_MAX_LOG: Final = 700.0


@dataclass(frozen=True)
class PairedBlock:
    """What the labels of one block say: how much the new version lost more than it won.

    `size` is the most it could have been, had all of the block's answers been drawn, and `square` is its square as
    expected before the draw: neither knows what was drawn. 0 stands for the square of the size.
    """

    excess: float
    size: float
    square: float = 0.0

    def __post_init__(self) -> None:
        if not (self.size > 0 and abs(self.excess) <= self.size * (1 + 1e-9)):
            raise WindowError(f"an excess of {self.excess} does not fit a block of {self.size}; it is at most its size")


def early_evidence(blocks: Sequence[PairedBlock], answers: int, margin: float) -> float:
    """The evidence that the new version is more than `margin` worse, `answers` having been put to both versions."""
    if not blocks:
        return 1.0
    largest = max(block.size for block in blocks)
    stakes = [stake for stake in EARLY_STAKES if stake * largest <= MAX_STAKE]
    growths = [_growth(blocks, stake) + answers * log1p(-stake * margin) for stake in stakes]
    return sum(exp(min(_MAX_LOG, growth)) for growth in growths) / len(EARLY_STAKES)


def whole_week_evidence(blocks: Sequence[PairedBlock], level: float) -> float:
    """The evidence that the new version is worse over whole weeks, by the stake that is best at that level."""
    if not blocks:
        return 1.0
    squares = sum(block.square or block.size**2 for block in blocks)
    stake = min(MAX_STAKE / max(block.size for block in blocks), sqrt(2 * log(1 / level) / squares))
    return exp(min(_MAX_LOG, _growth(blocks, stake)))


def _growth(blocks: Sequence[PairedBlock], stake: float) -> float:
    """The logarithm of what the blocks make of a wealth of 1."""
    import numpy as np

    return float(np.log1p(stake * np.array([block.excess for block in blocks])).sum())
