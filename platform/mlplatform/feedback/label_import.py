"""Labels from a file, CSV or JSON lines: checked line by line, taken in portions, safe to send again; no HTTP."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import ValidationError

from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError
from mlplatform.feedback import pending_labels
from mlplatform.feedback.label_ingestion import (
    check_label_target,
    check_label_time,
    find_erased,
    record_labels,
    reject_model_labels,
)
from mlplatform.feedback.label_records import FeedbackStatus, SubmittedLabel
from mlplatform.feedback.label_schema import FeedbackIn
from mlplatform.predictions import prediction_records
from pipelines.edge.request_payloads import describe_value

BATCH_SIZE: Final = 500
MAX_SHOWN_LINES: Final = 20
RECORDED_OUTCOMES: Final = ("recorded", "superseded", "repeated")
COLUMNS: Final = tuple(FeedbackIn.model_fields)
EXTRA_VALUES_KEY: Final = "more values than columns"


@dataclass(frozen=True)
class LabelLine:
    """One label and the number of the line it stands on."""

    number: int
    label: SubmittedLabel


@dataclass(frozen=True)
class Defaults:
    """What a line that does not say so itself is taken to say."""

    source: str = ""
    reviewer: str = ""


def read_label_file(context: AppContext, path: Path, defaults: Defaults) -> list[LabelLine]:
    """Every label of the file; raises InvalidInputError with the errors by line, up to twenty of them.

    A line without its own time has the time of the import, and a key that follows from the file: the same file sent
    again changes nothing, whatever came since.
    """
    now, found, errors = context.clock(), list[LabelLine](), list[str]()
    file = _file_digest(path, defaults)
    for number, values in _read_lines(path):
        try:
            label = _to_label(context, values, defaults, now)
        except (InvalidInputError, ValueError) as error:
            errors.append(f"{path}:{number}: {_error_text(error)}")
            continue
        named = "at" in values or label.key
        found.append(LabelLine(number, label if named else replace(label, key=f"{file}:{number}")))
    if not found and not errors:
        raise InvalidInputError(f"{path} holds no labels; give CSV with a header and a line for each, or .jsonl")
    read = len(found) + len(errors)
    _raise_errors([*errors, *(f"{path}:{number}: {said}" for number, said in _find_contradictions(found))], read)
    return found


def preview_import(context: AppContext, lines: Sequence[LabelLine]) -> dict[str, int]:
    """What an import would meet, without writing: predictions that are known, may still arrive, or are unknown.

    Those that were erased are counted where there are some. Raises InvalidInputError for labels that cannot be about
    their predictions, naming the lines.
    """
    met = Counter(kind for kind, _ in _match_predictions(context, lines))
    named = ("known", "waiting", "unknown", *(["erased"] if met["erased"] else []))
    return {"lines": len(lines), **{name: met[name] for name in named}}


def import_labels(context: AppContext, lines: Sequence[LabelLine]) -> dict[str, int]:
    """Take the labels, portion by portion; returns how many ended how, and how many audits estimate nothing.

    Raises InvalidInputError before anything is taken where predictions are unknown, naming their lines.
    """
    if strange := [line for kind, line in _match_predictions(context, lines) if kind == "unknown"]:
        raise InvalidInputError(_unknown_predictions_message(strange))
    ended: Counter[str] = Counter(dict.fromkeys(get_args(FeedbackStatus), 0))
    for first in range(0, len(lines), BATCH_SIZE):
        portion = [line.label for line in lines[first : first + BATCH_SIZE]]
        for label, accepted in zip(portion, record_labels(context, portion, wait=True), strict=True):
            ended[accepted.outcome] += 1
            ended["not drawn for audit"] += (
                label.source == "audit" and accepted.outcome in RECORDED_OUTCOMES and not accepted.counts
            )
    return {"lines": len(lines), **{name: n for name, n in ended.items() if n or name in get_args(FeedbackStatus)}}


def _match_predictions(context: AppContext, lines: Sequence[LabelLine]) -> list[tuple[str, LabelLine]]:
    """Each line with what its prediction is: known, erased, waiting or unknown."""
    now, ids = context.clock(), sorted({line.label.prediction_id for line in lines})
    known: dict[str, prediction_records.PredictionOrigin] = {}
    gone: set[str] = set()
    with context.database.read() as connection:
        for part in _batches(ids):
            known |= prediction_records.prediction_origins(connection, part)
            gone |= find_erased(connection, context, set(part) - known.keys(), now)
    errors, met = [], []
    for line in lines:
        key = line.label.prediction_id
        try:
            check_label_target(context, line.label, known.get(key))
            check_label_time(line.label, known.get(key), now)
        except InvalidInputError as error:
            errors.append(f"line {line.number}: {error}")
        later = "waiting" if pending_labels.may_be_recorded_later(key, now) else "unknown"
        met.append(("known" if key in known else "erased" if key in gone else later, line))
    _raise_errors(errors, len(lines))
    return met


def _raise_errors(errors: Sequence[str], lines: int) -> None:
    if errors:
        rest = f"\n... and {len(errors) - MAX_SHOWN_LINES} more" if len(errors) > MAX_SHOWN_LINES else ""
        raise InvalidInputError(
            f"{len(errors)} of {lines} lines cannot be taken, so none was:\n"
            + "\n".join(errors[:MAX_SHOWN_LINES])
            + rest
        )


def _find_contradictions(lines: Sequence[LabelLine]) -> Iterator[tuple[int, str]]:
    """Lines that say otherwise than one before about the same prediction, and nothing tells which was given later."""
    firsts: dict[tuple[str, str, str, datetime], LabelLine] = {}
    for line in lines:
        label = line.label
        first = firsts.setdefault((label.prediction_id, label.source, label.reviewer, label.at), line)
        if first.label.label != label.label:
            said = f"label {label.label!r} for prediction {label.prediction_id} contradicts {first.label.label!r}"
            yield line.number, f"{said} on line {first.number}; keep one, or say in `at` when each was given"


def _unknown_predictions_message(strange: Sequence[LabelLine]) -> str:
    shown = "\n".join(f"line {line.number}: {line.label.prediction_id}" for line in strange[:MAX_SHOWN_LINES])
    return (
        f"{len(strange)} line(s) name predictions that are not known and too old or too strange to be on their way; "
        f"none was taken. Ids come from POST /v1/predict, the id of a request is none of them:\n{shown}"
    )


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), BATCH_SIZE):
        yield ids[first : first + BATCH_SIZE]


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line's values by column; an empty value is none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
                yield from (
                    (n, _parse_json_object(path, n, line)) for n, line in enumerate(file, start=1) if line.strip()
                )
                return
            reader = csv.DictReader(file, restkey=EXTRA_VALUES_KEY)
            _check_header(path, reader.fieldnames or [])
            for values in reader:
                yield reader.line_num, {str(key): value for key, value in values.items() if value not in ("", None)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path} cannot be read ({error}); give CSV with a header, or .jsonl") from error


def _check_header(path: Path, names: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InvalidInputError(f"{path} has several columns {twice[0]!r}; keep one, none was taken")


def _file_digest(path: Path, defaults: Defaults) -> str:
    """The identity of a file's lines under these defaults."""
    found = sha256(repr(defaults).encode())
    if path.exists() and not (path.is_file() or path.is_dir()):  # it is read twice, and to its end
        raise InvalidInputError(f"{path} is no file, but a pipe or a device; write the labels into a file first")
    try:
        with path.open("rb") as file:
            while part := file.read(2**20):
                found.update(part)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read ({error}); give CSV with a header, or .jsonl") from error
    return f"file:{found.hexdigest()}"


