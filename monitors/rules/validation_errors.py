"""Problems that pydantic finds in a document, at the lines people wrote and in their words."""

import re
from collections.abc import Callable, Iterator

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from monitors.errors import ConfigProblem
from monitors.rules.channel_config import CHANNEL_TYPES, is_secret
from monitors.rules.yaml_document import Location, YamlDocument, dotted_path

ModelAt = Callable[[Location], type[BaseModel]]
"""Which record is written at a location: its keys are what is allowed there."""


def problem_at(document: YamlDocument, location: Location, message: str) -> ConfigProblem:
    """A problem with what is written at a location."""
    return ConfigProblem(document.file, document.line_of(location), dotted_path(location), message)


def validation_problems(document: YamlDocument, error: ValidationError, model_at: ModelAt) -> Iterator[ConfigProblem]:
    """Pydantic's findings at the lines people wrote, without echoes of what is blamed already."""
    blamed = [problem.key for problem in document.problems]
    for fault in error.errors(include_url=False):
        location = _written_location(document, fault)
        key = dotted_path(location)
        echo = any(other == key or other.startswith((f"{key}.", f"{key}[")) for other in blamed)
        if not echo and not (fault["type"] == "too_short" and fault["input"]):
            yield problem_at(document, location, _message(document, location, fault, model_at))


def _written_location(document: YamlDocument, fault: ErrorDetails) -> Location:
    """Pydantic's location without the parts nobody wrote (the tag of a union), plus a missing key."""
    location: Location = ()
    for part in fault["loc"]:
        if (*location, part) in document.lines:
            location = (*location, part)
    missing = fault["loc"][-1:] if fault["type"] == "missing" else ()
    discriminator = ("type",) if fault["type"].startswith("union_tag") else ()
    return (*location, *missing, *discriminator)


def _message(document: YamlDocument, location: Location, fault: ErrorDetails, model_at: ModelAt) -> str:
    kind = fault["type"]
    allowed = _allowed_text(fault, model_at)
    if kind == "extra_forbidden":
        return f"unknown key; allowed: {allowed}"
    if kind in ("missing", "union_tag_not_found"):
        return "required key is missing" + (f"; allowed: {allowed}" if kind != "missing" else "")
    value_text = _value_text(document, location, fault["input"])
    if kind in ("literal_error", "union_tag_invalid"):
        tag = fault.get("ctx", {}).get("tag")
        return f"{repr(tag) if tag else value_text} is not allowed; allowed: {allowed}"
    if kind == "value_error":
        return f"{value_text} {fault['ctx']['error']}"
    return f"{value_text} does not fit: {fault['msg']}"


def _allowed_text(fault: ErrorDetails, model_at: ModelAt) -> str:
    if fault["type"] == "extra_forbidden":
        fields = model_at(fault["loc"]).model_fields
        return ", ".join(sorted(info.alias or name for name, info in fields.items()))
    if fault["type"].startswith("union_tag"):
        return ", ".join(sorted(CHANNEL_TYPES))
    expected = str(fault.get("ctx", {}).get("expected", ""))
    return ", ".join(sorted(re.findall(r"'([^']*)'", expected))) or expected


def _value_text(document: YamlDocument, location: Location, value: object) -> str:
    """The offending value, unless it came from the environment or may be a secret."""
    if location in document.from_environment:
        return f"the value of ${{{document.from_environment[location]}}}"
    if isinstance(value, dict | list) or any(is_secret(part) for part in location):
        return "the value"
    return repr(value)
