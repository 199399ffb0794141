"""Draws the predictions that people are asked to label: a plan of chances by stratum, and its draw.

Every answer has at least the uniform chance, so no label weighs more than one over it. Strata are the answered class
and a band of confidence. What the budget leaves above the floor goes where a label tells most (Neyman 1934).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite, sqrt
from typing import Any, Final

from monitors.errors import WindowError

CONFIDENCE_CUTS: Final = (0.6, 0.9, 0.98)
"""Where the bands of confidence meet."""
_MIN_CHANCE: Final = 1e-4


@dataclass(frozen=True)
class SamplingPlan:
    """The chance of every answer to be drawn, and the larger ones of some strata."""

    uniform: float
    strata: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for chance in (self.uniform, *self.strata.values()):
            if not _MIN_CHANCE <= chance <= 1:
                raise WindowError(f"a chance of {chance} cannot be; choose from {_MIN_CHANCE} to 1")

    @property
    def max_weight(self) -> float:
        """The largest weight a label can have under this plan."""
        return 1 / self.uniform

    def chance(self, stratum: str) -> float:
        """The chance of an answer of that stratum."""
        return max(self.uniform, self.strata.get(stratum, 0.0))

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; `from_json` gives back an equal plan."""
        return {"uniform": self.uniform, "strata": dict(self.strata)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "SamplingPlan":
        """The plan of `to_json`; raises WindowError naming what does not fit."""
        try:
            strata = {str(name): float(chance) for name, chance in raw["strata"].items()}
            return cls(float(raw["uniform"]), strata)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WindowError(f"{dict(raw)!r} is no sampling plan ({error}); publish a new one") from error


def stratum_of(label: str, confidence: float) -> str:
    """The stratum of an answer: its class, and the band of its confidence from 0 (doubtful) upwards."""
    return f"{label} {sum(confidence >= cut for cut in CONFIDENCE_CUTS)}"


def poisson_draw(plan: SamplingPlan, prediction_id: str, salt: str, label: str, confidence: float) -> float | None:
    """The chance an answer had if it is drawn, else None; the same for the same id, and not to be foreseen.

    Poisson sampling: each answer is drawn by itself, by a hash of its id keyed with the plan's secret salt.
    """
    chance = plan.chance(stratum_of(label, confidence))
    number = int.from_bytes(sha256(f"{salt} draw {prediction_id}".encode()).digest()[:8], "big") / 2**64
    return chance if number < chance else None


def make_sampling_plan(
    per_day: float, answers: Mapping[str, float], error: Mapping[str, float], uniform_share: float = 0.5
) -> SamplingPlan:
    """A plan that draws about `per_day` of so many answers per day and stratum.

    `uniform_share` of the budget is spent on every answer alike; the rest in proportion to the answers times the
    standard deviation of being wrong, by the error share expected of each stratum. Chances stop at 1, and what that
    leaves goes to the others. Raises WindowError for a budget or share that cannot be.
    """
    if not (isfinite(per_day) and per_day > 0 and 0 < uniform_share <= 1):
        raise WindowError(f"{per_day} answers a day, {uniform_share} of them uniform, cannot be drawn; choose others")
    total = sum(answers.values())
    if total <= per_day:
        return SamplingPlan(1.0)
    uniform = max(_MIN_CHANCE, uniform_share * per_day / total)
    left = per_day - uniform * total
    open_ones = {name: many for name, many in answers.items() if many > 0}
    chances: dict[str, float] = {}
    while open_ones and left > 0:
        weights = {name: many * _error_std(error.get(name, 0.5)) for name, many in open_ones.items()}
        whole = sum(weights.values())
        shares = {name: uniform + left * weights[name] / whole / many for name, many in open_ones.items()}
        full = {name for name, chance in shares.items() if chance >= 1}
        if not full:
            chances |= shares
            break
        chances |= dict.fromkeys(full, 1.0)
        left -= sum((1 - uniform) * open_ones[name] for name in full)
        open_ones = {name: many for name, many in open_ones.items() if name not in full}
    return SamplingPlan(uniform, chances)


def _error_std(error: float) -> float:
    """The standard deviation of being wrong, kept off zero: what is thought safe is looked at, too."""
    share = min(0.999, max(0.001, error))
    return sqrt(share * (1 - share))
