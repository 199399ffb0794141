"""How old an answer must be before its label may estimate, derived from how late the labels of right answers come.

Errors are often known first: a complaint comes after a day, the confirmation that nothing was wrong after a month. Who
reads such labels as they come sees mostly errors. Read in the order of the answers, once nearly all labels of a time
are there, they are like the answers they belong to.

An observed lag is never longer than labels have been watched, so a quantile that is close to that time says nothing
about the lags to come: it is not relied on before labels have been watched for WATCH_FACTOR times as long.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil, exp, log
from typing import Any, Final

from monitors.errors import WindowError

COVERAGE: Final = 0.95
"""The share of the labels of right answers that have come by the time an answer is mature."""
MIN_LAGS: Final = 20
"""Fewer lags say nothing about their 95 % quantile."""
WATCH_FACTOR: Final = 3.0
UNCONFIRMED_WATCH_FACTOR: Final = 10.0
"""Where hardly any answer was right: those labels may be complaints, and the others yet to come."""
_BIN_RATIO: Final = 1.1
_MAX_LAGS: Final = 4_000


@dataclass(frozen=True)
class LabelLags:
    """How late labels came: counts by bin of lag (each 1.1 times the one before), of right and of wrong answers."""

    right: Mapping[int, float] = field(default_factory=dict)
    wrong: Mapping[int, float] = field(default_factory=dict)
    first_at: datetime | None = None
    """When the oldest of the labelled answers was given."""

    def add(self, labels: Iterable[tuple[datetime, datetime, bool]]) -> "LabelLags":
        """The lags with those of further labels: when the answer was given, when its label came, whether it was right.

        Old lags count ever less once there are 4,000, so that the lags follow a world that changes.
        """
        counts = {True: Counter[int](), False: Counter[int]()}
        first_at = self.first_at
        for answered_at, known_at, is_right in labels:
            counts[is_right][_bin_of((known_at - answered_at).total_seconds())] += 1
            first_at = answered_at if first_at is None else min(first_at, answered_at)
        return replace(
            self, right=_sum(self.right, counts[True]), wrong=_sum(self.wrong, counts[False]), first_at=first_at
        )

    def to_json(self) -> dict[str, Any]:
        """The lags as JSON values; `from_json` gives back equal ones."""
        return {
            "right": {str(place): n for place, n in sorted(self.right.items())},
            "wrong": {str(place): n for place, n in sorted(self.wrong.items())},
            "first_at": None if self.first_at is None else self.first_at.isoformat(),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "LabelLags":
        """The lags of `to_json`; raises WindowError naming what does not fit."""
        try:
            first = raw["first_at"]
            return cls(
                {int(place): float(n) for place, n in raw["right"].items()},
                {int(place): float(n) for place, n in raw["wrong"].items()},
                None if first is None else datetime.fromisoformat(first),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WindowError(f"{dict(raw)!r} are no lags of labels ({error}); begin anew") from error


def derived_maturity(lags: LabelLags, now: datetime) -> timedelta | None:
    """How old answers must be before their labels are read; None while that cannot be told.

    The 95 % quantile of the lags of right answers, rounded up by at most a tenth. Where fewer than 20 right answers
    have a label, that of all lags, which must have been watched for much longer.
    """
    if lags.first_at is None:
        return None
    watched = (now - lags.first_at).total_seconds()
    quantile = _quantile(lags.right)
    factor = WATCH_FACTOR
    if quantile is None:
        quantile, factor = _quantile(_sum(lags.right, lags.wrong)), UNCONFIRMED_WATCH_FACTOR
    if quantile is None or quantile * factor > watched:
        return None
    return timedelta(seconds=quantile)


def uncovered_share(lags: LabelLags, maturity: timedelta) -> float | None:
    """The share of labels of right answers that come later than an answer is mature; None where few are known."""
    total = sum(lags.right.values())
    if total < MIN_LAGS:
        return None
    limit = _bin_of(maturity.total_seconds())
    return sum(n for place, n in lags.right.items() if place > limit) / total


def _bin_of(seconds: float) -> int:
    """Bin 0 holds lags up to a second, which count as none, bin k those up to 1.1 ** k seconds."""
    return max(0, ceil(log(seconds) / log(_BIN_RATIO) - 1e-9)) if seconds > 1 else 0


def _upper_edge(place: int) -> float:
    return exp(place * log(_BIN_RATIO)) if place else 0.0


def _quantile(counts: Mapping[int, float]) -> float | None:
    total = sum(counts.values())
    if total < MIN_LAGS:
        return None
    reached = 0.0
    for place in sorted(counts):
        reached += counts[place]
        if reached >= COVERAGE * total - 1e-9:
            return _upper_edge(place)
    return _upper_edge(max(counts))


def _sum(before: Mapping[int, float], more: Mapping[int, float]) -> dict[int, float]:
    """Both counts together, scaled down to the most that is remembered."""
    total = sum(before.values()) + sum(more.values())
    scale = min(1.0, _MAX_LAGS / total) if total else 1.0
    return {place: scale * (before.get(place, 0) + more.get(place, 0)) for place in sorted({*before, *more})}
