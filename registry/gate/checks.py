"""What a check of the gate answers, and how several of them hold together.

Two kinds of check. Golden, best and benefit (`benefit_checks`) must *show* that the candidate is good enough: what is
not shown does not pass, and is inconclusive where harm is not shown either. As every one of them must pass, a candidate
that truly fails one is let through with a chance of at most that check's own level, however many others there are (an
intersection-union test: Berger, Technometrics 24, 1982), so none is corrected for the others. Of the benefit all
attempts since a promotion share alpha. The two ways of showing it share an attempt's level, too. Golden and best ask
each attempt at alpha: a candidate that truly loses the margin is let through by them with that chance each time, and
must be better where the world moved besides. Groups, calibration and robustness (`harm_checks`) only block where harm
is *shown*: more of them never promote a bad candidate, they block a blameless one with a chance of at most alpha each.
Within one check, several classes (Holm), groups or disturbances (Bonferroni) share that alpha. The best version is the
luckiest of several on these rows, which makes its check stricter than its margin says, never laxer.

All of this holds for rows that are drawn alike or weighed by the chance of their draw, and that depend on each other
within their blocks only. McNemar's test and Clopper-Pearson's bounds are exact; Tango's score bounds were let through
in at most 5.9 % of simulations at 5 %; Gaffke's bounds of weighted rows are a conjecture no simulation has broken.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from registry.gate.paired_comparison import PairedPredictions, difference_bounds, exact_bounds


@dataclass(frozen=True)
class GateCheck:
    """One question of the gate: passed, failed, or (None) not settled by these rows."""

    name: str
    passed: bool | None
    detail: str
    numbers: Mapping[str, float] = field(default_factory=dict)


def attempt_level(alpha: float, attempt: int) -> float:
    """The part of `alpha` that an attempt may spend; those of all attempts after one promotion add up to `alpha`."""
    return alpha * 6 / (math.pi * attempt) ** 2


def difference_numbers(
    rows: PairedPredictions,
    alpha: float,
    bounds: Callable[[PairedPredictions, float], tuple[float, float]] = difference_bounds,
) -> dict[str, float]:
    """Rows, gains, losses, and the accuracy difference with bounds that are each one-sided at `alpha`."""
    low, high = bounds(rows, alpha)
    return {
        "rows": float(rows.n),
        "gained": float(rows.gains),
        "lost": float(rows.losses),
        "difference": rows.accuracy_difference,
        "low": low,
        "high": high,
    }


def share_with_bounds(correct: int, total: int, alpha: float) -> tuple[float, float, float]:
    """A share with its Clopper-Pearson bounds, each one-sided at `alpha`; 0 of 0 is 0."""
    return (correct / total if total else 0.0, *exact_bounds(correct, total, alpha))


def format_change(rows: PairedPredictions, numbers: Mapping[str, float]) -> str:
    """What changed, in words: rows gained and lost, the difference and its range."""
    return (
        f"{rows.gains} rows gained, {rows.losses} lost, "
        f"{format_points(rows.accuracy_difference, sign=True)} {format_range(numbers)}"
    )


def format_range(numbers: Mapping[str, float]) -> str:
    """The bounds `low` and `high` in words."""
    return f"({format_points(numbers['low'], sign=True)} to {format_points(numbers['high'], sign=True)})"


def format_percent(share: float, digits: int = 1) -> str:
    """A share in percent."""
    return f"{100 * share:.{digits}f} %"


def format_points(share: float, *, sign: bool = False) -> str:
    """A share of accuracy in percentage points."""
    return f"{round(100 * share, 1) + 0.0:{'+' if sign else ''}.1f} points"