def _reject_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r} is said twice")
    return values


def _parse_json_object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        values = json.loads(line, object_pairs_hook=_reject_repeated_keys)
    except (ValueError, RecursionError) as error:  # brackets without end are no JSON that anybody meant
        raise InvalidInputError(f"{path}:{number}: this line is not JSON ({error}); none was taken") from error
    if not isinstance(values, dict):
        raise InvalidInputError(f"{path}:{number}: this line is no JSON object; none was taken")
    return values


def _to_label(context: AppContext, values: dict[str, Any], defaults: Defaults, now: datetime) -> SubmittedLabel:
    given = {key: value for key, value in vars(defaults).items() if value} | values
    if "source" not in given:
        raise InvalidInputError("no source; add a column, or say --source audit, delayed or correction")
    if EXTRA_VALUES_KEY in given:
        raise InvalidInputError(EXTRA_VALUES_KEY)
    if strange := given.keys() - set(COLUMNS):
        raise InvalidInputError(f"unknown field {describe_value(min(strange))}; allowed: {', '.join(COLUMNS)}")
    told = FeedbackIn.model_validate(given)
    if told.label not in context.pipeline.classes:
        raise InvalidInputError(f"label {told.label!r} is not a class; allowed: {', '.join(context.pipeline.classes)}")
    if told.at is not None and told.at > now + pending_labels.CLOCK_SKEW:
        raise InvalidInputError(f"given at {told.at}, in the future")
    key = told.idempotency_key
    label = SubmittedLabel(told.prediction_id, told.label, told.source, told.reviewer, told.at or now, key)
    reject_model_labels(context, [label])
    return label


def _error_text(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:3])
    return str(error)
