"""alerts.yaml as frozen records: what is watched, how strictly, who is notified."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from monitors.errors import ConfigProblem, RulesError
from monitors.rules import quantities
from monitors.rules.absent_label import AbsentLabel
from monitors.rules.block_unit import default_block_unit
from monitors.rules.channel_config import CHANNEL_TYPES, Channel, StrictModel, WholeNumber
from monitors.rules.evidently_catalog import config_problems
from monitors.rules.probation_policy import Probation
from monitors.rules.quiet_hours import MuteHours
from monitors.rules.rule import (
    BlockUnitField,
    Duration,
    Escalation,
    FalseAlarmBudgetField,
    PositiveDuration,
    Rule,
    Severity,
    Slug,
    Source,
)
from monitors.rules.shared_budgets import split_named_budgets
from monitors.rules.validation_errors import problem_at, validation_problems
from monitors.rules.yaml_document import Location, YamlDocument, dotted_path, read_document

_MIN_EVALUATION_RISK, _MAX_EVALUATION_RISK = 1e-4, 0.1
_REFERENCE_SCHEMA = {"type": "string", "pattern": r"\$\{.+\}"}
__all__ = ["AlertsConfig", "Audit", "Rule", "Severity", "Source", "json_schema", "load_rules", "parse_rules"]


class Schedule(StrictModel):
    """How often rules are evaluated unless they say otherwise."""

    every: PositiveDuration = timedelta(minutes=5)


class Quotas(StrictModel):
    """The most that one giver, all corrections, or one class may make of the labels a retraining learns from."""

    giver: float = Field(default=0.2, gt=0, le=1)
    corrections: float = Field(default=0.5, gt=0, le=1)
    classes: float = Field(default=3.0, ge=1, le=1000)
    rows: WholeNumber = Field(default=50, ge=1)
    trusted: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = ()
    """Feeds that no quota cuts, by the name of their API key, or of the reviewer where no key is asked for."""


class Retraining(StrictModel):
    """The limits within which an alert may start a retraining by itself, and what it may learn from."""

    cooldown: Duration = timedelta(hours=6)
    daily_cap: WholeNumber = Field(default=4, ge=0, le=1000)
    min_feedback: WholeNumber = Field(default=50, ge=0)
    breaker: WholeNumber = Field(default=3, ge=0, le=100)
    promote: Literal["automatic", "approval"] = "automatic"
    """Whether what passed the gate is promoted at once, or waits for a person to approve it."""
    approval_timeout: PositiveDuration = timedelta(days=7)
    dry_run: bool = False
    shadow_inconclusive: bool = False
    group_by: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]{0,31}$")
    block: BlockUnitField = Field(default_factory=default_block_unit)
    quotas: Quotas = Quotas()


class Audit(StrictModel):
    """How many answers a day are drawn for review by people, and how."""

    per_day: WholeNumber = Field(default=0, ge=0)
    uniform: float = Field(default=0.5, gt=0, le=1)
    boost: float = Field(default=3.0, ge=1, le=100)
    disagreements: float = Field(default=0.5, ge=0, le=0.9)


class AlertsConfig(StrictModel):
    """The whole of alerts.yaml."""

    version: Literal[1]
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
    schedule: Schedule = Schedule()
    budgets: dict[Slug, FalseAlarmBudgetField] = Field(default_factory=dict)
    retraining: Retraining = Retraining()
    audit: Audit = Audit()
    absent: AbsentLabel | None = None
    probation: Probation = Probation()
    mute: tuple[MuteHours, ...] = ()
    channels: dict[Slug, Channel] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _split_named_budgets(cls, written: object) -> object:
        return split_named_budgets(written) if isinstance(written, Mapping) else written

    @field_validator("rules")
    @classmethod
    def _wait_for_absent_labels(cls, rules: tuple[Rule, ...], info: ValidationInfo) -> tuple[Rule, ...]:
        absent: AbsentLabel | None = info.data.get("absent")
        return rules if absent is None else absent.matured_rules(rules)

    @field_validator("rules")
    @classmethod
    def _split_false_alarm_budget(cls, rules: tuple[Rule, ...], info: ValidationInfo) -> tuple[Rule, ...]:
        schedule: Schedule | None = info.data.get("schedule")
        return rules if schedule is None else tuple(_with_evaluation_confidence(rule, schedule) for rule in rules)

    def interval(self, rule: Rule) -> timedelta:
        """How often this rule is evaluated."""
        return rule.every or self.schedule.every


def _with_evaluation_confidence(rule: Rule, schedule: Schedule) -> Rule:
    """The rule with the confidence that its budget of false alarms leaves each look at its window.

    By the union bound: looks that are each wrong with a chance of `every / period x count` are wrong as often as the
    budget says, on average, however much their windows overlap.
    """
    if rule.false_alarms is None or rule.metric_spec.has_detector:
        return rule
    every = rule.every or schedule.every
    each = every.total_seconds() * rule.false_alarms.per_second
    if each < _MIN_EVALUATION_RISK and rule.metric_spec.is_early_warning:
        raise ValueError(
            f"gives rule {rule.name!r} a budget of {rule.false_alarms.text}, which leaves a look every "
            f"{quantities.duration_text(every)} a chance of {each:.1g}: too many permutations to prove; "
            f"look less often (`every`), or allow more false alarms"
        )
    if each > _MAX_EVALUATION_RISK:
        raise ValueError(
            f"gives rule {rule.name!r} a budget of {rule.false_alarms.text}, which its looks every "
            f"{quantities.duration_text(every)} could use up by mere luck; allow fewer false alarms, or look more often"
        )
    return rule.model_copy(update={"confidence": 1 - each})


def load_rules(path: Path, env: Mapping[str, str]) -> AlertsConfig:
    """Read and check the alerts file at a path."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8 text; save the file as UTF-8"
        raise RulesError([ConfigProblem(str(path), 1, "", message)]) from None
    except OSError as error:
        message = f"cannot be read ({error.strerror}); create it or name another file"
        raise RulesError([ConfigProblem(str(path), 1, "", message)]) from error
    return parse_rules(text, str(path), env)


