"""Durations, thresholds, budgets and counts: read as people write them in alerts.yaml, and put into plain words."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, assert_never

from monitors.rules.metric_catalog import Unit, metric_spec

_INVISIBLE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_DURATION_UNITS: Final = (("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_SECONDS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MAX_DURATION = timedelta(days=3653)
_DURATION = re.compile(r"(\d{1,9})\s*([smhdw])")
_THRESHOLD = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(points|x|%|answers|)")
_UNIT_SCALE: Final[Mapping[Unit, int]] = {"points": 100, "%": 100, "x": 1, "answers": 1, "": 1, "duration": 1}
"""What one is in that unit."""
_BUDGET = re.compile(r"(\d{1,4})\s+per\s+(\d{1,9}\s*[smhdw])")
_NAMED_BUDGET = re.compile(r"budget\s+([a-z0-9]+(?:-[a-z0-9]+)*)")

DURATION_PATTERN = r"^\s*\d{1,9}\s*[smhdw]\s*$"
BUDGET_PATTERN = r"^\s*\d{1,4}\s+per\s+\d{1,9}\s*[smhdw]\s*$"
RULE_BUDGET_PATTERN = r"^\s*(\d{1,4}\s+per\s+\d{1,9}\s*[smhdw]|budget\s+[a-z0-9]+(-[a-z0-9]+)*)\s*$"
THRESHOLD_PATTERN = r"^\s*\d{1,9}(\.\d{1,9})?\s*(points|x|%|answers|[smhdw]|)\s*$"


def parse_duration(text: object) -> timedelta:
    """Turn "30s", "5m", "6h", "1d" or "2w" into a timedelta of at most ten years."""
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError("is not a duration; write a whole number and a unit, like 30s, 5m, 6h, 1d or 2w")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > _MAX_DURATION.total_seconds():
        raise ValueError("is longer than ten years; write a shorter duration")
    return timedelta(seconds=seconds)


@dataclass(frozen=True)
class FalseAlarmBudget:
    """How many false alarms are tolerated in how long a time, on average."""

    count: int
    period: timedelta
    text: str

    @property
    def per_second(self) -> float:
        return self.count / self.period.total_seconds()


def parse_false_alarm_budget(text: object) -> FalseAlarmBudget:
    """Turn "1 per 90d" into a budget of false alarms."""
    if isinstance(text, FalseAlarmBudget):
        return text
    if (name := named_budget(text)) is not None:
        raise ValueError(
            f"is a budget that is not there; write {name}: 1 per 90d under `budgets`, or the budget itself"
        )
    match = _BUDGET.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or int(match[1]) < 1:
        raise ValueError("is not a budget of false alarms; write for example 1 per 90d")
    period = parse_duration(match[2])
    if period <= timedelta(0):
        raise ValueError("is a budget over no time; write for example 1 per 90d")
    return FalseAlarmBudget(int(match[1]), period, f"{int(match[1])} per {match[2]}")


def named_budget(text: object) -> str | None:
    """The name in "budget accuracy", the part of a budget that several rules share; None for anything else."""
    match = _NAMED_BUDGET.fullmatch(text.strip()) if isinstance(text, str) else None
    return None if match is None else match[1]


def parse_threshold(text: object, metric: str) -> float:
    """Turn "0.5 points" into 0.005, "10 %" into 0.1, "2 x" into 2.0, "2d" into seconds; the unit must fit."""
    kind = metric_spec(metric)
    if kind.units == ("duration",):
        return parse_duration(text).total_seconds()
    written = str(text) if isinstance(text, int | float) and not isinstance(text, bool) else text
    match = _THRESHOLD.fullmatch(written.strip()) if isinstance(written, str) else None
    unit = next((allowed for allowed in kind.units if match is not None and allowed == match[2]), None)
    if match is None or unit is None:
        raise ValueError(f"does not fit metric {metric}; write for example {kind.example}")
    number = float(match[1]) / _UNIT_SCALE[unit]
    if _UNIT_SCALE[unit] == 100 and number >= 1:
        raise ValueError(f"can never be exceeded; a threshold for {metric} must be below 100 %")
    if kind.min_threshold is not None and number < kind.min_threshold[0]:
        raise ValueError(kind.min_threshold[1])
    return number


def percent_text(share: float) -> str:
    """0.9234 as "92.3 %"."""
    return f"{100 * share:.1f} %"


def number_text(value: float, digits: int = 3) -> str:
    """1394.6 as "1,395" and 0.04567 as "0.0457": whole where it has more digits, and never with an exponent above."""
    return f"{value:,.0f}" if abs(value) >= 10**digits - 0.5 else f"{value:.{digits}g}"


def metric_value_text(metric: str, value: float | None) -> str:
    """A value of a metric with its unit; a dash where there is none."""
    if value is None:
        return "—"
    match metric_spec(metric).units[0]:
        case "points":
            return f"{100 * value:.1f} points"
        case "%":
            return percent_text(value)
        case "x":
            return f"{value:.2f} x"
        case "answers":
            return count_text(round(value), "answer")
        case "duration":
            return approximate_duration_text(value)
        case "":
            return number_text(value, 4)
        case unit:
            assert_never(unit)


def baseline_text(metric: str, value: float | None) -> str:
    """What a metric is held against: an accuracy, or milliseconds."""
    if value is None:
        return "—"
    return milliseconds_text(value) if metric_spec(metric).baseline_unit == "ms" else percent_text(value)


def milliseconds_text(value: float) -> str:
    """12.34 as "12.3 ms", and below 1 two decimals, where a tenth is much: "0.31 ms"."""
    return f"{value:.{1 if value >= 1 else 2}f} ms"


def interval_text(metric: str, low: float | None, high: float | None) -> str:
    """Both limits with their unit; an open end where the sample gives no limit."""
    if low is None and high is None:
        return "—"
    if low is None:
        return f"at most {metric_value_text(metric, high)}"
    return (
        f"at least {metric_value_text(metric, low)}"
        if high is None
        else f"{metric_value_text(metric, low)} to {metric_value_text(metric, high)}"
    )


def share_change_text(drop: float) -> str:
    """How an accuracy or a mean loss lies against another one, given how far it fell: 0.02 as "2.0 points lower"."""
    return f"{100 * abs(drop):.1f} points {'lower' if drop > 0 else 'higher'}" if round(drop, 3) else "no difference"


def count_text(number: int, noun: str) -> str:
    """3 as "3 labels", 1 as "1 label"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def approximate_duration_text(seconds: float) -> str:
    """A length of time with one decimal of its largest unit: "2.4d"."""
    size, unit = next(((size, unit) for unit, size in _DURATION_UNITS[1:] if seconds >= size), (1, "s"))
    return f"{seconds / size:.1f}{unit}"


