"""Labels from a file, CSV or JSON lines: checked line by line, taken in portions, safe to send again; no HTTP."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import ValidationError

from mlplatform.build import Parts
from mlplatform.errors import InvalidInputError
from mlplatform.labelling import check_givers, write_labels
from mlplatform.serve.bodies import FeedbackIn
from mlplatform.store import predictions, waiting
from mlplatform.store.feedback import Label, Outcome
from pipelines.payloads import shown

TOGETHER: Final = 500
SHOWN: Final = 20
COLUMNS: Final = tuple(FeedbackIn.model_fields)


@dataclass(frozen=True)
class Line:
    """One label and the number of the line it stands on."""

    number: int
    label: Label


@dataclass(frozen=True)
class Defaults:
    """What a line that does not say so itself is taken to say."""

    source: str = ""
    reviewer: str = ""


def read_labels(parts: Parts, path: Path, defaults: Defaults) -> list[Line]:
    """Every label of the file; raises InvalidInputError with the errors by line, up to twenty of them.

    A line without its own time has the time of the import, so that a line sent twice is known by label and giver.
    """
    now, found, errors = parts.clock(), [], []
    for number, values in _lines(path):
        try:
            found.append(Line(number, _label(parts, values, defaults, now)))
        except (InvalidInputError, ValueError) as error:
            errors.append(f"{path}:{number}: {_words(error)}")
    if errors:
        rest = f"\n... and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
        raise InvalidInputError(
            f"{len(errors)} of {len(errors) + len(found)} lines cannot be taken, so none was:\n"
            + "\n".join(errors[:SHOWN])
            + rest
        )
    return found


def rehearse(parts: Parts, lines: Sequence[Line]) -> dict[str, int]:
    """What an import would meet, without writing: predictions that are known, may still arrive, or are unknown."""
    now, ids = parts.clock(), {line.label.prediction_id for line in lines}
    with parts.database.read() as connection:
        known = {key for part in _parts(sorted(ids)) for key in predictions.known(connection, part)}
    later = {key for key in ids - known if waiting.may_arrive(key, now)}
    of = Counter(
        "known" if line.label.prediction_id in known else "waiting" if line.label.prediction_id in later else "unknown"
        for line in lines
    )
    return {"lines": len(lines), **{name: of[name] for name in ("known", "waiting", "unknown")}}


def take(parts: Parts, lines: Sequence[Line]) -> dict[str, int]:
    """Take the labels, portion by portion; returns how many ended how.

    Raises InvalidInputError before anything is taken where predictions are unknown, naming their lines.
    """
    met = rehearse(parts, lines)
    if met["unknown"]:
        raise InvalidInputError(_unknown(parts, lines))
    ended: Counter[str] = Counter(dict.fromkeys(get_args(Outcome), 0))
    for first in range(0, len(lines), TOGETHER):
        portion = [line.label for line in lines[first : first + TOGETHER]]
        ended.update(accepted.outcome for accepted in write_labels(parts, portion, wait=True))
    return {"lines": len(lines), **ended}


def _unknown(parts: Parts, lines: Sequence[Line]) -> str:
    now = parts.clock()
    with parts.database.read() as connection:
        ids = sorted({line.label.prediction_id for line in lines})
        known = {key for part in _parts(ids) for key in predictions.known(connection, part)}
    strange = [
        line
        for line in lines
        if line.label.prediction_id not in known and not waiting.may_arrive(line.label.prediction_id, now)
    ]
    shown = "\n".join(f"line {line.number}: {line.label.prediction_id}" for line in strange[:SHOWN])
    return (
        f"{len(strange)} line(s) name predictions that are not known and too old or too strange to be on their way; "
        f"none was taken. Ids come from POST /v1/predict:\n{shown}"
    )


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), TOGETHER):
        yield ids[first : first + TOGETHER]


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line's values by column; an empty value is none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
                yield from ((n, _object(path, n, line)) for n, line in enumerate(file, start=1) if line.strip())
                return
            reader = csv.DictReader(file)
            for values in reader:
                yield reader.line_num, {str(key): value for key, value in values.items() if value not in ("", None)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path} cannot be read ({error}); give CSV with a header, or .jsonl") from error


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:  # brackets without end are no JSON that anybody meant
        raise InvalidInputError(f"{path}:{number}: this line is not JSON ({error}); none was taken") from error
    if not isinstance(values, dict):
        raise InvalidInputError(f"{path}:{number}: this line is no JSON object; none was taken")
    return values


def _label(parts: Parts, values: dict[str, Any], defaults: Defaults, now: datetime) -> Label:
    given = {key: value for key, value in vars(defaults).items() if value} | values
    if "source" not in given:
        raise InvalidInputError("no source; add a column, or say --source audit, delayed or correction")
    if strange := given.keys() - set(COLUMNS):
        raise InvalidInputError(f"unknown field {shown(min(strange))}; allowed: {', '.join(COLUMNS)}")
    told = FeedbackIn.model_validate(given)
    if told.label not in parts.family.classes:
        raise InvalidInputError(f"label {told.label!r} is not a class; allowed: {', '.join(parts.family.classes)}")
    if told.at is not None and told.at > now + waiting.SKEW:
        raise InvalidInputError(f"given at {told.at}, in the future")
    key = told.idempotency_key
    label = Label(told.prediction_id, told.label, told.source, told.reviewer, told.at or now, key)
    check_givers(parts, [label])
    return label


def _words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:3])
    return str(error)
