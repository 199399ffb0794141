"""alerts.yaml as frozen records: what is watched, how strictly, who is told; no store, no network."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import ErrorDetails

from monitors.channels import CHANNEL_TYPES, Channel, Strict, Whole, is_secret
from monitors.document import Document, Location, dotted, read_document
from monitors.errors import Problem, RulesError
from monitors.mute import MuteHours
from monitors.quantities import (
    BUDGET_PATTERN,
    DURATION_PATTERN,
    THRESHOLD_PATTERN,
    Budget,
    Metric,
    parse_budget,
    parse_duration,
    parse_threshold,
)

Action = Literal["retrain", "tune-serving", "label-audit", "none"]
Severity = Literal["info", "warning", "critical"]
Source = Literal["audit", "delayed", "correction"]

_REFERENCE_SCHEMA = {"type": "string", "pattern": r"\$\{.+\}"}


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero")
    return value


def _written_as(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


Duration = Annotated[timedelta, BeforeValidator(parse_duration), _written_as(DURATION_PATTERN, "5m")]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
FalseAlarms = Annotated[Budget, BeforeValidator(parse_budget), _written_as(BUDGET_PATTERN, "1 per 90d")]
Threshold = Annotated[float, _written_as(THRESHOLD_PATTERN, "0.5 points")]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]


class Schedule(Strict):
    """How often rules are evaluated unless they say otherwise."""

    every: PositiveDuration = timedelta(minutes=5)


class Retraining(Strict):
    """The limits within which an alert may start a retraining by itself."""

    cooldown: Duration = timedelta(hours=6)
    daily_cap: Whole = Field(default=4, ge=0, le=1000)
    min_feedback: Whole = Field(default=50, ge=0)
    breaker: Whole = Field(default=3, ge=0, le=100)
    dry_run: bool = False


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

    name: Slug
    metric: Metric
    above: Threshold
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

    @field_validator("above", mode="before")
    @classmethod
    def _unit_fits_the_metric(cls, written: object, info: ValidationInfo) -> float:
        metric: Metric | None = info.data.get("metric")
        return parse_threshold(written, metric) if metric else 0.0  # a wrong metric is blamed on its own

    @field_validator("clear", mode="before")
    @classmethod
    def _clear_lies_not_above(cls, written: object, info: ValidationInfo) -> float | None:
        metric: Metric | None = info.data.get("metric")
        above: float | None = info.data.get("above")
        if written is None or metric is None or above is None:
            return None
        level = parse_threshold(written, metric)
        if level > above:
            raise ValueError("is above the threshold, so an alert would end while its rule is broken; write less")
        return level

    @field_validator("false_alarms")
    @classmethod
    def _a_budget_needs_labels(cls, budget: Budget | None, info: ValidationInfo) -> Budget | None:
        if budget is not None and info.data.get("metric") == "latency_ratio":
            raise ValueError("needs labels to bet on, and latency_ratio has none; leave it out")
        return budget

    @property
    def clear_level(self) -> float:
        """The value at or below which an alert may end."""
        return self.above if self.clear is None else self.clear


class AlertsConfig(Strict):
    """The whole of alerts.yaml."""

    version: Literal[1]
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
    schedule: Schedule = Schedule()
    retraining: Retraining = Retraining()
    audit: Audit = Audit()
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
        document.problems.extend(list(_faults(document, error)))
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
    rules = document.value.get("rules")
    names: Counter[str] = Counter()
    for index, rule in enumerate(rules if isinstance(rules, list) else []):
        if not isinstance(rule, dict):
            continue
        name = rule.get("name")
        if isinstance(name, str):
            names[name] += 1
            if names[name] == 2:
                yield _at(document, ("rules", index, "name"), f"{name!r} names two rules; give each its own name")
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
            yield _at(document, (*location, place), message)


def _at(document: Document, location: Location, message: str) -> Problem:
    return Problem(document.file, document.line(location), dotted(location), message)


def _faults(document: Document, error: ValidationError) -> Iterator[Problem]:
    """Pydantic's findings at the lines people wrote, without echoes of what is blamed already."""
    blamed = [problem.key for problem in document.problems]
    for fault in error.errors(include_url=False):
        location = _written_location(document, fault)
        key = dotted(location)
        echo = any(other == key or other.startswith((f"{key}.", f"{key}[")) for other in blamed)
        if not echo and not (fault["type"] == "too_short" and fault["input"]):
            yield _at(document, location, _message(document, location, fault))


def _written_location(document: Document, fault: ErrorDetails) -> Location:
    """Pydantic's location without the parts nobody wrote (the tag of a union), plus a missing key."""
    location: Location = ()
    for part in fault["loc"]:
        if (*location, part) in document.lines:
            location = (*location, part)
    missing = fault["loc"][-1:] if fault["type"] == "missing" else ()
    discriminator = ("type",) if fault["type"].startswith("union_tag") else ()
    return (*location, *missing, *discriminator)


def _message(document: Document, location: Location, fault: ErrorDetails) -> str:
    kind = fault["type"]
    allowed = _allowed(fault)
    if kind == "extra_forbidden":
        return f"unknown key; allowed: {allowed}"
    if kind in ("missing", "union_tag_not_found"):
        return "required key is missing" + (f"; allowed: {allowed}" if kind != "missing" else "")
    shown = _shown(document, location, fault["input"])
    if kind in ("literal_error", "union_tag_invalid"):
        tag = fault.get("ctx", {}).get("tag")
        return f"{repr(tag) if tag else shown} is not allowed; allowed: {allowed}"
    if kind == "value_error":
        return f"{shown} {fault['ctx']['error']}"
    return f"{shown} does not fit: {fault['msg']}"


def _allowed(fault: ErrorDetails) -> str:
    if fault["type"] == "extra_forbidden":
        fields = _model_at(fault["loc"]).model_fields
        return ", ".join(sorted(info.alias or name for name, info in fields.items()))
    if fault["type"].startswith("union_tag"):
        return ", ".join(sorted(CHANNEL_TYPES))
    expected = str(fault.get("ctx", {}).get("expected", ""))
    return ", ".join(sorted(re.findall(r"'([^']*)'", expected))) or expected


def _model_at(location: Location) -> type[Strict]:
    match location:
        case ("schedule", _):
            return Schedule
        case ("audit", _):
            return Audit
        case ("retraining", _):
            return Retraining
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


def _shown(document: Document, location: Location, value: object) -> str:
    """The offending value, unless it came from the environment or may be a secret."""
    if location in document.from_environment:
        return f"the value of ${{{document.from_environment[location]}}}"
    if isinstance(value, dict | list) or any(is_secret(part) for part in location):
        return "the value"
    return repr(value)
