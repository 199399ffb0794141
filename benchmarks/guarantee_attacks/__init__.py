"""The attacks of `benchmarks.guarantees`: what is promised, and what a simulation against the real code measures.

Each module of this package is one room of attacks and has a function

    def run_attacks(quick: bool) -> Iterator[Attack]

which yields a result as soon as it has one. `quick` halves the work as often as it must for the module to end within
about half a minute on one core; the names stay the same. Random numbers come from fixed seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Verdict = Literal["within", "broken"]
_ERRORS_ALLOWED: Final = 2.0


@dataclass(frozen=True)
class Attack:
    """One attack and how often it succeeded; a smaller `measured` is always the better one."""

    name: str
    """A slug that stays the same between runs, such as `clumps-of-5-blocks`."""
    section: str
    """Its section of the report of attacks: 1a to 1g, 3.1 to 3.5, 4, 5."""
    promised: float
    """The budget: the largest rate that the product's own words allow."""
    measured: float
    """The rate measured, in the same unit."""
    monte_carlo_error: float
    """The standard error of `measured`."""
    unit: str = "per 90 d"
    """What is counted: `per 90 d` (false alarms), `share` (of runs), ..."""
    before: float | None = None
    """What the product measured before the mend, where the same code can still show it."""

    @property
    def verdict(self) -> Verdict:
        """`broken` where the rate is over the budget by more than twice its Monte-Carlo error."""
        within = self.measured <= self.promised + _ERRORS_ALLOWED * self.monte_carlo_error
        return "within" if within else "broken"

    @property
    def ratio(self) -> float:
        """Measured over promised."""
        return self.measured / self.promised


def share_attack(name: str, section: str, promised: float, hits: int, runs: int, before: float | None = None) -> Attack:
    """An attack that succeeded in `hits` of `runs` runs; none and all still have an error (Laplace's rule)."""
    smoothed = (hits + 1) / (runs + 2)
    error = math.sqrt(smoothed * (1 - smoothed) / runs)
    return Attack(name, section, promised, hits / runs, error, "share", before)


def rate_attack(
    name: str,
    section: str,
    promised: float,
    counts: Sequence[float],
    unit: str = "per 90 d",
    before: float | None = None,
) -> Attack:
    """An attack measured as a count in each of several runs, such as false alarms in 90 days; the mean is its rate."""
    runs = len(counts)
    mean = sum(counts) / runs
    spread = sum((count - mean) ** 2 for count in counts) / max(1, runs - 1)
    error = math.sqrt(max(spread, 1 / runs) / runs)
    return Attack(name, section, promised, mean, error, unit, before)
