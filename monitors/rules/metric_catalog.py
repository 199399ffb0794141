"""The kinds of metric a rule may watch, an entry each: units, words, keys, limits; it measures and decides nothing.

A new metric is an entry here and a function in `monitors.decisions.decision.DECISIONS`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

Action = Literal["retrain", "tune-serving", "label-audit", "none"]
Unit = Literal["points", "%", "x", "answers", "duration", ""]
BadDirection = Literal["high", "low", "either"]
KeyType = Literal["whole", "class", "tag"]
DataNeed = Literal[
    "labels", "latency", "requests", "answers", "groups", "lags", "sample", "confidence", "classes", "pictures"
]


@dataclass(frozen=True)
class MetricSpec:
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
    bad_direction: BadDirection = "high"
    data_needs: frozenset[DataNeed] = frozenset({"labels"})
    key_type: KeyType = "whole"
    scope_text: str = ""
    has_detector: bool = False
    is_exact_count: bool = False
    is_early_warning: bool = False
    is_user_code: bool = False
    actions: tuple[Action, ...] = ("retrain", "none")
    options: frozenset[str] = frozenset()
    baseline_unit: Literal["%", "ms"] = "%"
    min_threshold: tuple[float, str] | None = None

    @property
    def allowed_actions(self) -> tuple[Action, ...]:
        """What an alert of it may start; an early warning starts nothing."""
        return ("none",) if self.is_early_warning else self.actions

    @property
    def reads_labels(self) -> bool:
        """Whether it is computed from labels, so that their sources and the errors among them matter."""
        return "labels" in self.data_needs


_SLICE_OPTION: Final = frozenset({"slice"})
_FROM_ROWS: Final = frozenset[DataNeed]({"labels", "sample"})
METRICS: Final[Mapping[str, MetricSpec]] = {
    "accuracy_drop": MetricSpec(
        units=("points", "%"),
        example='"0.5 points" (or "0.5 %", both mean percentage points)',
        subject="the drop",
        has_detector=True,
        options=_SLICE_OPTION,
    ),
    "latency_ratio": MetricSpec(
        units=("x",),
        example='"2 x"',
        subject="the ratio",
        noun="call",
        data_needs=frozenset({"latency"}),
        scope_text=", over all classes of hosts together",
        actions=("retrain", "tune-serving", "none"),
        baseline_unit="ms",
        options=frozenset({"floor_ms"}),
        min_threshold=(1, "would fire on a healthy server; a latency ratio must be at least 1 x"),
    ),
    "class_error": MetricSpec(
        units=("%",),
        example='"10 %"',
        subject="the error rate",
        key_type="class",
        scope_text=", over all classes together",
        has_detector=True,
        actions=("retrain", "label-audit", "none"),
        options=_SLICE_OPTION,
    ),
    "macro_f1": MetricSpec(
        units=("%",),
        example='"98 %"',
        subject="macro F1",
        bad_direction="low",
        data_needs=_FROM_ROWS,
        options=_SLICE_OPTION,
    ),
    "calibration_error": MetricSpec(
        units=("%",), example='"5 %"', subject="the calibration error", data_needs=_FROM_ROWS, options=_SLICE_OPTION
    ),
    "group_gap": MetricSpec(
        units=("points", "%"),
        example='"3 points"',
        subject="the gap",
        data_needs=frozenset({"labels", "groups"}),
        key_type="tag",
        scope_text=", over all groups together",
        options=frozenset({"by", "slice"}),
    ),
    "error_rate": MetricSpec(
        units=("%",),
        example='"1 %"',
        subject="the error rate",
        noun="request",
        data_needs=frozenset({"requests"}),
        actions=("none",),
    ),
    "schema_violations": MetricSpec(
        units=("%",),
        example='"2 %"',
        subject="the share of unusable input",
        noun="request",
        data_needs=frozenset({"requests"}),
        actions=("none",),
    ),
    "volume": MetricSpec(
        units=("answers",),
        example='"100 answers"',
        subject="the volume",
        noun="answer",
        bad_direction="either",
        data_needs=frozenset({"answers"}),
        is_exact_count=True,
        actions=("none",),
    ),
    "label_lag": MetricSpec(
        units=("duration",),
        example='"2d"',
        subject="the wait",
        noun="drawn answer",
        data_needs=frozenset({"lags"}),
        actions=("none",),
        options=frozenset({"quantile"}),
    ),
    "expected_drop": MetricSpec(
        units=("points", "%"),
        example='"2 points" (or "2 %", both mean percentage points)',
        subject="the drop to expect",
        noun="answer",
        data_needs=frozenset({"confidence"}),
        has_detector=True,
        is_early_warning=True,
    ),
    "prediction_drift": MetricSpec(
        units=("%",),
        example='"15 %"',
        subject="the distance",
        noun="answer",
        data_needs=frozenset({"classes"}),
        scope_text=", over all classes together",
        is_early_warning=True,
    ),
    "input_drift": MetricSpec(
        units=("%",),
        example='"25 %"',
        subject="the distance",
        noun="picture",
        data_needs=frozenset({"pictures"}),
        scope_text=", over all measures together",
        is_early_warning=True,
    ),
}

_USER_METRIC: Final = MetricSpec(
    units=("",),
    example='"0.25" (a plain number)',
    subject="the value",
    bad_direction="either",
    data_needs=_FROM_ROWS,
    is_user_code=True,
)
_USER_METRIC_FAMILIES: Final[Mapping[str, tuple[str, MetricSpec]]] = {
    "python": (
        r"python:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*",
        replace(_USER_METRIC, options=frozenset({"slice", "over"})),
    ),
    "evidently": (
        r"evidently:[A-Z]\w*",
        replace(_USER_METRIC, options=frozenset({"slice", "over", "params", "value"})),
    ),
}
METRIC_PATTERN: Final = "^(" + "|".join([*METRICS, *(pattern for pattern, _ in _USER_METRIC_FAMILIES.values())]) + ")$"


def metric_spec(metric: str) -> MetricSpec:
    """The kind of that name, or of a metric of somebody's own; raises ValueError for one that is not known."""
    if metric in METRICS:
        return METRICS[metric]
    pattern, kind = _USER_METRIC_FAMILIES.get(metric_family(metric), ("", _USER_METRIC))
    if not pattern or not re.fullmatch(pattern, metric):
        own = "python:package.module:function, evidently:MetricClass"
        raise ValueError(f"is not allowed; allowed: {', '.join(sorted(METRICS))}, {own}")
    return kind


def metric_family(metric: str) -> str:
    """The name under which a metric is decided: its own, or "python" or "evidently" for one of somebody's own."""
    return metric.partition(":")[0]
