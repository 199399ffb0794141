"""alerts.yaml as frozen records: what is watched, how strictly, who is told; no store, no network."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from monitors.channels import CHANNEL_TYPES, Channel, Strict, Whole
from monitors.document import Document, Location, read_document
from monitors.errors import Problem, RulesError
from monitors.faults import at, faults
from monitors.kinds import KINDS, Action, MetricKind, kind_of
from monitors.mute import MuteHours
from monitors.probation import Probation
from monitors.quantities import (
    BUDGET_PATTERN,
    DURATION_PATTERN,
    THRESHOLD_PATTERN,
    Budget,
    parse_budget,
    parse_duration,
    parse_threshold,
)

Severity = Literal["info", "warning", "critical"]
Source = Literal["audit", "delayed", "correction"]

_REFERENCE_SCHEMA = {"type": "string", "pattern": r"\$\{.+\}"}


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero")
    return value


def known_metric(metric: str) -> str:
    """The name, if there is a metric of that name."""
    kind_of(metric)
    return metric


def _written_as(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


Duration = Annotated[timedelta, BeforeValidator(parse_duration), _written_as(DURATION_PATTERN, "5m")]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
FalseAlarms = Annotated[Budget, BeforeValidator(parse_budget), _written_as(BUDGET_PATTERN, "1 per 90d")]
Threshold = Annotated[float, _written_as(THRESHOLD_PATTERN, "0.5 points")]
Metric = Annotated[str, AfterValidator(known_metric), WithJsonSchema({"type": "string", "enum": list(KINDS)})]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]


class Schedule(Strict):
    """How often rules are evaluated unless they say otherwise."""

    every: PositiveDuration = timedelta(minutes=5)


class Quotas(Strict):
    """The most that one giver, all corrections, or one class may make of the labels a retraining learns from."""

    giver: float = Field(default=0.2, gt=0, le=1)
    corrections: float = Field(default=0.5, gt=0, le=1)
    classes: float = Field(default=3.0, ge=1, le=1000)
    rows: Whole = Field(default=50, ge=1)


class Retraining(Strict):
    """The limits within which an alert may start a retraining by itself, and what it may learn from."""

    cooldown: Duration = timedelta(hours=6)
    daily_cap: Whole = Field(default=4, ge=0, le=1000)
    min_feedback: Whole = Field(default=50, ge=0)
    breaker: Whole = Field(default=3, ge=0, le=100)
    dry_run: bool = False
    group_by: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]{0,31}$")
    quotas: Quotas = Quotas()


class Audit(Strict):
    """How many answers a day are drawn for review by people, and how."""

    per_day: Whole = Field(default=0, ge=0)
    uniform: float = Field(default=0.5, gt=0, le=1)
    boost: float = Field(default=3.0, ge=1, le=100)


class Escalation(Strict):
    """Who else is told when nobody has taken a firing alert on for a while."""

    after: PositiveDuration
    notify: tuple[str, ...] = Field(min_length=1)


class Rule(Strict):
    """One thing that may go wrong, how sure one must be, and what then happens."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["above"]}, {"required": ["below"]}]},
    )

    name: Slug
    metric: Metric
    above: Threshold | None = None
    below: Threshold | None = None
    clear: Threshold | None = None
    window: PositiveDuration
    min_samples: Whole = Field(ge=1)
    confidence: float = Field(default=0.99, ge=0.5, lt=1)
    false_alarms: FalseAlarms | None = None
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

    @field_validator("above", "below", mode="before")
    @classmethod
    def _unit_and_side_fit_the_metric(cls, written: object, info: ValidationInfo) -> float | None:
        metric: str | None = info.data.get("metric")
        if metric is None or written is None:
            return None  # a wrong metric is blamed on its own
        better = {"above": "low", "below": "high"}[info.field_name or ""]
        if kind_of(metric).bad == better:
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

    @field_validator("false_alarms")
    @classmethod
    def _a_budget_needs_labels(cls, budget: Budget | None, info: ValidationInfo) -> Budget | None:
        metric: str | None = info.data.get("metric")
        if budget is not None and metric is not None and not kind_of(metric).detects:
            raise ValueError(f"needs labels to bet on, and {metric} has none; leave it out")
        return budget

    @field_validator("action")
    @classmethod
    def _action_fits_the_metric(cls, action: Action, info: ValidationInfo) -> Action:
        metric: str | None = info.data.get("metric")
        kind = None if metric is None else kind_of(metric)
        if kind is not None and action not in kind.allowed_actions:
            why = f"{metric} is an early warning, no proof" if kind.early else f"does not fit metric {metric}"
            raise ValueError(f"is not possible ({why}); allowed: {', '.join(sorted(kind.allowed_actions))}")
        return action

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if (self.above is None) == (self.below is None):
            side = {"high": "`above`", "low": "`below`", "either": "either `above` or `below`"}[self.kind.bad]
            raise ValueError(f"needs a threshold; write {side}, such as {self.kind.example}, and only one")
        return self

    @property
    def kind(self) -> MetricKind:
        """What is known of its metric."""
        return kind_of(self.metric)

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


