"""A sequential test of whether a new version is worse than the one before, on the same labelled predictions.

Both versions have answered the same picture. `outcome` is +1 where only the one before was right, -1 where only the
new one was, 0 where both were right or both wrong. For each stake `s` a purse of 1 is multiplied by

    W <- W * (1 + s * share * outcome)

where `share` is the label's sampling weight over the largest one possible. While the new version is at least as
good, the weighted outcome has a mean of at most 0, whatever the world does to both, so the mean of the purses is a
supermartingale that begins at 1. By Ville's inequality it ever reaches 1/level with a chance of at most `level`,
however often one looks and whenever one stops (bets: Waudby-Smith and Ramdas 2024). With equal shares this is a
sequential form of McNemar's test.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from monitors.errors import WindowError

STAKES: Final[tuple[float, ...]] = tuple(0.02 * 45 ** (place / 7) for place in range(8))
"""The best stake is the excess of lost over won answers among those that differ: from 2 % to 90 %."""


@dataclass(frozen=True)
class PairedOutcome:
    """One labelled picture: what each version answered, the truth, and the label's share of the heaviest weight."""

    previous_label: str
    new_label: str
    truth: str
    share: float = 1.0

    @property
    def loss_difference(self) -> int:
        return int(self.previous_label == self.truth) - int(self.new_label == self.truth)


@dataclass(frozen=True)
class PairedTest:
    """What is remembered between labels: a purse per stake, and how many pictures went which way."""

    wealth: tuple[float, ...] = (1.0,) * len(STAKES)
    n: int = 0
    lost: int = 0
    won: int = 0
    max_evidence: float = 1.0
    """The most the purses ever held on average: a proof stays one."""

    @property
    def evidence(self) -> float:
        """How much the purses hold on average, 1 at the beginning."""
        return sum(self.wealth) / len(self.wealth)

    def rejects(self, level: float) -> bool:
        """Whether the new version is proved worse; wrong with a chance of at most `level`, over all looks together."""
        return self.max_evidence * level >= 1

    def to_json(self) -> dict[str, Any]:
        """The state as JSON values; `from_json` gives back an equal test."""
        numbers = {"n": self.n, "lost": self.lost, "won": self.won, "highest": self.max_evidence}
        return {"wealth": list(self.wealth), **numbers}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "PairedTest":
        """The test of `to_json`; raises WindowError naming what does not fit."""
        try:
            wealth = tuple(float(stake_wealth) for stake_wealth in raw["wealth"])
            numbers = {name: int(raw[name]) for name in ("n", "lost", "won")}
            test = cls(wealth, **numbers, max_evidence=float(raw["highest"]))
        except (KeyError, TypeError, ValueError) as error:
            raise WindowError(f"{dict(raw)!r} is no duel's state ({error}); begin a new duel") from error
        if len(test.wealth) != len(STAKES):
            raise WindowError(f"a state of {len(test.wealth)} stakes does not fit {len(STAKES)}; begin a new duel")
        return test


def update_test(test: PairedTest, outcomes: Iterable[PairedOutcome], level: float) -> PairedTest:
    """The test after these pairs; once it proves something at that level, further ones change nothing."""
    for pair in outcomes:
        if test.rejects(level):
            break
        if not 0 < pair.share <= 1:
            raise WindowError(f"a label's share of {pair.share} does not fit; it is above 0 and at most 1")
        outcome = pair.loss_difference
        wealth = test.wealth
        if outcome:
            bet = pair.share * outcome
            wealth = tuple(amount * (1 + stake * bet) for amount, stake in zip(wealth, STAKES, strict=True))
        updated = replace(
            test, wealth=wealth, n=test.n + 1, lost=test.lost + (outcome > 0), won=test.won + (outcome < 0)
        )
        test = replace(updated, max_evidence=max(test.max_evidence, updated.evidence))
    return test


def describe_test(test: PairedTest, new: int, before: int) -> str:
    """The counts in words, for people."""
    return (
        f"Of {test.n:,} labelled {'answer' if test.n == 1 else 'answers'}, {test.lost:,} that version {new} read wrong "
        f"are read right by version {before}, and {test.won:,} the other way round."
    )
