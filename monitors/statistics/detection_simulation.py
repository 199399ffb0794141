"""Simulates how soon a detector finds a rise of the error share, many streams at once.

The detector is that of `monitors.statistics.e_detector` on independent labels of one weight, right or wrong. The
streams jump from wrong answer to wrong answer: all right answers between two are one step, in which stakes shrink as if
no bet were cut short. That loses a little where an alarm is near, so the forecast is a little cautious.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from monitors.statistics.e_detector import EARNED_LIMIT, STAKES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_SECONDS_PER_DAY: Final = 86_400
_TINY: Final = 1e-9
_MOST_WEALTH: Final = 1e100
_ROUNDING: Final = 1 + 1e-9


@dataclass(frozen=True)
class StreamSettings:
    """What a detector is given: what each part of its null allows and is refuted by, labels, budget.

    `bounds` and `goals`: for each part the error share that it allows, and the wealth that refutes it. `per_second` is
    the budget of false alarms, of which this detector has `budget_share`.
    """

    bounds: tuple[float, ...]
    goals: tuple[float, ...]
    labels_per_day: float
    per_second: float
    min_samples: int = 1
    budget_share: float = 1.0


def days_until_alarm(
    settings: StreamSettings,
    usual: float,
    shares: Sequence[float],
    days: float,
    runs: int,
    healthy_days: float,
    seed: int,
) -> "Array":
    """How many days after a rise from `usual` to each share the detector alarms, (shares, runs); infinite for later.

    Before the rise all is well for `healthy_days`. A run has the same luck at every share.
    """
    import numpy as np

    draw = np.random.default_rng(seed)
    streams = _Streams(settings, runs)
    streams.run(np.full(runs, usual), healthy_days, lambda: draw.random(runs))
    streams.restart_alarmed()
    streams.repeat(len(shares))
    found = streams.run(np.repeat(np.asarray(shares), runs), days, lambda: np.tile(draw.random(runs), len(shares)))
    return found.reshape(len(shares), runs)


class _Streams:
    """The purses of many detectors, (streams, parts, stakes), and how many labels each has read."""

    def __init__(self, settings: StreamSettings, streams: int) -> None:
        import numpy as np

        self._settings = settings
        kept = np.array(settings.bounds) < 1  # a part that allows every error is refuted by no label
        self._goals, bounds = np.array(settings.goals)[kept], np.array(settings.bounds)[kept]
        stakes = np.array(STAKES)
        self._gains = stakes * ((1 - bounds) / bounds)[:, None]
        self._log_kept = np.log1p(-stakes)
        self._earned = settings.per_second * settings.budget_share * _SECONDS_PER_DAY / settings.labels_per_day
        self._limit = EARNED_LIMIT * settings.budget_share
        self._wealth = np.zeros((streams, len(bounds), len(stakes)))
        self._labels = np.zeros(streams)

    def run(self, shares: "Array", days: float, uniforms: Callable[[], "Array"]) -> "Array":
        """Let so many days pass at these shares of wrong answers; returns the day of each stream's alarm."""
        import numpy as np

        alarms, at, alive = np.full(len(shares), np.inf), np.zeros(len(shares)), np.arange(len(shares))
        rate, log_right = self._settings.labels_per_day, np.log1p(-np.clip(shares, _TINY, 1 - _TINY))
        while len(alive):
            luck = np.maximum(uniforms()[alive], 1e-300)
            right = np.floor(np.log(luck) / log_right[alive])
            at[alive] += (right + 1) / rate
            going = at[alive] <= days
            alive, right = alive[going], right[going]
            alarmed = self._read(alive, right)
            alarms[alive[alarmed]] = at[alive[alarmed]]
            alive = alive[~alarmed]
        return alarms

    def restart_alarmed(self) -> None:
        """Let those that would have alarmed by now begin anew."""
        over = (self._wealth.sum(axis=2) >= self._goals).all(axis=1)
        self._wealth[over] = 0.0

    def repeat(self, times: int) -> None:
        """Make so many copies of every stream, one set after the other."""
        import numpy as np

        self._wealth, self._labels = np.tile(self._wealth, (times, 1, 1)), np.tile(self._labels, times)

    def _read(self, rows: "NDArray[np.intp]", right: "Array") -> "NDArray[np.bool_]":
        """Read so many right answers and then a wrong one in each of these streams; returns which have alarmed."""
        import numpy as np

        kept = np.exp(right[:, None] * self._log_kept)
        added = self._earned / len(STAKES) * np.exp(self._log_kept) * (1 - kept) / np.array(STAKES)
        wealth = self._wealth[rows] * kept[:, None, :]
        room = np.maximum(self._limit - wealth.sum(axis=2), 0.0)
        scale = np.minimum(1.0, room / np.maximum(added.sum(axis=1), 1e-300)[:, None])
        wealth += scale[:, :, None] * added[:, None, :]
        held = wealth.sum(axis=2)
        last = np.minimum(self._earned, np.maximum(self._limit - held, 0.0))
        wealth += (last / len(STAKES))[:, :, None]
        held += last
        gain = (wealth * self._gains).sum(axis=2)
        self._labels[rows] += right + 1
        ready = self._labels[rows] >= self._settings.min_samples
        missing = np.maximum(self._goals * _ROUNDING - held, 0.0)
        part = np.where(ready[:, None], np.minimum(1.0, missing / np.maximum(gain, 1e-300)), 1.0)
        wealth *= 1 + part[:, :, None] * self._gains
        self._wealth[rows] = np.minimum(wealth, _MOST_WEALTH)  # below `min_samples` nothing ends a long win
        alarmed: NDArray[np.bool_] = ready & (held + part * gain >= self._goals).all(axis=1)
        return alarmed
