"""Imports labels from a file, CSV or JSON lines: checked line by line, stored in batches, safe to import again."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import ValidationError

from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError
from mlplatform.feedback.label_ingestion import (
    check_label_target,
    check_label_time,
    find_erased,
    record_labels,
    reject_model_labels,
)
from mlplatform.feedback.label_records import FeedbackStatus, SubmittedLabel
from mlplatform.feedback.label_schema import FeedbackIn
from mlplatform.predictions import prediction_ids, prediction_records
from mlplatform.store.label_rules import LabelRules
from pipelines.edge.request_payloads import describe_value

BATCH_SIZE: Final = 500
"""Labels stored in one transaction, and predictions looked up by one query."""
MAX_SHOWN_LINES: Final = 20
RECORDED_OUTCOMES: Final = ("recorded", "superseded", "repeated")
"""What becomes of a label that is current afterwards."""
COLUMNS: Final = tuple(FeedbackIn.model_fields)
EXTRA_VALUES_KEY: Final = "more values than columns"


@dataclass(frozen=True)
class LabelLine:
    """One label and the number of its line in the file."""

    number: int
    label: SubmittedLabel
    reference: str = ""


@dataclass(frozen=True)
class Defaults:
    """The values of a line that does not give its own."""

    source: str = ""
    reviewer: str = ""


def read_label_file(context: AppContext, path: Path, defaults: Defaults) -> list[LabelLine]:
    """Every label of the file; raises InvalidInputError with the errors by line, up to twenty of them.

    A line without its own time has the time of the import, and a key that follows from the file: the same file sent
    again changes nothing, whatever came since.
    """
    now, lines, errors = context.clock(), list[LabelLine](), list[str]()
    file_digest = _file_digest(path, defaults)
    with context.database.read() as connection:
        rules = context.contracts.label_rules(connection, context.model_name)
    for number, values in _read_lines(path):
        try:
            label, reference = _to_label(context, rules, values, defaults, now)
        except (InvalidInputError, ValueError) as error:
            errors.append(f"{path}:{number}: {_error_text(error)}")
            continue
        has_identity = "at" in values or label.key
        label = label if has_identity else replace(label, key=f"{file_digest}:{number}")
        lines.append(LabelLine(number, label, reference))
    lines, unknown = _resolve_references(context, lines)
    errors += [
        f"{path}:{line.number}: no prediction with the reference {line.reference!r} is recorded" for line in unknown
    ]
    if not lines and not errors:
        raise InvalidInputError(f"{path} holds no labels; give CSV with a header and a line for each, or .jsonl")
    line_count = len(lines) + len(errors)
    errors += [f"{path}:{number}: {problem}" for number, problem in _find_contradictions(lines)]
    _raise_errors(errors, line_count)
    return lines


def preview_import(context: AppContext, lines: Sequence[LabelLine]) -> dict[str, int]:
    """What an import would find, without writing: predictions that are known, may still arrive, or are unknown.

    Those that were erased are counted where there are some. Raises InvalidInputError for labels that cannot be about
    their predictions, naming the lines.
    """
    counts = Counter(status for status, _ in _match_predictions(context, lines))
    statuses = ("known", "waiting", "unknown", *(["erased"] if counts["erased"] else []))
    return {"lines": len(lines), **{status: counts[status] for status in statuses}}


def import_labels(
    context: AppContext, lines: Sequence[LabelLine], on_progress: Callable[[int, int], None] = lambda _done, _of: None
) -> dict[str, int]:
    """Store the labels, batch by batch; returns how many became what, and how many audit labels estimate nothing.

    `on_progress` is told how many of how many lines are stored.

    Raises InvalidInputError before anything is stored where predictions are unknown, naming their lines.
    """
    if unknown := [line for status, line in _match_predictions(context, lines) if status == "unknown"]:
        raise InvalidInputError(_unknown_predictions_message(unknown))
    counts: Counter[str] = Counter(dict.fromkeys(get_args(FeedbackStatus), 0))
    for first in range(0, len(lines), BATCH_SIZE):
        on_progress(first, len(lines))
        batch = [line.label for line in lines[first : first + BATCH_SIZE]]
        for label, receipt in zip(batch, record_labels(context, batch, wait=True), strict=True):
            counts[receipt.outcome] += 1
            counts["not drawn for audit"] += (
                label.source == "audit" and receipt.outcome in RECORDED_OUTCOMES and not receipt.counts
            )
    return {"lines": len(lines), **{name: n for name, n in counts.items() if n or name in get_args(FeedbackStatus)}}


def _match_predictions(context: AppContext, lines: Sequence[LabelLine]) -> list[tuple[str, LabelLine]]:
    """Each line with the status of its prediction: known, erased, waiting or unknown."""
    now, ids = context.clock(), sorted({line.label.prediction_id for line in lines})
    origins: dict[str, prediction_records.PredictionOrigin] = {}
    erased: set[str] = set()
    with context.database.read() as connection:
        for batch in _batches(ids):
            origins |= prediction_records.prediction_origins(connection, batch)
            absent_ids = set(batch) - origins.keys()
            erased |= find_erased(connection, absent_ids, context.settings.retain_answers_days, now)
    errors, matched = [], []
    for line in lines:
        prediction_id = line.label.prediction_id
        try:
            check_label_target(context.model_name, line.label, origins.get(prediction_id))
            check_label_time(line.label, origins.get(prediction_id), now)
        except InvalidInputError as error:
            errors.append(f"line {line.number}: {error}")
        absent = "waiting" if prediction_ids.may_be_recorded_later(prediction_id, now) else "unknown"
        status = "known" if prediction_id in origins else "erased" if prediction_id in erased else absent
        matched.append((status, line))
    _raise_errors(errors, len(lines))
    return matched


def _resolve_references(context: AppContext, lines: Sequence[LabelLine]) -> tuple[list[LabelLine], list[LabelLine]]:
    """The lines with the ids of the predictions that they name by reference, and those that name none."""
    references = sorted({line.reference for line in lines if line.reference})
    ids: dict[str, str] = {}
    with context.database.read() as connection:
        for batch in _batches(references):
            ids |= prediction_records.find_references(connection, context.model_name, batch)
    resolved, unknown = [], []
    for line in lines:
        if not line.reference:
            resolved.append(line)
        elif line.reference in ids:
            resolved.append(replace(line, label=replace(line.label, prediction_id=ids[line.reference])))
        else:
            unknown.append(line)
    return resolved, unknown


def _raise_errors(errors: Sequence[str], line_count: int) -> None:
    if errors:
        rest = f"\n... and {len(errors) - MAX_SHOWN_LINES} more" if len(errors) > MAX_SHOWN_LINES else ""
        raise InvalidInputError(
            f"{len(errors)} of {line_count} lines cannot be taken, so none was:\n"
            + "\n".join(errors[:MAX_SHOWN_LINES])
            + rest
        )


def _find_contradictions(lines: Sequence[LabelLine]) -> Iterator[tuple[int, str]]:
    """Lines that contradict an earlier one about the same prediction, where nothing says which was given later."""
    firsts: dict[tuple[str, str, str, datetime], LabelLine] = {}
    for line in lines:
        label = line.label
        first = firsts.setdefault((label.prediction_id, label.source, label.reviewer, label.at), line)
        if first.label.label != label.label:
            problem = f"label {label.label!r} for prediction {label.prediction_id} contradicts {first.label.label!r}"
            yield line.number, f"{problem} on line {first.number}; keep one, or say in `at` when each was given"


def _unknown_predictions_message(lines: Sequence[LabelLine]) -> str:
    listed = "\n".join(f"line {line.number}: {line.label.prediction_id}" for line in lines[:MAX_SHOWN_LINES])
    return (
        f"{len(lines)} line(s) name predictions that are not known and too old or too strange to be on their way; "
        f"none was taken. Ids come from POST /v1/predict, the id of a request is none of them:\n{listed}"
    )


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), BATCH_SIZE):
        yield ids[first : first + BATCH_SIZE]


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and values by column; an empty value is left out."""
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
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise InvalidInputError(f"{path} has several columns {repeated[0]!r}; keep one, none was taken")