def duration_text(length: timedelta) -> str:
    """A length of whole seconds as rules write it: "4h", "90m"; "0s" for none."""
    seconds = int(length.total_seconds())
    return next((f"{seconds // size}{unit}" for unit, size in _DURATION_UNITS if seconds and seconds % size == 0), "0s")


def single_line(text: str) -> str:
    """Text from outside as one line for people: without control characters, breaks and marks that turn it around."""
    visible = "".join(
        " " if unicodedata.category(character) in _INVISIBLE_CATEGORIES else character for character in text
    )
    return " ".join(visible.split())


def sentences_within(sentences: Sequence[str], most: int, longest: int, noun: str = "sentence") -> list[str]:
    """As many whole sentences as fit, `most` at most; the others are counted in a last one, which always fits.

    Together with line breaks they are no longer than `longest` characters, unless the first alone is.
    """
    for kept in range(min(most, len(sentences)), 0, -1):
        rest = len(sentences) - kept
        shown = [*sentences[:kept], *([f"And {count_text(rest, noun)} more."] if rest else [])]
        if kept == 1 or len("\n".join(shown)) <= longest:
            return shown
    return []


def join_names_within(names: Sequence[str], most: int, longest: int) -> str:
    """`join_names`, in at most so many characters: fewer names, and a single one is cut, before the count is."""
    for kept in range(min(most, len(names)), 0, -1):
        shown = join_names(names, kept)
        if len(shown) <= longest:
            return shown
    rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0][: max(1, longest - len(rest) - 1)]}…{rest}" if names else ""


def join_names(names: Sequence[str], most: int) -> str:
    """Names with commas; those beyond `most` are counted."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
