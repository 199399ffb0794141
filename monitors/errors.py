"""The errors of this room, with messages that name the value and the remedy.

MonitorError
├── RulesError    (ValueError)    alerts.yaml is not what it must be; `.problems` lists every fault
├── WindowError   (ValueError)    rows, times or baselines that cannot be true
├── AlertError    (ValueError)    a step that the life cycle of an alert does not have
└── MetricsError  (RuntimeError)  metrics that cannot be had, or that contradict the exact counts
"""

from collections.abc import Sequence
from typing import NamedTuple


class MonitorError(Exception): ...


class ConfigProblem(NamedTuple):
    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (f"{self.file}:{self.line}", self.key, self.message) if part)


class RulesError(MonitorError, ValueError):
    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)
        self.file, self.line, self.key, _ = problems[0]


class WindowError(MonitorError, ValueError): ...


class AlertError(MonitorError, ValueError): ...


class MetricsError(MonitorError, RuntimeError): ...