def _file_digest(path: Path, defaults: Defaults) -> str:
    """The identity of a file's lines under these defaults, as a prefix of their idempotency keys.

    The text that the defaults are hashed as must never change: keys of earlier imports are in the database.
    """
    digest = sha256(f"Defaults(source={defaults.source!r}, reviewer={defaults.reviewer!r})".encode())
    if path.exists() and not (path.is_file() or path.is_dir()):  # it is read twice, and to its end
        raise InvalidInputError(f"{path} is no file, but a pipe or a device; write the labels into a file first")
    try:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read ({error}); give CSV with a header, or .jsonl") from error
    return f"file:{digest.hexdigest()}"


def _reject_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        repeated = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{repeated!r} is said twice")
    return values


def _parse_json_object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        values = json.loads(line, object_pairs_hook=_reject_repeated_keys)
    except (ValueError, RecursionError) as error:  # brackets without end are no JSON that anybody meant
        raise InvalidInputError(f"{path}:{number}: this line is not JSON ({error}); none was taken") from error
    if not isinstance(values, dict):
        raise InvalidInputError(f"{path}:{number}: this line is no JSON object; none was taken")
    return values


def _to_label(
    context: AppContext, rules: LabelRules, values: dict[str, Any], defaults: Defaults, now: datetime
) -> tuple[SubmittedLabel, str]:
    """A line's label, and the reference that it names its prediction by, "" where that is the id."""
    fields = {name: value for name, value in vars(defaults).items() if value} | values
    if "source" not in fields:
        raise InvalidInputError("no source; add a column, or say --source audit, delayed or correction")
    if EXTRA_VALUES_KEY in fields:
        raise InvalidInputError(EXTRA_VALUES_KEY)
    if unknown := fields.keys() - set(COLUMNS):
        raise InvalidInputError(f"unknown field {describe_value(min(unknown))}; allowed: {', '.join(COLUMNS)}")
    item = FeedbackIn.model_validate(fields)
    if refusal := rules.refusal(item.label):
        raise InvalidInputError(refusal)
    if item.at is not None and item.at > now + prediction_ids.CLOCK_SKEW:
        raise InvalidInputError(f"given at {item.at}, in the future")
    key = item.idempotency_key
    label = SubmittedLabel(
        item.prediction_id, rules.canonical(item.label) or "", item.source, item.reviewer, item.at or now, key
    )
    reject_model_labels(context.model_name, [label])
    return label, item.reference


def _error_text(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()[:3])
    return str(error)
