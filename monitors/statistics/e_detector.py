"""A sequential detector of too many errors, which may be looked at after every label.

A mixture of Shiryaev-Roberts e-detectors (Shin, Ramdas, Rinaldo 2023) over the bets of Waudby-Smith and Ramdas
(2024). For each stake `s` the wealth moves with every label as

    S <- (S + a * prior(s)) * (1 + s / (heaviest * null) * weight * (wrong - null))

where `a` is the share of the false-alarm budget that the time since the label before has earned. While the error
share is at most `null` each factor has a mean of at most 1, so the sum of the wealth minus the budget earned is a
supermartingale. An alarm is called when the sum reaches 1, and takes at least 1 away. So the expected number of
false alarms up to any moment is at most the budget earned by then: "1 per 90d" holds however many labels come,
and however often somebody looks. Weights (one over the chance to be drawn) need no normalising: a draw from the whole
has a weighted mean of `wrong - null` of the same sign as the whole.

Wealth beyond 1 is of no use, so no bet is larger than what is missing (bold play: Dubins, Savage, "How to gamble if
you must", 1965): once the lightest gain of the detector's life would fill the purses, all stakes shrink in proportion.
They do so before the label is read, so the supermartingale stays one.

Budget alone is no evidence: time adds nothing once the sum is at EARNED_LIMIT, whatever the labels say. Without that
limit 90 days of right labels, or a clock that is a quarter ahead, are an alarm: within the budget, and proof of
nothing. What is not added is given up, so the guarantee stays.

A null hypothesis may have parts: for each candidate of an unknown share a bound on the errors and the wealth that
refutes it (`CompositeNull`). Every part has purses of its own, which read every label; an alarm is called when all
parts are refuted. Whichever part is true, its wealth has reached what refutes it at every alarm, so the expected number
of alarms is at most the budget divided by that wealth (universal inference: Wasserman, Ramdas, Balakrishnan 2020).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from monitors.errors import WindowError
from monitors.statistics.intervals import smallest_sufficient

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

STAKES: Final[tuple[float, ...]] = tuple(0.003 * 300 ** (place / 11) for place in range(12))
"""Bets as shares of the largest one allowed: the best for a rise from m to p is about (p - m) / (1 - m)."""

BETTING_SCHEME: Final = "bold-with-limit-by-part"
"""Part of the digest of what a state rests on: another way to bet cannot go on with the states of this one."""

EARNED_LIMIT: Final = 0.25
"""Up to which wealth time adds budget, as a part of one alarm: the rest of an alarm is evidence."""

_MIN_NULL = 1e-4
_ALARM_WEALTH: Final = 1 + 1e-9
"""What a bet aims at, so that rounding leaves no purse a hair below 1."""
_SMALLEST_GAIN: Final = 1e-300
_LUCK: Final = 0.2
"""How far a forecast goes from the growth of the expected logarithm to that of the expected wealth."""


@dataclass(frozen=True)
class CompositeNull:
    """A null hypothesis in parts: the error share that each allows, and the wealth at which it is refuted.

    `best` is the error share that is allowed as far as is known: since when there are more errors is judged by it.
    """

    bounds: tuple[float, ...]
    goals: tuple[float, ...]
    best: float

    def to_json(self) -> dict[str, Any]:
        """The hypothesis as JSON values."""
        return {"bounds": list(self.bounds), "goals": list(self.goals), "best": self.best}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "CompositeNull":
        """The hypothesis of `to_json`; raises KeyError, TypeError or ValueError for what does not fit."""
        bounds, goals = (tuple(float(each) for each in raw[name]) for name in ("bounds", "goals"))
        if len(bounds) != len(goals) or not bounds:
            raise ValueError(f"{len(bounds)} bounds do not fit {len(goals)} goals")
        return cls(bounds, goals, float(raw["best"]))


def simple_null(share: float) -> CompositeNull:
    """The null hypothesis that at most this share of answers is wrong."""
    return CompositeNull((share,), (1.0,), share)


@dataclass(frozen=True)
class Observation:
    """One label, or a block of labels: when it was known, how wrong the answers were (0 to 1), and what it weighs."""

    at: datetime
    loss: float
    weight: float = 1.0
    labels: int = 1


@dataclass(frozen=True)
class Detector:
    """What is remembered between labels: one number per part and stake, whatever the history's length."""

    null: CompositeNull
    max_weight: float
    wealth: tuple[float, ...]
    """Part by part, of each part stake by stake."""
    at: datetime
    min_gain: tuple[float, ...]
    """Of each part: the smallest `weight * (wrong - bound)` above 0 so far; before there is one, the largest."""
    n: int = 0
    alarmed_at: datetime | None = None
    changed_at: datetime | None = None
    """Of an alarm: when the first answer was given that it rests on (`change_point`)."""

    @property
    def held(self) -> tuple[float, ...]:
        """The wealth of each part."""
        return tuple(sum(self.wealth[first : first + len(STAKES)]) for first in range(0, len(self.wealth), len(STAKES)))

    @property
    def evidence(self) -> float:
        """The evidence against health; 1 is an alarm, and an alarm stays one until `restart_detector`."""
        total = joint_evidence(self.null, (self,))
        return total if self.alarmed_at is None else max(1.0, total)

    def to_json(self) -> dict[str, Any]:
        """The state as JSON values; `from_json` gives back an equal detector."""
        return {
            "null": self.null.to_json(),
            "heaviest": self.max_weight,
            "wealth": list(self.wealth),
            "at": self.at.isoformat(),
            "lightest": list(self.min_gain),
            "n": self.n,
            "alarmed_at": None if self.alarmed_at is None else self.alarmed_at.isoformat(),
            "changed_at": None if self.changed_at is None else self.changed_at.isoformat(),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Detector":
        """The detector of `to_json`; raises WindowError naming what does not fit."""
        try:
            alarmed, changed = raw["alarmed_at"], raw.get("changed_at")
            detector = cls(
                null=CompositeNull.from_json(raw["null"]),
                max_weight=float(raw["heaviest"]),
                wealth=tuple(float(each) for each in raw["wealth"]),
                at=datetime.fromisoformat(raw["at"]),
                min_gain=tuple(float(each) for each in raw["lightest"]),
                n=int(raw["n"]),
                alarmed_at=None if alarmed is None else datetime.fromisoformat(alarmed),
                changed_at=None if changed is None else datetime.fromisoformat(changed),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WindowError(f"{dict(raw)!r} is no detector's state ({error}); begin a new detector") from error
        parts = len(detector.null.bounds)
        if len(detector.min_gain) != parts or len(detector.wealth) != parts * len(STAKES):
            raise WindowError(
                f"a state of {len(detector.wealth)} purses does not fit {parts} parts of {len(STAKES)} stakes; "
                "begin a new detector"
            )
        return detector


def start_detector(null: float | CompositeNull, at: datetime, max_weight: float = 1.0) -> Detector:
    """A detector that has seen nothing: `null` is the error share allowed, `max_weight` the largest weight to come."""
    if isinstance(null, float | int):
        if not _MIN_NULL <= null < 1:
            raise WindowError(f"an allowed error share of {null} cannot be watched; choose one from {_MIN_NULL} to 1")
        null = simple_null(null)
    if not max_weight > 0:
        raise WindowError(f"a largest weight of {max_weight} cannot be; weights are above 0")
    min_gain = tuple(max_weight * (1 - bound) for bound in null.bounds)
    return Detector(null, max_weight, (0.0,) * (len(STAKES) * len(null.bounds)), at, min_gain)


def joint_wealth(null: CompositeNull, detectors: Iterable[Detector]) -> tuple[float, ...]:
    """What detectors of one null hold of each part together."""
    return tuple(map(sum, zip((0.0,) * len(null.bounds), *(detector.held for detector in detectors), strict=True)))


def joint_evidence(null: CompositeNull, detectors: Iterable[Detector]) -> float:
    """The evidence of detectors of one null that alarm by the sum of their wealth: 1 refutes every part."""
    return min(held / goal for held, goal in zip(joint_wealth(null, detectors), null.goals, strict=True))


def update_detector(
    detector: Detector,
    observations: Iterable[Observation],
    per_second: float,
    min_samples: int = 1,
    budget_share: float = 1.0,
    held_elsewhere: Sequence[float] = (),
) -> Detector:
    """The detector after these labels; `per_second` is the budget in false alarms, of which it has `budget_share`.

    Detectors that share a budget and alarm together hold at most EARNED_LIMIT of it together without evidence. No
    alarm is called before `min_samples` labels. Labels after an alarm are passed over. A clock that goes back earns
    nothing until it has caught up. `held_elsewhere` is what other detectors of the same null hold of each part, where
    they alarm together by the sum.
    """
    import numpy as np

    if detector.alarmed_at is not None:
        return detector
    bounds, goals, min_gain = (
        np.array(each) for each in (detector.null.bounds, detector.null.goals, detector.min_gain)
    )
    bets = np.where(bounds < 1, 1 / (detector.max_weight * bounds), 0.0)[:, None] * np.array(STAKES)
    wealth = np.array(detector.wealth).reshape(bets.shape)
    elsewhere = np.array(held_elsewhere or (0.0,) * len(bounds))
    missing_at_zero, limit = goals * _ALARM_WEALTH - elsewhere, EARNED_LIMIT * budget_share
    until, n, alarmed_at = detector.at, detector.n, None
    for observation in observations:
        if not (0 <= observation.loss <= 1 and 0 < observation.weight <= detector.max_weight):
            raise WindowError(
                f"a label wrong by {observation.loss} of weight {observation.weight} does not fit; "
                f"wrong is 0 to 1, and weights go up to {detector.max_weight}"
            )
        earned = max(0.0, (observation.at - until).total_seconds()) * per_second * budget_share
        until, n = max(until, observation.at), n + observation.labels
        gain = observation.weight * (observation.loss - bounds)
        wealth, held = _with_earned(wealth, earned, limit)
        part = (
            _bet_fractions(missing_at_zero - held, min_gain * (wealth * bets).sum(axis=1)) if n >= min_samples else 1.0
        )
        wealth *= 1 + bets * (part * gain)[:, None]
        if observation.loss > 0:
            min_gain = np.where(gain > 0, np.minimum(min_gain, gain), min_gain)
        if n >= min_samples and bool((elsewhere + wealth.sum(axis=1) >= goals).all()):
            alarmed_at = observation.at
            break
    return replace(
        detector,
        wealth=tuple(wealth.ravel().tolist()),
        at=until,
        min_gain=tuple(min_gain.tolist()),
        n=n,
        alarmed_at=alarmed_at,
    )


def _with_earned(wealth: "Array", earned: float, limit: float) -> "tuple[Array, Array]":
    """The wealth of each part and stake with what time has added, up to the limit; and the sum of each part."""
    import numpy as np

    held = wealth.sum(axis=1)
    added = np.minimum(earned, np.maximum(limit - held, 0.0))
    return wealth + (added / len(STAKES))[:, None], held + added


def _bet_fractions(missing: "Array", gain: "Array") -> "Array":
    """The part of every stake that is bet, so that a gain fills the purses and no more."""
    import numpy as np

    return np.minimum(np.maximum(missing, 0.0) / np.maximum(gain, _SMALLEST_GAIN), 1.0)


def change_point(null: float, max_weight: float, observations: Sequence[Observation]) -> int:
    """The place of the label from which on there are too many errors, judging by all of them.

    The change that is most likely under the stake that explains best what came after it: the starting point of Page's
    CUSUM ("Continuous inspection schemes", Biometrika 41, 1954). Raises WindowError without labels.
    """
    import numpy as np

    if not observations:
        raise WindowError("there is no label in which a change could be found")
    moves = np.array([observation.weight * (observation.loss - null) for observation in observations])
    growth = np.log1p(np.outer(np.array(STAKES) / (max_weight * null), moves))
    after = np.cumsum(growth[:, ::-1], axis=1)[:, ::-1]
    _, place = np.unravel_index(int(np.argmax(after)), after.shape)
    return int(place)


def labels_until_alarm(
    detector: Detector, share: float, earned: float, held_elsewhere: Sequence[float] = ()
) -> int | None:
    """How many more labels call an alarm if this share of them is wrong; None when no number does.

    A forecast, not a promise: the wealth of each stake grows by its expected logarithm (a little more, because alarms
    come in lucky stretches), and by what time adds, until one more wrong answer refutes the last part, and a wrong
    answer has to come. `earned` is the budget that comes with each label.
    """
    import numpy as np

    bounds, stakes = np.array(detector.null.bounds)[:, None], np.array(STAKES)
    won, lost = np.where(bounds < 1, stakes * (1 - bounds) / bounds, 0.0), np.where(bounds < 1, -stakes, 0.0)
    typical = share * np.log1p(won) + (1 - share) * np.log1p(lost)
    growth = (1 - _LUCK) * typical + _LUCK * np.log1p(share * won + (1 - share) * lost)
    wealth = np.array(detector.wealth).reshape(growth.shape) + earned / len(STAKES)
    missing = np.array(detector.null.goals) - np.array(held_elsewhere or (0.0,) * len(bounds))

    def alarms(labels: int) -> bool:
        grown = np.exp(np.minimum(growth * (labels - 1), 700.0))
        rate = np.where(growth == 0, 1.0, np.expm1(growth))
        added = earned / len(STAKES) * np.where(growth == 0, labels - 1.0, (grown - 1) / rate)
        reached = ((wealth * grown + added) * (1 + won)).sum(axis=1)
        return labels * share >= 1 and bool((reached >= missing).all())

    return smallest_sufficient(alarms) if wealth.any() else None


class AlarmState(Protocol):
    """What a decision asks a detector, or several that alarm together."""

    @property
    def evidence(self) -> float:
        """The evidence against health; 1 is an alarm."""

    @property
    def alarmed_at(self) -> datetime | None:
        """When it alarmed; None without an alarm."""

    @property
    def changed_at(self) -> datetime | None:
        """Of an alarm: when the first answer was given that it rests on."""


def has_alarmed(detector: AlarmState | None) -> bool:
    """Whether there is a detector and its alarm is not settled."""
    return detector is not None and detector.alarmed_at is not None


def restart_detector(detector: Detector, at: datetime) -> Detector:
    """The detector begun anew, after an alarm has been settled."""
    return start_detector(detector.null, at, detector.max_weight)


def e_bh(evidence: Mapping[str, float]) -> frozenset[str]:
    """Which streams that share one budget alarm: the largest group of j streams with evidence of 1/j each.

    This is e-BH (Wang, Ramdas 2022) in units of the budget. A group holds wealth of at least 1 together, so the
    expected number of times that healthy streams alarm stays within what they earned together. Only streams without
    an alarm may take part: the wealth of one that has alarmed is spent, and would let healthy streams alarm with less.
    """
    ranked: Sequence[tuple[str, float]] = sorted(evidence.items(), key=lambda pair: (-pair[1], pair[0]))
    places = [place for place, (_, amount) in enumerate(ranked, start=1) if amount * place >= 1]
    return frozenset(name for name, _ in ranked[: max(places, default=0)])
