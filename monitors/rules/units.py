"""Durations and thresholds as people write them ("6h", "0.5 points"); knows nothing of rules or files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from monitors.rules.metric_catalog import Unit, metric_spec

_SECONDS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MAX_DURATION = timedelta(days=3653)
_DURATION = re.compile(r"(\d{1,9})\s*([smhdw])")
_THRESHOLD = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(points|x|%|answers|)")
_UNIT_SCALE: Final[Mapping[Unit, int]] = {"points": 100, "%": 100, "x": 1, "answers": 1, "": 1, "duration": 1}
"""What one is in that unit."""
_BUDGET = re.compile(r"(\d{1,4})\s+per\s+(\d{1,9}\s*[smhdw])")

DURATION_PATTERN = r"^\s*\d{1,9}\s*[smhdw]\s*$"
BUDGET_PATTERN = r"^\s*\d{1,4}\s+per\s+\d{1,9}\s*[smhdw]\s*$"
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
    match = _BUDGET.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or int(match[1]) < 1:
        raise ValueError("is not a budget of false alarms; write for example 1 per 90d")
    period = parse_duration(match[2])
    if period <= timedelta(0):
        raise ValueError("is a budget over no time; write for example 1 per 90d")
    return FalseAlarmBudget(int(match[1]), period, f"{int(match[1])} per {match[2]}")


def parse_threshold(text: object, metric: str) -> float:
    """Turn "0.5 points" into 0.005, "10 %" into 0.1, "2 x" into 2.0, "2d" into seconds; the unit must fit."""
    kind = metric_spec(metric)
    if kind.units == ("duration",):
        return parse_duration(text).total_seconds()
    written = str(text) if isinstance(text, int | float) and not isinstance(text, bool) else text
    match = _THRESHOLD.fullmatch(written.strip()) if isinstance(written, str) else None
    unit = next((each for each in kind.units if match is not None and each == match[2]), None)
    if match is None or unit is None:
        raise ValueError(f"does not fit metric {metric}; write for example {kind.example}")
    number = float(match[1]) / _UNIT_SCALE[unit]
    if _UNIT_SCALE[unit] == 100 and number >= 1:
        raise ValueError(f"can never be exceeded; a threshold for {metric} must be below 100 %")
    if kind.min_threshold is not None and number < kind.min_threshold[0]:
        raise ValueError(kind.min_threshold[1])
    return number