class AlertsConfig(Strict):
    """The whole of alerts.yaml."""

    version: Literal[1]
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
    schedule: Schedule = Schedule()
    retraining: Retraining = Retraining()
    audit: Audit = Audit()
    probation: Probation = Probation()
    mute: tuple[MuteHours, ...] = ()
    channels: dict[Slug, Channel] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = Field(min_length=1)

    def interval(self, rule: Rule) -> timedelta:
        """How often this rule is evaluated."""
        return rule.every or self.schedule.every


def load_rules(path: Path, env: Mapping[str, str]) -> AlertsConfig:
    """Read and check the alerts file at a path."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8 text; save the file as UTF-8"
        raise RulesError([Problem(str(path), 1, "", message)]) from None
    except OSError as error:
        message = f"cannot be read ({error.strerror}); create it or name another file"
        raise RulesError([Problem(str(path), 1, "", message)]) from error
    return parse_rules(text, str(path), env)


def parse_rules(text: str, file: str, env: Mapping[str, str]) -> AlertsConfig:
    """Check the text of an alerts file; every fault found is in the one RulesError."""
    document = read_document(text, file, env)
    if not isinstance(document.value, dict):
        if not document.problems:
            document.blame((), "must hold keys and values; start with 'version: 1'")
        raise RulesError(document.problems)
    config: AlertsConfig | None = None
    try:
        config = AlertsConfig.model_validate(document.value)
    except ValidationError as error:
        document.problems.extend(list(faults(document, error, _model_at)))
    document.problems.extend(_contradictions(document))
    if document.problems or config is None:
        raise RulesError(sorted(document.problems, key=lambda problem: problem.line))
    return config


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of alerts.yaml as people write it, for editors."""
    schema = AlertsConfig.model_json_schema(by_alias=True, mode="validation")
    for part in (schema, *schema["$defs"].values()):
        part["properties"] = {key: _or_reference(value) for key, value in part["properties"].items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "alerts.yaml"}


def _or_reference(written: dict[str, Any]) -> dict[str, Any]:
    """Any single value may also be written as ${NAME}; the kind of a channel may not."""
    if "const" in written or not {"type", "enum"} & written.keys() or written.get("type") in ("array", "object"):
        return written
    return {"anyOf": [written, _REFERENCE_SCHEMA]}


def _contradictions(document: Document) -> Iterator[Problem]:
    """What no single key shows: two rules of one name, a channel or rule that is not there."""
    channels = document.value.get("channels")
    known = sorted(channels) if isinstance(channels, dict) else []
    probation = document.value.get("probation")
    told = probation.get("notify") if isinstance(probation, dict) else None
    yield from _unknown(document, ("probation", "notify"), told, known, "a channel; defined")
    rules = document.value.get("rules")
    names: Counter[str] = Counter()
    for index, rule in enumerate(rules if isinstance(rules, list) else []):
        if not isinstance(rule, dict):
            continue
        name = rule.get("name")
        if isinstance(name, str):
            names[name] += 1
            if names[name] == 2:
                yield at(document, ("rules", index, "name"), f"{name!r} names two rules; give each its own name")
        escalate = rule.get("escalate")
        further = escalate.get("notify") if isinstance(escalate, dict) else None
        for place, notify in ((("notify",), rule.get("notify")), (("escalate", "notify"), further)):
            yield from _unknown(document, ("rules", index, *place), notify, known, "a channel; defined")
        others = [each["name"] for each in rules if isinstance(each, dict) and each.get("name") not in (None, name)]
        inhibits = rule.get("inhibited_by")
        yield from _unknown(document, ("rules", index, "inhibited_by"), inhibits, others, "another rule; there are")


def _unknown(
    document: Document, location: Location, written: object, known: Sequence[object], noun: str
) -> Iterator[Problem]:
    """Names in a list that name nothing."""
    for place, name in enumerate(written if isinstance(written, list) else []):
        if isinstance(name, str) and name not in known:
            message = f"{name!r} is not {noun}: {', '.join(map(str, known)) or 'none'}"
            yield at(document, (*location, place), message)


def _model_at(location: Location) -> type[Strict]:
    match location:
        case ("schedule", _):
            return Schedule
        case ("audit", _):
            return Audit
        case ("retraining", "quotas", _):
            return Quotas
        case ("retraining", _):
            return Retraining
        case ("probation", _):
            return Probation
        case ("rules", int(), "escalate", _):
            return Escalation
        case ("rules", int(), _):
            return Rule
        case ("mute", int(), _):
            return MuteHours
        case ("channels", _, str(tag), _):
            return CHANNEL_TYPES[tag]
        case _:
            return AlertsConfig
