"""Draws the predictions that people are asked to label: a plan of chances by stratum, and its draw.

Every answer has at least the uniform chance, so no label weighs more than one over it. Strata are the answered class
and a band of confidence. What the budget leaves above the floor goes where a label tells most (Neyman 1934). Answers on
which two versions differ have a chance of their own: only their labels tell which version is better.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import erfc, exp, gamma, isfinite, sqrt
from typing import Any, Final

from monitors.errors import WindowError

CONFIDENCE_CUTS: Final = (0.6, 0.9, 0.98)
"""Where the bands of confidence meet."""
DISAGREEMENT_STRATUM: Final = "versions differ"
_MIN_CHANCE: Final = 1e-12
_MIN_REVIEWS: Final = 30
_SKIP_LEVEL: Final = 0.001
_MIN_SETTLED: Final = 0.05
"""Reviewers who label fewer of a group leave it out: no weight makes up for that."""


@dataclass(frozen=True)
class SamplingPlan:
    """The chance of every answer to be drawn, and the larger ones of some strata.

    `differing` is that of an answer of which another version says something else, once it has been asked; 0: none.
    `settled` is which share of the drawn answers of a group reviewers label, beside the group that they label most.
    """

    uniform: float
    strata: Mapping[str, float] = field(default_factory=dict)
    differing: float = 0.0
    settled: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for chance in (self.uniform, *self.strata.values(), self.differing or 1.0, *self.settled.values()):
            if not _MIN_CHANCE <= chance <= 1:
                raise WindowError(f"a chance of {chance} cannot be; choose from {_MIN_CHANCE} to 1")

    @property
    def max_weight(self) -> float:
        """The largest weight a label can have under this plan."""
        return 1 / self.uniform / min(self.settled.values(), default=1.0)

    def inclusion(self, stratum: str, chance: float) -> float:
        """The chance of an answer of that stratum to be drawn and labelled, where it is drawn with `chance`."""
        return chance * self.settled.get(review_group(stratum), 1.0)

    def chance(self, stratum: str) -> float:
        """The chance of an answer of that stratum."""
        return max(self.uniform, self.strata.get(stratum, 0.0))

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; `from_json` gives back an equal plan."""
        differing = {"differing": self.differing} if self.differing else {}
        settled = {"settled": dict(self.settled)} if self.settled else {}
        return {"uniform": self.uniform, "strata": dict(self.strata), **differing, **settled}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "SamplingPlan":
        """The plan of `to_json`; raises WindowError naming what does not fit."""
        try:
            strata = {str(name): float(chance) for name, chance in raw["strata"].items()}
            settled = {str(name): float(share) for name, share in raw.get("settled", {}).items()}
            return cls(float(raw["uniform"]), strata, float(raw.get("differing", 0.0)), settled)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WindowError(f"{dict(raw)!r} is no sampling plan ({error}); publish a new one") from error


def stratum_of(label: str, confidence: float) -> str:
    """The stratum of an answer: its class, and the band of its confidence from 0 (doubtful) upwards."""
    return f"{label} {sum(confidence >= cut for cut in CONFIDENCE_CUTS)}"


def review_group(stratum: str) -> str:
    """The strata whose reviews are watched together: a band of confidence, or the answers on which versions differ."""
    return stratum if stratum == DISAGREEMENT_STRATUM else stratum.rpartition(" ")[2]


def reviews_by_group(reviews: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """How many answers were drawn and how many of them are labelled, by group, given both by stratum."""
    groups: dict[str, tuple[int, int]] = {}
    for stratum, (drawn, settled) in sorted(reviews.items()):
        before = groups.get(review_group(stratum), (0, 0))
        groups[review_group(stratum)] = (before[0] + drawn, before[1] + settled)
    return dict(sorted(groups.items()))


def settled_shares(reviews: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Which share of its drawn answers each group labels, beside the group that labels most; {} where luck explains it.

    `reviews` holds by stratum how many answers were drawn, long enough ago, and how many of them are labelled. The
    groups differ where the chi-squared test of homogeneity says so at 1 in 1 000.
    """
    groups = {name: counts for name, counts in reviews_by_group(reviews).items() if counts[0] >= _MIN_REVIEWS}
    total, labelled = (sum(counts[place] for counts in groups.values()) for place in (0, 1))
    if len(groups) < 2 or not 0 < labelled < total:
        return {}
    mean = labelled / total
    distance = sum((settled - drawn * mean) ** 2 / drawn for drawn, settled in groups.values()) / (mean * (1 - mean))
    if _chi_squared_tail(distance, len(groups) - 1) > _SKIP_LEVEL:
        return {}
    shares = {name: settled / drawn for name, (drawn, settled) in groups.items()}
    most = max(shares.values())
    return {name: max(_MIN_SETTLED, share / most) for name, share in sorted(shares.items())}


def poisson_draw(plan: SamplingPlan, prediction_id: str, salt: str, label: str, confidence: float) -> float | None:
    """The chance an answer had if it is drawn, else None; the same for the same id, and not to be foreseen.

    Poisson sampling: each answer is drawn by itself, by a hash of its id keyed with the plan's secret salt.
    """
    chance = plan.chance(stratum_of(label, confidence))
    return chance if _number_of(prediction_id, salt) < chance else None


def draw_among_differing(
    plan: SamplingPlan, prediction_id: str, salt: str, label: str, confidence: float
) -> float | None:
    """The same for an answer on which two versions differ: whoever was drawn before is drawn now.

    The larger of the two chances decides by the same number, so it is the answer's whole chance to be drawn.
    """
    chance = max(plan.differing, plan.chance(stratum_of(label, confidence)))
    return chance if _number_of(prediction_id, salt) < chance else None


def _number_of(prediction_id: str, salt: str) -> float:
    return int.from_bytes(sha256(f"{salt} draw {prediction_id}".encode()).digest()[:8], "big") / 2**64


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


def with_disagreements(
    per_day: float,
    answers: Mapping[str, float],
    error: Mapping[str, float],
    uniform_share: float,
    disagreement_share: float,
    differing: float,
) -> SamplingPlan:
    """A plan that spends a share of the budget on answers on which two versions differ, so many of which there are.

    What is spent on every answer alike stays as it is, where the shares leave it room. What answers that differ are too
    few to use goes to the others.
    """
    if sum(answers.values()) <= per_day:
        return SamplingPlan(1.0, differing=1.0)
    wanted = disagreement_share * per_day
    rest = 1 - min(wanted, differing) / per_day
    plan = make_sampling_plan(per_day * rest, answers, error, min(1.0, uniform_share / rest))
    return replace(plan, differing=min(1.0, wanted / differing) if differing > wanted else 1.0)


def _chi_squared_tail(value: float, degrees: int) -> float:
    """The chance of a chi-squared number of so many degrees of freedom above a value, by recursion over the degrees."""
    first = 2 - degrees % 2
    tail = erfc(sqrt(value / 2)) if first == 1 else exp(-value / 2)
    for step in range(first, degrees, 2):
        tail += (value / 2) ** (step / 2) * exp(-value / 2) / gamma(step / 2 + 1)
    return tail


def _error_std(error: float) -> float:
    """The standard deviation of being wrong, kept off zero: what is thought safe is looked at, too."""
    share = min(0.999, max(0.001, error))
    return sqrt(share * (1 - share))
