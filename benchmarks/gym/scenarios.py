"""The gym's streams, each with a known moment of change; they hold numbers and know no platform."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal

import numpy as np

from benchmarks.gym.stage import Shown
from benchmarks.gym.worlds import CHANGES, Atlas

Mixture = Mapping[tuple[str, float], float]
"""The share of each place, given by its name and how strongly it is changed."""
Feedback = Literal["audit", "complaints", "poison", "sheets", "complaints-first"]
"""How labels come: reviews of drawn answers alone; besides them reported errors, or lies; or, in place of them, whole
sheets of one writer, or the truth of a part of the answers, soon where they were wrong and late where right."""

OLD: Final[Mixture] = {("old", 1.0): 1.0}
PER_HOUR: Final = 60
CHANGE: Final = 10.0
GRADUAL_DAYS: Final = 10.0
QUICK_HEALTHY_DAYS: Final = 21.0
QUICK_DAYS_AFTER: Final = 10.0
FAILING: Final = ("thick", 1.0)
"""How the class that fails is shown."""


@dataclass(frozen=True)
class Scenario:
    """One stream: what is shown on which day, until when, and how labels come.

    `changes`: the days on which the world changes for the worse; none for a healthy stream. `failing` is a class
    that is shown changed on its own.
    """

    name: str
    number: int
    mixture: Callable[[float], Mixture]
    days: float
    changes: tuple[float, ...] = ()
    renews: bool = False
    feedback: Feedback = "audit"
    per_day: int = 200
    uniform: float = 1.0
    lag: timedelta = timedelta(hours=1)
    failing: int | None = None
    slowness: Callable[[float], float] = lambda _: 1.0
    rule: Literal["labels", "latency"] = "labels"
    """What has to find the change: the rules about labels, or the one about latency."""

    @property
    def is_healthy(self) -> bool:
        return not self.changes

    @property
    def audits_per_day(self) -> int:
        """How many answers a day are drawn for review; none where labels come by themselves."""
        return 0 if self.feedback in ("sheets", "complaints-first") else self.per_day

    def pictures(self, atlas: Atlas, day: float, draw: np.random.Generator) -> list[Shown]:
        """What is shown in one hour."""
        if self.feedback == "sheets":
            return _sheets(atlas, draw)
        mixture = self.mixture(day)
        names, shares = list(mixture), np.array(list(mixture.values()))
        picked = draw.choice(len(names), PER_HOUR, p=shares / shares.sum())
        shown = []
        for place, strength in (names[i] for i in picked):
            stream = atlas.place(place, strength).stream
            index = int(draw.integers(len(stream)))
            failing = self.failing is not None and day >= self.changes[0] and stream.labels[index] == self.failing
            shown.append(Shown(*FAILING, index) if failing else Shown(place, strength, index))
        return shown


def _always(mixture: Mixture) -> Callable[[float], Mixture]:
    return lambda _: mixture


def _from(day: float, after: Mixture) -> Callable[[float], Mixture]:
    return lambda now: OLD if now < day else after


def _growing(place: str, most: float) -> Callable[[float], Mixture]:
    def mixture(now: float) -> Mixture:
        grown = most * min(1.0, max(0.0, (now - CHANGE) / GRADUAL_DAYS))
        return OLD if grown < 0.05 else {(place, round(grown * 20) / 20): 1.0}

    return mixture


def _in_turn(place: str, strength: float, days: float) -> Callable[[float], Mixture]:
    return lambda now: {(place, strength): 1.0} if int(now // days) % 2 else OLD


def scenarios(atlas: Atlas, small: Mapping[str, float]) -> tuple[Scenario, ...]:
    """Every stream that the atlas allows; `small` gives the share of changed pictures that costs so many points."""
    at = (CHANGE,)
    scanner = {("rescanned", 1.0): 0.7, ("old", 1.0): 0.3}
    turned = {("turned", 0.7): 1.0}
    streams = [
        Scenario("stationary", 1, _always(OLD), 45),
        Scenario("abrupt-usps", 2, _from(CHANGE, {("usps", 1.0): 1.0}), 45, at, renews=True),
        Scenario("abrupt-scanner", 2, _from(CHANGE, scanner), 30, at, renews=True),
        Scenario("gradual-turned", 3, _growing("turned", 0.8), 45, at, renews=True),
        Scenario("gradual-blurred", 3, _growing("blurred", 0.8), 60, at),
        Scenario("gradual-noisy", 3, _growing("noisy", 0.6), 60, at),
        Scenario("gradual-thick", 3, _growing("thick", 0.9), 60, at),
        Scenario("one-class", 4, _always(OLD), 40, at, failing=7),
        Scenario("new-writers", 5, _from(CHANGE, {("students", 1.0): 1.0}), 45, at, renews=True),
        Scenario("benign", 6, _from(CHANGE, {("bright", 1.0): 1.0}), 45, renews=True),
        Scenario("complaints", 7, _always(OLD), 45, feedback="complaints", per_day=40, uniform=0.5),
        Scenario("late-sparse", 8, _from(CHANGE, turned), 90, at, per_day=14, lag=timedelta(days=2)),
        Scenario("poisoned", 9, _always(OLD), 30, feedback="poison", renews=True),
        Scenario("recurring", 10, _in_turn("turned", 0.7, 15), 60, (15.0, 45.0), renews=True),
        Scenario("writer-by-writer", 13, _always(OLD), 45, feedback="sheets"),
        Scenario("complaints-first", 14, _always(OLD), 45, feedback="complaints-first"),
        Scenario("latency-step", 11, _always(OLD), 12, at, slowness=_slow_from(CHANGE), rule="latency"),
    ]
    for points, share in small.items():
        after = {("turned", 0.7): share, ("old", 1.0): 1 - share}
        streams.append(Scenario(f"small-{points}", 12, _from(CHANGE, after), 90, at))
    return tuple(each for each in streams if _is_there(atlas, each))


def in_short(scenario: Scenario) -> Scenario:
    """The stream as `--quick` plays it: healthy ones for three weeks at most, others for ten days after a change."""
    days = QUICK_HEALTHY_DAYS if scenario.is_healthy else scenario.changes[-1] + QUICK_DAYS_AFTER
    return replace(scenario, days=min(scenario.days, days))


def _sheets(atlas: Atlas, draw: np.random.Generator) -> list[Shown]:
    """What is shown in one hour where writers come one after the other, each with all that is theirs."""
    by_writer = atlas.rows_by_writer("old")
    writers, shown = sorted(by_writer), list[Shown]()
    while len(shown) < PER_HOUR:
        writer = writers[int(draw.integers(len(writers)))]
        sheet = f"{writer}-{int(draw.integers(2**31))}"
        shown += [Shown("old", 1.0, index, sheet) for index in by_writer[writer]]
    return shown


def _slow_from(day: float) -> Callable[[float], float]:
    return lambda now: 3.0 if now >= day else 1.0


def _is_there(atlas: Atlas, scenario: Scenario) -> bool:
    if scenario.feedback == "sheets" and not atlas.has_writers:
        return False
    return all(place in {*atlas.places, *CHANGES} for place, _ in scenario.mixture(CHANGE + 1))