def parse_rules(text: str, file: str, env: Mapping[str, str], *, blank_channels: bool = False) -> AlertsConfig:
    """Check the text of an alerts file; every fault found is in the one RulesError.

    With `blank_channels` a value of a channel that was written as ${NAME} is no fault: where one does not fit, no
    channel is kept.
    """
    document = read_document(text, file, env)
    if not isinstance(document.value, dict):
        if not document.problems:
            document.add_problem((), "must hold keys and values; start with 'version: 1'")
        raise RulesError(document.problems)
    config: AlertsConfig | None = None
    try:
        config = AlertsConfig.model_validate(document.value)
    except ValidationError as error:
        found = list(validation_problems(document, error, _model_at))
        blank = [problem for problem in found if blank_channels and _is_of_channel_reference(document, problem)]
        document.problems.extend(problem for problem in found if problem not in blank)
        if len(blank) == len(found):
            config = AlertsConfig.model_validate({**document.value, "channels": {}})
    document.problems.extend(_cross_field_problems(document))
    if document.problems or config is None:
        raise RulesError(sorted(document.problems, key=lambda problem: problem.line))
    return config


def _is_of_channel_reference(document: YamlDocument, problem: ConfigProblem) -> bool:
    """Whether a problem is with a value, or a record of values, of a channel that was written as ${NAME}."""
    written = [dotted_path(location) for location in document.from_environment if location[:1] == ("channels",)]
    return any(key == problem.key or key.startswith((f"{problem.key}.", f"{problem.key}[")) for key in written)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of alerts.yaml as people write it, for editors."""
    schema = AlertsConfig.model_json_schema(by_alias=True, mode="validation")
    for part in (schema, *schema["$defs"].values()):
        part["properties"] = {key: _allow_reference(value) for key, value in part["properties"].items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "alerts.yaml"}


def _allow_reference(written: dict[str, Any]) -> dict[str, Any]:
    """Any single value may also be written as ${NAME}; the kind of a channel may not."""
    if "const" in written or not {"type", "enum"} & written.keys() or written.get("type") in ("array", "object"):
        return written
    return {"anyOf": [written, _REFERENCE_SCHEMA]}


def _cross_field_problems(document: YamlDocument) -> Iterator[ConfigProblem]:
    """What no single key shows: two rules of one name, a channel or rule that is not there, a metric of no number."""
    channels = document.value.get("channels")
    channel_names = sorted(channels) if isinstance(channels, dict) else []
    probation = document.value.get("probation")
    probation_channels = probation.get("notify") if isinstance(probation, dict) else None
    yield from _unknown_names(
        document, ("probation", "notify"), probation_channels, channel_names, "a channel; defined"
    )
    rules = document.value.get("rules")
    names: Counter[str] = Counter()
    for index, rule in enumerate(rules if isinstance(rules, list) else []):
        if not isinstance(rule, dict):
            continue
        name = rule.get("name")
        if isinstance(name, str):
            names[name] += 1
            if names[name] == 2:
                yield problem_at(
                    document, ("rules", index, "name"), f"{name!r} names two rules; give each its own name"
                )
        escalate = rule.get("escalate")
        further = escalate.get("notify") if isinstance(escalate, dict) else None
        for place, notify in ((("notify",), rule.get("notify")), (("escalate", "notify"), further)):
            yield from _unknown_names(document, ("rules", index, *place), notify, channel_names, "a channel; defined")
        others = [other["name"] for other in rules if isinstance(other, dict) and other.get("name") not in (None, name)]
        inhibits = rule.get("inhibited_by")
        yield from _unknown_names(
            document, ("rules", index, "inhibited_by"), inhibits, others, "another rule; there are"
        )
        yield from _evidently_problems(document, index, rule)


def _evidently_problems(document: YamlDocument, index: int, rule: Mapping[str, object]) -> Iterator[ConfigProblem]:
    """A metric of Evidently's that would decide nothing for ever."""
    family, _, own = str(rule.get("metric")).partition(":")
    if family == "evidently" and own:
        for key, message in config_problems(own, rule.get("params"), rule.get("value")):
            yield problem_at(document, ("rules", index, key), message)


def _unknown_names(
    document: YamlDocument, location: Location, written: object, allowed: Sequence[object], noun: str
) -> Iterator[ConfigProblem]:
    """Names in a list that name nothing."""
    for place, name in enumerate(written if isinstance(written, list) else []):
        if isinstance(name, str) and name not in allowed:
            message = f"{name!r} is not {noun}: {', '.join(map(str, allowed)) or 'none'}"
            yield problem_at(document, (*location, place), message)


def _model_at(location: Location) -> type[StrictModel]:
    match location:
        case ("schedule", _):
            return Schedule
        case ("audit", _):
            return Audit
        case ("absent", _):
            return AbsentLabel
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
