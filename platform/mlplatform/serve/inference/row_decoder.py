"""Decodes the rows of prediction requests for a model of a table."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgspec
import orjson

from mlplatform.errors import InvalidInputError, TooLargeError
from mlplatform.serve.inference.decoded_request import DecodedRequest
from mlplatform.serve.inference.request_fields import (
    SMALL_BODY_BYTES,
    check_amounts,
    validate_references,
    validate_row_tags,
    validate_subjects,
    validate_text,
)
from pipelines.batch import Batch
from pipelines.edge.request_payloads import JsonLimits, describe_value
from pipelines.engines.latency import random_rows
from pipelines.errors import DataError
from pipelines.inputs.row_parser import Pairs, ParsedRows, RowParser, count_keys, parse_pairs, without_texts
from pipelines.inputs.table_codec import TableCodec
from registry.model_contract import TableInputs

FIELDS: Final = ("rows", "references", "subjects", "client_id", "request_id", "tags")
TEXT_FIELDS: Final = ("client_id", "request_id")
MAX_ROW_MARKS: Final = 100_000
"""Brackets and commas that the texts of one row may hold."""


@dataclass(frozen=True)
class RowDecoder:
    """Decodes for a model whose input is a row of a table, at most `max_rows` of them in one request."""

    codec: TableCodec
    max_rows: int

    @cached_property
    def parser(self) -> RowParser:
        """What reads the rows themselves."""
        return RowParser(self.codec)

    @property
    def wanted(self) -> str:
        """What this model takes, for whoever sends something else."""
        names = ", ".join(column.name for column in self.codec.columns[:5])
        more = ", …" if len(self.codec.columns) > 5 else ""
        return f'this model takes rows of a table ({names}{more}): send {{"rows": [...]}} as JSON'

    def check_amounts(self, body: bytes) -> None:
        """Raise TooLargeError or InvalidInputError for a JSON text of more than the most rows hold, unparsed."""
        if len(body) <= SMALL_BODY_BYTES:
            return
        columns = len(self.codec.columns)
        limits = JsonLimits(self.max_rows + 1024, self.max_rows + 1024, self.max_rows * (columns + 4) + 8192)
        if body.count(b",") >= limits.values or body.count(b"[") > limits.lists or body.count(b"{") > limits.objects:
            most = f"{self.max_rows} rows of {columns} columns need no more (PLATFORM_MAX_IMAGES)"
            check_amounts(without_texts(body), limits, most)

    def decode_json(self, body: bytes) -> DecodedRequest:
        """What `{"rows": [{...}], "references": [...], "subjects": [...], "tags": {...}}` holds; tags may be a list."""
        self.check_amounts(body)
        try:
            document = self._json_decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return self._decode_carefully(body)
        self._check_count(len(document.rows))
        result = self.parser.read(document.rows)
        if result is None:
            return self._decode_carefully(body)
        parsed, keys = result
        given = {name: value for name in FIELDS[1:] if (value := getattr(document, name)) is not msgspec.UNSET}
        tags = given.get("tags") or {}
        tag_count = len(tags) if isinstance(tags, dict) else sum(len(each) for each in tags if each)
        if count_keys(body) != keys + 1 + len(given) + tag_count:
            return self._decode_carefully(body)
        return self.request_of(parsed, given)

    def request_of(self, parsed: ParsedRows, given: dict[str, Any]) -> DecodedRequest:
        """The request of these rows, with what else it holds checked."""
        fields: dict[str, str] = {name: given[name] for name in TEXT_FIELDS if name in given}
        for name, text in fields.items():
            validate_text(text, name)
        count = len(parsed.rows)
        references = validate_references(given.get("references"), count)
        subjects = validate_subjects(given.get("subjects"), count)
        tags, row_tags = validate_row_tags(given.get("tags"), count)
        return DecodedRequest(parsed.batch, fields, tags, references, parsed.rows, subjects, row_tags)

    def read_objects(self, objects: object, name: str) -> ParsedRows:
        """Rows given as a list of objects; raises InvalidInputError and TooLargeError."""
        if not isinstance(objects, list):
            raise InvalidInputError(f"{name} must be a list of objects; {self.wanted}")
        self._check_count(len(objects))
        try:
            return self.parser.read_objects(objects, name)
        except DataError as error:
            raise InvalidInputError(str(error)) from error

    def one_row_limits(self) -> JsonLimits:
        """What a body with one row may hold."""
        return JsonLimits(MAX_ROW_MARKS, MAX_ROW_MARKS, len(self.codec.columns) + MAX_ROW_MARKS)

    def read_lists(self, names: object, lists: object, name: str) -> ParsedRows:
        """Rows given as lists of values behind a list of names; raises InvalidInputError and TooLargeError."""
        if not isinstance(names, list) or not isinstance(lists, list):
            raise InvalidInputError(f"{name} must be a list of rows, and columns a list of names; {self.wanted}")
        self._check_count(len(lists))
        try:
            return self.parser.read_lists(names, lists, name)
        except DataError as error:
            raise InvalidInputError(str(error)) from error

    def example(self, seed: int) -> bytes:
        """A body with one row, to measure with."""
        [row] = self.codec.rows(random_rows(TableInputs(self.codec.columns), 1, seed))
        return orjson.dumps({"rows": [self.codec.to_record(row.content)]})

    def decode_example(self, sent: bytes) -> Batch:
        """The row of such a body."""
        return self.decode_json(sent).batch

    def _decode_carefully(self, body: bytes) -> DecodedRequest:
        try:
            document = parse_pairs(body)
        except ValueError as error:
            raise InvalidInputError(f"the body is not JSON ({error})") from error
        if not isinstance(document, Pairs):
            raise InvalidInputError(f'the body must be an object with a list "rows"; {self.wanted}')
        given = _unique(document, "the body")
        if unknown := [name for name in given if name not in FIELDS]:
            raise InvalidInputError(
                f"unknown field {describe_value(unknown[0])}; allowed: {', '.join(FIELDS)}. {self.wanted}"
            )
        parsed = self.read_objects(given.get("rows"), "rows")
        if "tags" in given:
            given["tags"] = _unique_tags(given["tags"])
        return self.request_of(parsed, given)

    def _check_count(self, rows: int) -> None:
        if not rows:
            raise InvalidInputError("no row was sent; send at least one")
        if rows > self.max_rows:
            raise TooLargeError(f"{rows} rows in one request; at most {self.max_rows} (PLATFORM_MAX_IMAGES)")

    @cached_property
    def _json_decoder(self) -> "msgspec.json.Decoder[Any]":
        fields: list[tuple[str, Any, Any]] = [
            *[(name, list[str | None] | None, msgspec.UNSET) for name in ("references", "subjects")],
            *[(name, str, msgspec.UNSET) for name in TEXT_FIELDS],
            ("tags", dict[str, str] | list[dict[str, str] | None] | None, msgspec.UNSET),
        ]
        rows = ("rows", list[self.parser.row_type])  # type: ignore[name-defined]  # a class that is made here
        return msgspec.json.Decoder(msgspec.defstruct("Document", [rows, *fields], forbid_unknown_fields=True))


def _unique_tags(tags: object) -> object:
    """The tags with their objects by key; what is none is left for the check to refuse."""
    if isinstance(tags, Pairs):
        return _unique(tags, "tags")
    if isinstance(tags, list):
        return [_unique(each, "tags") if isinstance(each, Pairs) else each for each in tags]
    return tags


def _unique(pairs: Pairs, name: str) -> dict[str, Any]:
    """The pairs by their keys; raises InvalidInputError where one is given twice."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise InvalidInputError(f"{name} has {describe_value(key)} twice; give it once")
        values[key] = value
    return values
