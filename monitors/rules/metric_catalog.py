"""The kinds of metric a rule may watch, an entry each: units, words, keys, limits; it measures and decides nothing.

A new metric is an entry here and a function in `monitors.decisions.decision.DECISIONS`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

Action = Literal["retrain", "tune-serving", "label-audit", "none"]
Unit = Literal["points", "%", "x", "answers", "duration", ""]
Bad = Literal["high", "low", "either"]
KeyOf = Literal["whole", "class", "tag"]
Need = Literal[
    "labels", "latency", "requests", "answers", "groups", "lags", "sample", "confidence", "classes", "pictures"
]


@dataclass(frozen=True)
class MetricKind:
    """What rules, sentences and notices need to know of one metric.

    `units`: how a threshold may be written; the first is how values are shown. `example`: one, for messages.
    `subject` and `noun`: "the drop" and the "label" that is counted. `bad`: which way is worse. `needs`: what of a
    window it is computed from. `key`: what its findings are about one by one, and `together` how a promise over all
    of them is worded. `detects`: detectors decide it where the rule has a budget of false alarms. `counted`: a fact
    without luck, so it wants neither samples nor confidence. `early`: a warning before the labels, which may start
    nothing. `own`: code of somebody's own runs. `options`: the keys of a rule that are for some metrics only.
    `least`: the smallest threshold that makes sense, and why.
    """

    units: tuple[Unit, ...]
    example: str
    subject: str
    noun: str = "label"
    bad: Bad = "high"
    needs: frozenset[Need] = frozenset({"labels"})
    key: KeyOf = "whole"
    together: str = ""
    detects: bool = False
    counted: bool = False
    early: bool = False
    own: bool = False
    actions: tuple[Action, ...] = ("retrain", "none")
    options: frozenset[str] = frozenset()
    held_against: Literal["%", "ms"] = "%"
    least: tuple[float, str] | None = None

    @property
    def allowed_actions(self) -> tuple[Action, ...]:
        """What an alert of it may start; an early warning starts nothing."""
        return ("none",) if self.early else self.actions

    @property
    def labels(self) -> bool:
        """Whether it is computed from labels, so that their sources and the errors among them matter."""
        return "labels" in self.needs


_SLICED: Final = frozenset({"slice"})
_FROM_ROWS: Final = frozenset[Need]({"labels", "sample"})
KINDS: Final[Mapping[str, MetricKind]] = {
    "accuracy_drop": MetricKind(
        units=("points", "%"),
        example='"0.5 points" (or "0.5 %", both mean percentage points)',
        subject="the drop",
        detects=True,
        options=_SLICED,
    ),
    "latency_ratio": MetricKind(
        units=("x",),
        example='"2 x"',
        subject="the ratio",
        noun="call",
        needs=frozenset({"latency"}),
        together=", over all classes of hosts together",
        actions=("retrain", "tune-serving", "none"),
        held_against="ms",
        options=frozenset({"floor_ms"}),
        least=(1, "would fire on a healthy server; a latency ratio must be at least 1 x"),
    ),
    "class_error": MetricKind(
        units=("%",),
        example='"10 %"',
        subject="the error rate",
        key="class",
        together=", over all classes together",
        detects=True,
        actions=("retrain", "label-audit", "none"),
        options=_SLICED,
    ),
    "macro_f1": MetricKind(
        units=("%",),
        example='"98 %"',
        subject="macro F1",
        bad="low",
        needs=_FROM_ROWS,
        options=_SLICED,
    ),
    "calibration_error": MetricKind(
        units=("%",), example='"5 %"', subject="the calibration error", needs=_FROM_ROWS, options=_SLICED
    ),
    "group_gap": MetricKind(
        units=("points", "%"),
        example='"3 points"',
        subject="the gap",
        needs=frozenset({"labels", "groups"}),
        key="tag",
        together=", over all groups together",
        options=frozenset({"by", "slice"}),
    ),
    "error_rate": MetricKind(
        units=("%",),
        example='"1 %"',
        subject="the error rate",
        noun="request",
        needs=frozenset({"requests"}),
        actions=("none",),
    ),
    "schema_violations": MetricKind(
        units=("%",),
        example='"2 %"',
        subject="the share of unusable input",
        noun="request",
        needs=frozenset({"requests"}),
        actions=("none",),
    ),
    "volume": MetricKind(
        units=("answers",),
        example='"100 answers"',
        subject="the volume",
        noun="answer",
        bad="either",
        needs=frozenset({"answers"}),
        counted=True,
        actions=("none",),
    ),
    "label_lag": MetricKind(
        units=("duration",),
        example='"2d"',
        subject="the wait",
        noun="drawn answer",
        needs=frozenset({"lags"}),
        actions=("none",),
        options=frozenset({"quantile"}),
    ),
    "expected_drop": MetricKind(
        units=("points", "%"),
        example='"2 points" (or "2 %", both mean percentage points)',
        subject="the drop to expect",
        noun="answer",
        needs=frozenset({"confidence"}),
        detects=True,
        early=True,
    ),
    "prediction_drift": MetricKind(
        units=("%",),
        example='"15 %"',
        subject="the distance",
        noun="answer",
        needs=frozenset({"classes"}),
        together=", over all classes together",
        early=True,
    ),
    "input_drift": MetricKind(
        units=("%",),
        example='"25 %"',
        subject="the distance",
        noun="picture",
        needs=frozenset({"pictures"}),
        together=", over all measures together",
        early=True,
    ),
}

_OWN: Final = MetricKind(
    units=("",), example='"0.25" (a plain number)', subject="the value", bad="either", needs=_FROM_ROWS, own=True
)
_FAMILIES: Final[Mapping[str, tuple[str, MetricKind]]] = {
    "python": (
        r"python:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*",
        replace(_OWN, options=frozenset({"slice", "over"})),
    ),
    "evidently": (
        r"evidently:[A-Z]\w*",
        replace(_OWN, options=frozenset({"slice", "over", "params", "value"})),
    ),
}
METRIC_PATTERN: Final = "^(" + "|".join([*KINDS, *(pattern for pattern, _ in _FAMILIES.values())]) + ")$"


def kind_of(metric: str) -> MetricKind:
    """The kind of that name, or of a metric of somebody's own; raises ValueError for one that is not known."""
    if metric in KINDS:
        return KINDS[metric]
    pattern, kind = _FAMILIES.get(family_of(metric), ("", _OWN))
    if not pattern or not re.fullmatch(pattern, metric):
        own = "python:package.module:function, evidently:MetricClass"
        raise ValueError(f"is not allowed; allowed: {', '.join(sorted(KINDS))}, {own}")
    return kind


def family_of(metric: str) -> str:
    """The name under which a metric is decided: its own, or "python" or "evidently" for one of somebody's own."""
    return metric.partition(":")[0]
