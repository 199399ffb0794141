"""One rule of alerts.yaml as a frozen record: what is watched, how strictly, what follows."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from monitors.rules.block_unit import BLOCK_PATTERN, BlockUnit, default_block_unit, parse_block_unit
from monitors.rules.channel_config import StrictModel, WholeNumber
from monitors.rules.metric_catalog import METRIC_PATTERN, METRICS, Action, MetricSpec, metric_spec
from monitors.rules.quantities import (
    BUDGET_PATTERN,
    DURATION_PATTERN,
    RULE_BUDGET_PATTERN,
    THRESHOLD_PATTERN,
    FalseAlarmBudget,
    parse_duration,
    parse_false_alarm_budget,
    parse_threshold,
)

IntValidator = Callable[[Any], int]
RawValue = TypeVar("RawValue")
Severity = Literal["info", "warning", "critical"]
Source = Literal["audit", "delayed", "correction"]


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero")
    return value


def validate_metric(metric: str) -> str:
    """The name, if there is a metric of that name."""
    metric_spec(metric)
    return metric


def _string_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


Duration = Annotated[timedelta, BeforeValidator(parse_duration), _string_schema(DURATION_PATTERN, "5m")]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
FalseAlarmBudgetField = Annotated[
    FalseAlarmBudget, BeforeValidator(parse_false_alarm_budget), _string_schema(BUDGET_PATTERN, "1 per 90d")
]
RuleBudgetField = Annotated[
    FalseAlarmBudget,
    BeforeValidator(parse_false_alarm_budget),
    WithJsonSchema({"type": "string", "pattern": RULE_BUDGET_PATTERN, "examples": ["1 per 90d", "budget accuracy"]}),
]
BlockUnitField = Annotated[BlockUnit, BeforeValidator(parse_block_unit), _string_schema(BLOCK_PATTERN, "1d")]
Threshold = Annotated[
    float,
    WithJsonSchema(
        {"type": ["string", "number"], "pattern": THRESHOLD_PATTERN, "examples": ["0.5 points", "10 %", "2 x", 0.25]}
    ),
]
Metric = Annotated[
    str,
    AfterValidator(validate_metric),
    WithJsonSchema({"type": "string", "pattern": METRIC_PATTERN, "examples": list(METRICS)}),
]
TagName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
TagText = Annotated[str, Field(min_length=1, max_length=200)]
Quantile = Annotated[float, Field(gt=0, lt=1)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
ColumnNames = Annotated[
    tuple[TagText, ...],
    BeforeValidator(lambda written: [written] if isinstance(written, str) else written),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": 200},
                {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 200}},
            ]
        }
    ),
]
"""One name of a column, or several."""
HOURLY_METRICS = frozenset(name for name, spec in METRICS.items() if "columns" in spec.data_needs)
"""What is counted by the hour."""


class Escalation(StrictModel):
    """Who else is told when nobody has taken a firing alert on for a while."""

    after: PositiveDuration
    notify: tuple[str, ...] = Field(min_length=1)


DEFAULT_REFERENCE = timedelta(days=7)
MAX_REFERENCE = timedelta(days=90)
HOUR = timedelta(hours=1)
UNSET = -1
"""In place of `min_samples` where it was not written; what is counted without luck does not want it."""


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


_SCHEMA: dict[str, Any] = {
    "oneOf": [{"required": ["above"]}, {"required": ["below"]}],
    "allOf": [
        {
            "if": {
                "properties": {"metric": {"enum": [name for name, spec in METRICS.items() if "" not in spec.units]}}
            },
            "then": {"properties": {key: {"type": "string"} for key in ("above", "below", "clear")}},
        },
        {
            "if": {"properties": {"metric": {"enum": [name for name, spec in METRICS.items() if spec.is_exact_count]}}},
            "else": {"required": ["min_samples"]},
        },
    ],
}


class Rule(StrictModel):
    """One thing that may go wrong, how sure one must be, and what then happens."""

    model_config = ConfigDict(json_schema_extra=_SCHEMA)

    name: Slug
    metric: Metric
    above: Threshold | None = None
    below: Threshold | None = None
    clear: Threshold | None = None
    window: PositiveDuration
    min_samples: WholeNumber = Field(default=UNSET, ge=1, validate_default=True, json_schema_extra=_without_default)
    confidence: float = Field(default=0.99, ge=0.5, lt=1)
    false_alarms: RuleBudgetField | None = None
    for_: Duration = Field(default=timedelta(0), alias="for")
    severity: Severity = "warning"
    action: Action = "none"
    notify: tuple[str, ...] = ()
    repeat: PositiveDuration = timedelta(hours=4)
    keep_firing: Duration = timedelta(0)
    no_data: PositiveDuration | None = None
    inhibited_by: tuple[Slug, ...] = ()
    escalate: Escalation | None = None
    every: PositiveDuration | None = None
    runbook: str | None = Field(default=None, pattern=r"^https?://\S+$")
    sources: tuple[Source, ...] = Field(default=("audit", "delayed"), min_length=1)
    mature: Duration | None = None
    block: BlockUnitField = Field(default_factory=default_block_unit)
    by: TagName | None = None
    column: ColumnNames = ()
    slice: dict[TagName, TagText] = Field(default_factory=dict)
    reference: PositiveDuration = DEFAULT_REFERENCE
    quantile: Quantile = 0.9
    floor_ms: Milliseconds = 1.0
    over: Literal["labels", "answers"] = "labels"
    params: dict[str, Any] = Field(default_factory=dict)
    value: str | None = None

    @field_validator("above", "below", mode="before")
    @classmethod
    def _unit_and_side_fit_the_metric(cls, written: object, info: ValidationInfo) -> float | None:
        metric: str | None = info.data.get("metric")
        if metric is None or written is None:
            return None  # a wrong metric is blamed on its own
        better = {"above": "low", "below": "high"}[info.field_name or ""]
        if metric_spec(metric).bad_direction == better:
            other = "below" if info.field_name == "above" else "above"
            raise ValueError(f"is where {metric} is well; write `{other}`, beyond which it is not")
        return parse_threshold(written, metric)

    @field_validator("clear", mode="before")
    @classmethod
    def _clear_lies_on_the_good_side(cls, written: object, info: ValidationInfo) -> float | None:
        metric: str | None = info.data.get("metric")
        above: float | None = info.data.get("above")
        below: float | None = info.data.get("below")
        if written is None or metric is None or (above is None and below is None):
            return None
        level = parse_threshold(written, metric)
        if above is not None and level > above:
            raise ValueError("is above the threshold, so an alert would end while its rule is broken; write less")
        if below is not None and level < below:
            raise ValueError("is below the threshold, so an alert would end while its rule is broken; write more")
        return level

    @field_validator("window")
    @classmethod
    def _window_is_long_enough(cls, window: timedelta, info: ValidationInfo) -> timedelta:
        metric: str | None = info.data.get("metric")
        above: float | None = info.data.get("above")
        if metric == "label_lag" and above is not None and window.total_seconds() <= above:
            raise ValueError("is not longer than the threshold, so no answer in it could be late; write more")
        if metric in HOURLY_METRICS and (window < HOUR or window % HOUR):
            raise ValueError("is no number of whole hours, by which columns are counted; write such as 6h or 1d")
        return window

    @field_validator("reference")
    @classmethod
    def _reference_is_first_days(cls, length: timedelta) -> timedelta:
        if length > MAX_REFERENCE:
            raise ValueError(
                f"is longer than {MAX_REFERENCE.days} days; it is a version's first days, such as 7d or 28d"
            )
        return length

    @field_validator("min_samples", mode="wrap")
    @classmethod
    def _min_samples_unless_exact(cls, written: object, check: IntValidator, info: ValidationInfo) -> int:
        metric: str | None = info.data.get("metric")
        if written != UNSET:
            return check(written)
        if metric is not None and not metric_spec(metric).is_exact_count:
            raise PydanticKnownError("missing")
        return 1

    @field_validator("false_alarms")
    @classmethod
    def _no_budget_for_exact_counts(
        cls, budget: FalseAlarmBudget | None, info: ValidationInfo
    ) -> FalseAlarmBudget | None:
        metric: str | None = info.data.get("metric")
        if budget is not None and metric is not None and metric_spec(metric).is_exact_count:
            raise ValueError(f"is for what luck can do, and {metric} is counted, not estimated; leave it out")
        return budget

    @field_validator(
        "mature", "block", "by", "column", "slice", "reference", "quantile", "floor_ms", "over", "params", "value"
    )
    @classmethod
    def _option_is_for_the_metric(cls, written: RawValue, info: ValidationInfo) -> RawValue:
        metric: str | None = info.data.get("metric")
        if metric is not None and info.field_name not in metric_spec(metric).options:
            raise ValueError(f"means nothing for metric {metric}; leave it out")
        return written

    @field_validator("action")
    @classmethod
    def _action_fits_the_metric(cls, action: Action, info: ValidationInfo) -> Action:
        metric: str | None = info.data.get("metric")
        kind = None if metric is None else metric_spec(metric)
        if kind is not None and action not in kind.allowed_actions:
            why = (
                f"{metric} is an early warning, no proof" if kind.is_early_warning else f"does not fit metric {metric}"
            )
            raise ValueError(f"is not possible ({why}); allowed: {', '.join(sorted(kind.allowed_actions))}")
        return action

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if (self.above is None) == (self.below is None):
            side = {"high": "`above`", "low": "`below`", "either": "either `above` or `below`"}[
                self.metric_spec.bad_direction
            ]
            raise ValueError(f"needs a threshold; write {side}, such as {self.metric_spec.example}, and only one")
        return self

    @model_validator(mode="after")
    def _groups_have_a_tag(self) -> Self:
        if self.metric_spec.key_type == "tag" and self.by is None:
            raise ValueError(
                f"compares groups; write `by` and the tag that names them, such as {self.metric} by: client"
            )
        return self

    @property
    def metric_spec(self) -> MetricSpec:
        """What is known of its metric."""
        return metric_spec(self.metric)

    @property
    def uses_detector(self) -> bool:
        """Whether detectors decide it; else its window does."""
        return self.false_alarms is not None and self.metric_spec.has_detector

    @property
    def reads_labels(self) -> bool:
        """Whether it is computed from labelled answers."""
        return self.metric_spec.reads_labels and self.over == "labels"

    @property
    def slice_text(self) -> str:
        """The slice in words: " with scanner flatbed"; nothing for the whole."""
        return "".join(f" with {name} {text}" for name, text in sorted(self.slice.items()))

    @property
    def threshold(self) -> float:
        """The value beyond which the rule is broken, on the side that is worse."""
        limit = self.below if self.above is None else self.above
        assert limit is not None  # `_one_threshold` has seen to it
        return limit

    @property
    def clear_level(self) -> float:
        """The value from which on the good side an alert may end."""
        return self.threshold if self.clear is None else self.clear

    def is_beyond(self, value: float, level: float) -> bool:
        """Whether a value lies beyond a level on the side that is worse."""
        return value > level if self.above is not None else value < level
