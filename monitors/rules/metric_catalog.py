"""The catalogue of metrics that a rule may watch, an entry each: units, words, keys, limits, and what decides it.

A new metric is an entry here and the function that it names: a decision about counts (`monitors.decisions`), or a
statistic of rows (`monitors.windows.row_statistics`), which is estimated with confidence limits and then decided alike.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

Action = Literal["retrain", "tune-serving", "label-audit", "none"]
Unit = Literal["points", "%", "x", "answers", "duration", ""]
BadDirection = Literal["high", "low", "either"]
KeyType = Literal["whole", "class", "tag", "column"]
DataNeed = Literal[
    "labels",
    "latency",
    "requests",
    "answers",
    "groups",
    "lags",
    "sample",
    "confidence",
    "classes",
    "pictures",
    "probabilities",
    "costs",
    "columns",
]


@dataclass(frozen=True)
class MetricSpec:
    """What rules, sentences and notices need to know of one metric.

    - `units`: how a threshold may be written; the first is how values are shown. `example`: one, for messages.
    - `decided_by`: its decision function, "module:function" in `monitors.decisions`.
    - `statistic`: what is estimated from rows, a function of `monitors.windows.row_statistics`, where that decides it.
    - `subject` and `noun`: "the drop" and the "label" that is counted. `bad_direction`: which way is worse.
    - `data_needs`: what of a window it is computed from. `value_range`: within what its limits lie.
    - `key_type`: what its findings are about one by one; `scope_text` words a promise over all of them.
    - `has_detector`: detectors decide it where the rule has a budget of false alarms; `observes`: whether an answer is
      wrong, or how much its mistake costs.
    - `is_exact_count`: a fact without luck, so it wants neither samples nor confidence.
    - `is_early_warning`: a warning before the labels, which may start nothing.
    - `is_user_code`: a user's code runs. `options`: the keys of a rule that are for some metrics only.
    - `min_threshold`: the smallest threshold that makes sense, and why.
    """

    units: tuple[Unit, ...]
    example: str
    decided_by: str
    subject: str
    noun: str = "label"
    bad_direction: BadDirection = "high"
    data_needs: frozenset[DataNeed] = frozenset({"labels"})
    key_type: KeyType = "whole"
    scope_text: str = ""
    has_detector: bool = False
    observes: Literal["error", "loss"] = "error"
    is_exact_count: bool = False
    is_early_warning: bool = False
    is_user_code: bool = False
    actions: tuple[Action, ...] = ("retrain", "none")
    options: frozenset[str] = frozenset()
    baseline_unit: Literal["%", "ms"] = "%"
    min_threshold: tuple[float, str] | None = None
    statistic: str = ""
    value_range: tuple[float, float] = (-math.inf, math.inf)

    @property
    def allowed_actions(self) -> tuple[Action, ...]:
        """What an alert of it may start; an early warning starts nothing."""
        return ("none",) if self.is_early_warning else self.actions

    def clamp(self, limit: float) -> float:
        """A confidence limit within the values that the metric can have."""
        smallest, largest = self.value_range
        return min(largest, max(smallest, limit))

    @property
    def reads_labels(self) -> bool:
        """Whether it is computed from labels, so that their sources and the errors among them matter."""
        return "labels" in self.data_needs


_SLICE_OPTION: Final = frozenset({"slice"})
_LABEL_STREAM_OPTIONS: Final = frozenset({"slice", "mature", "block"})
_COLUMN_SHARE: Final = MetricSpec(
    units=("points", "%"),
    example='"1 points" (or "1 %", both mean percentage points)',
    decided_by="columns.column_shares:column_missing",
    subject="the rise",
    noun="row",
    data_needs=frozenset({"columns"}),
    key_type="column",
    scope_text=", over all columns together",
    actions=("none",),
    options=frozenset({"column"}),
)
_FROM_ROWS: Final = frozenset[DataNeed]({"labels", "sample"})
METRICS: Final[Mapping[str, MetricSpec]] = {
    "accuracy_drop": MetricSpec(
        units=("points", "%"),
        example='"0.5 points" (or "0.5 %", both mean percentage points)',
        decided_by="accuracy_drop:accuracy_drop",
        subject="the drop",
        has_detector=True,
        options=_LABEL_STREAM_OPTIONS,
    ),
    "loss_rise": MetricSpec(
        units=("points", "%"),
        example='"1 points" (of 100, which every answer would cost if each were the worst mistake)',
        decided_by="loss_rise:loss_rise",
        subject="the rise",
        has_detector=True,
        observes="loss",
        data_needs=frozenset({"labels", "costs"}),
        options=_LABEL_STREAM_OPTIONS,
    ),
    "latency_ratio": MetricSpec(
        units=("x",),
        example='"2 x"',
        decided_by="latency_ratio:latency_ratio",
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
        decided_by="class_error:class_error",
        subject="the error rate",
        key_type="class",
        scope_text=", over all classes together",
        has_detector=True,
        actions=("retrain", "label-audit", "none"),
        options=_LABEL_STREAM_OPTIONS,
    ),
    "macro_f1": MetricSpec(
        units=("%",),
        example='"98 %"',
        decided_by="from_estimate:decide_from_estimate",
        statistic="macro_f1_statistic",
        value_range=(0.0, 1.0),
        subject="macro F1",
        bad_direction="low",
        data_needs=_FROM_ROWS,
        options=_SLICE_OPTION,
    ),
    "calibration_error": MetricSpec(
        units=("%",),
        example='"5 %"',
        decided_by="from_estimate:decide_from_estimate",
        statistic="calibration_error_statistic",
        value_range=(0.0, 1.0),
        subject="the calibration error",
        data_needs=_FROM_ROWS,
        options=_SLICE_OPTION,
    ),
    "negative_log_likelihood": MetricSpec(
        units=("",),
        example='"0.25" (nats, a plain number)',
        decided_by="from_estimate:decide_from_estimate",
        statistic="negative_log_likelihood_statistic",
        value_range=(0, math.inf),
        subject="the negative log-likelihood",
        data_needs=_FROM_ROWS | {"probabilities"},
        options=_SLICE_OPTION,
    ),
    "group_gap": MetricSpec(
        units=("points", "%"),
        example='"3 points"',
        decided_by="group_gap:group_gap",
        subject="the gap",
        data_needs=frozenset({"labels", "groups"}),
        key_type="tag",
        scope_text=", over all groups together",
        options=frozenset({"by", "slice", "block"}),
    ),
    "error_rate": MetricSpec(
        units=("%",),
        example='"1 %"',
        decided_by="request_rates:error_rate",
        subject="the error rate",
        noun="request",
        data_needs=frozenset({"requests"}),
        actions=("none",),
    ),
    "schema_violations": MetricSpec(
        units=("%",),
        example='"2 %"',
        decided_by="request_rates:schema_violations",
        subject="the share of unusable input",
        noun="request",
        data_needs=frozenset({"requests"}),
        actions=("none",),
    ),
    "volume": MetricSpec(
        units=("answers",),
        example='"100 answers"',
        decided_by="request_rates:prediction_volume",
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
        decided_by="label_lag:label_lag",
        subject="the wait",
        noun="drawn answer",
        data_needs=frozenset({"lags"}),
        actions=("none",),
        options=frozenset({"quantile"}),
    ),
    "expected_drop": MetricSpec(
        units=("points", "%"),
        example='"2 points" (or "2 %", both mean percentage points)',
        decided_by="performance_estimation:expected_drop",
        subject="the drop to expect",
        noun="answer",
        data_needs=frozenset({"confidence"}),
        has_detector=True,
        is_early_warning=True,
    ),
    "prediction_drift": MetricSpec(
        units=("%",),
        example='"15 %"',
        decided_by="drift:prediction_drift",
        subject="the distance",
        noun="answer",
        data_needs=frozenset({"classes"}),
        scope_text=", over all classes together",
        is_early_warning=True,
        options=frozenset({"reference"}),
    ),
    "class_volume": MetricSpec(
        units=("%",),
        example='"40 %"',
        decided_by="class_volume:class_volume",
        subject="the volume of the class",
        noun="answer",
        bad_direction="low",
        data_needs=frozenset({"classes"}),
        key_type="class",
        scope_text=", over all classes together",
        is_early_warning=True,
        options=frozenset({"reference"}),
    ),
    "input_drift": MetricSpec(
        units=("%",),
        example='"25 %"',
        decided_by="drift:input_drift",
        subject="the distance",
        noun="picture",
        data_needs=frozenset({"pictures"}),
        scope_text=", over all measures together",
        is_early_warning=True,
        options=frozenset({"reference", "by"}),
    ),
    "column_missing": _COLUMN_SHARE,
    "column_unseen": replace(_COLUMN_SHARE, decided_by="columns.column_shares:column_unseen"),
    "column_range": replace(_COLUMN_SHARE, decided_by="columns.column_shares:column_range"),
    "column_drift": replace(
        _COLUMN_SHARE,
        units=("%",),
        example='"15 %"',
        decided_by="columns.column_drift:column_drift",
        subject="the distance",
        is_early_warning=True,
        options=frozenset({"column", "reference"}),
    ),
    "column_skew": replace(
        _COLUMN_SHARE,
        units=("%",),
        example='"15 %"',
        decided_by="columns.column_drift:column_skew",
        subject="the distance",
        is_early_warning=True,
    ),
}

_USER_METRIC: Final = MetricSpec(
    units=("",),
    example='"0.25" (a plain number)',
    decided_by="from_estimate:decide_from_estimate",
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
