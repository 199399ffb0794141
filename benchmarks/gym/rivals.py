"""Detectors that others use, asked label by label; they read the same labels as ours and know no store."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, Final, Protocol

import numpy as np

from monitors.statistics.e_detector import Observation, start_detector, update_detector

Bits = Sequence[int]
"""1 for a wrong answer, 0 for a right one, in the order labels became known."""
BUDGET: Final = timedelta(days=90)
_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Follower(Protocol):
    """A detector: told whether an answer was wrong, it says whether something has changed."""

    def update(self, wrong: int) -> bool: ...


@dataclass(frozen=True)
class Rival:
    """A kind of detector; `knobs` go from eager to calm, `usual` is what projects run it with."""

    name: str
    make: Callable[[float], Follower]
    knobs: tuple[float, ...]
    usual: float


class Window:
    """The naive rule: the share of wrong answers among the last labels, held against a number."""

    def __init__(self, size: int, allowed: float) -> None:
        self._held: deque[int] = deque(maxlen=size)
        self._wrong, self._allowed = 0, allowed * size

    def update(self, wrong: int) -> bool:
        is_full = len(self._held) == self._held.maxlen
        self._wrong += wrong - (self._held[0] if is_full else 0)
        self._held.append(wrong)
        return len(self._held) == self._held.maxlen and self._wrong > self._allowed + 1e-9


class River:
    """A drift detector of the library river."""

    def __init__(self, detector: Any) -> None:  # noqa: ANN401 - river is untyped
        self._detector = detector

    def update(self, wrong: int) -> bool:
        self._detector.update(wrong)
        return bool(self._detector.drift_detected)


def rivals(naive_limit: float) -> tuple[Rival, ...]:
    """What ours is compared with; `naive_limit` is the error share that "accuracy drop > 0.5 %" allows."""
    from river.drift import ADWIN, PageHinkley
    from river.drift.binary import DDM

    above = tuple(naive_limit + step for step in np.arange(0, 0.12, 0.002))
    return (
        Rival("naive-200", lambda limit: Window(200, limit), above, naive_limit),
        Rival("naive-1000", lambda limit: Window(1000, limit), above, naive_limit),
        Rival(
            "adwin",
            lambda delta: River(ADWIN(delta=delta)),
            (0.9, 0.7, 0.5, 0.2, 0.1, 0.05, 0.03, 0.01, 2e-3, 5e-4, 1e-4, 1e-5, 1e-6, 1e-8, 1e-11, 1e-15, 1e-20),
            0.002,
        ),
        Rival("ddm", lambda level: River(DDM(drift_threshold=level)), (3, 4, 5, 6, 8, 10, 14, 20, 30), 3.0),
        Rival(
            "page-hinkley",
            lambda level: River(PageHinkley(threshold=level, delta=0.005, mode="up")),
            (1, 1.5, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 34, 40, 50, 80, 120, 200, 400),
            50.0,
        ),
        Rival(
            "page-hinkley-0.01",
            lambda level: River(PageHinkley(threshold=level, delta=0.01, mode="up")),
            (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 20, 26, 34, 50, 80, 120, 200),
            50.0,
        ),
    )


def alarms(make: Callable[[], Follower], labels: Bits) -> list[int]:
    """The places of the labels at which alarms are called; after each one the detector begins anew."""
    return list(_alarms(make, labels))


def _alarms(make: Callable[[], Follower], labels: Bits) -> Iterator[int]:
    follower = make()
    for place, wrong in enumerate(labels):
        if follower.update(wrong):
            yield place
            follower = make()


def our_alarms(null: float, labels: Bits, per_day: float) -> list[int]:
    """The same for the platform's detector, with a budget of one false alarm in 90 days."""
    found, first, gap = [], 0, timedelta(days=1 / per_day)
    while first < len(labels):
        start = _EPOCH + first * gap
        rest = [Observation(start + (n + 1) * gap, float(wrong)) for n, wrong in enumerate(labels[first:])]
        moved = update_detector(start_detector(null, start), rest, 1 / BUDGET.total_seconds())
        if moved.alarmed_at is None:
            break
        first += moved.n
        found.append(first - 1)
    return found


def healthy_streams(allowed: float, usual: float, per_day: float, runs: int, seed: int) -> tuple[list[Bits], ...]:
    """Streams of 90 days that must raise no alarm, in three families.

    As bad as is just allowed, all the time; from the 10th day on; and every other ten days.
    """
    draw, labels, calm = np.random.default_rng(seed), int(90 * per_day), int(10 * per_day)
    tens = np.arange(labels) // calm
    shares = (np.full(labels, allowed), np.where(tens > 0, allowed, usual), np.where(tens % 2 > 0, allowed, usual))
    return tuple([(draw.random(labels) < share).astype(int).tolist() for _ in range(runs)] for share in shares)


def calibrated(rival: Rival, families: Sequence[Sequence[Bits]], most: Sequence[int]) -> float | None:
    """The most eager knob whose false alarms stay within `most` in each family of healthy streams; None without one."""
    for knob in rival.knobs:
        if all(_stays_within(partial(rival.make, knob), *each) for each in zip(families, most, strict=True)):
            return knob
    return None


def _stays_within(make: Callable[[], Follower], family: Sequence[Bits], most: int) -> bool:
    """Whether a detector calls at most so many alarms in a family of streams; after one more it is asked no further."""
    called = (place for each in family for place in _alarms(make, each))
    return next(islice(called, most, None), None) is None
