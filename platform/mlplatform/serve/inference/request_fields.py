"""Checks the texts and tags that come with a prediction request, and how much JSON a body may hold."""

import re
from typing import Final

import orjson

from mlplatform.errors import InvalidInputError, TooLargeError
from pipelines.edge.request_payloads import JsonLimits, PayloadError, PayloadTooLargeError, describe_value

SMALL_BODY_BYTES: Final = 16 * 1024
"""Bodies up to so many bytes are read on the event loop: handing them to a thread costs more than it saves."""
MAX_TEXT_LENGTH: Final = 200
MAX_TAGS: Final = 10
MAX_TAG_LENGTH: Final = 64
MAX_TAGS_TEXT_LENGTH: Final = 16 * 1024
_TAG_PATTERN: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


def check_amounts(body: bytes, amounts: JsonLimits, reason: str) -> None:
    """Raise TooLargeError for a JSON text of more values, InvalidInputError for more of the rest, unparsed."""
    try:
        amounts.check(body)
    except PayloadTooLargeError as error:
        raise TooLargeError(f"{error}: {reason}") from error
    except PayloadError as error:
        raise InvalidInputError(f"{error}: {reason}") from error


def validate_text(value: object, name: str) -> None:
    """Refuse what no log line or database column should hold: control characters, half characters, long texts."""
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise InvalidInputError(f"{name} must be a printable text of at most 200 characters")


def validate_references(value: object, rows: int) -> tuple[str, ...]:
    """The caller's own keys, one for each row, "" where it has none; None means none at all."""
    references = _one_text_each(value, rows, "references")
    named = [reference for reference in references if reference]
    if len(set(named)) < len(named):
        twice = next(reference for reference in named if named.count(reference) > 1)
        raise InvalidInputError(f"reference {twice!r} is given to two rows; give each row a key of its own")
    return references


def validate_subjects(value: object, rows: int) -> tuple[str, ...]:
    """Whom each row is about, "" where it is about nobody; None means nobody at all."""
    return _one_text_each(value, rows, "subjects")


def refuse_subjects(value: object) -> None:
    """Of pictures none are kept, and whoever sent them could not have them erased."""
    if value is not None:
        raise InvalidInputError("subjects are those of rows of a table; of pictures none are kept")


def _one_text_each(value: object, rows: int, name: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) != rows:
        raise InvalidInputError(f"{name} must be a list of {rows} texts or nulls, one for each row")
    texts = tuple("" if text is None else text for text in value)
    for place, text in enumerate(texts):
        validate_text(text, f"{name}[{place}]")
    return texts


def parse_row_texts(text: object, name: str) -> object:
    """The JSON of a list of texts, as a text: a parameter of a protocol can hold no list."""
    if not isinstance(text, str):
        raise InvalidInputError(f"{name} must be the JSON of a list, as a text")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"{name} is not JSON ({error}); send a list of texts or nulls") from error


def validate_row_tags(value: object, rows: int) -> tuple[dict[str, str], tuple[dict[str, str], ...]]:
    """The tags of all rows, or those of each row where a list of objects or nulls is given."""
    if not isinstance(value, list):
        return validate_tags(value), ()
    if len(value) != rows:
        raise InvalidInputError(f"tags must be an object, or a list of {rows} objects or nulls, one for each row")
    return {}, tuple(validate_tags(tags, f"tags[{place}]") for place, tags in enumerate(value))


def validate_tags(value: object, field: str = "tags") -> dict[str, str]:
    """Tags as given: a few short names with a short text each; None means none."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MAX_TAGS:
        raise InvalidInputError(f"{field} must be an object of at most {MAX_TAGS} names and texts")
    for name, text in value.items():
        if not isinstance(name, str) or not _TAG_PATTERN.fullmatch(name):
            raise InvalidInputError(f"tag {describe_value(name)} is no name; use a-z, 0-9 and _, at most 32")
        validate_text(text, f"tag {name}")
        if len(text) > MAX_TAG_LENGTH:
            raise InvalidInputError(f"tag {name} is longer than {MAX_TAG_LENGTH} characters; shorten it")
    return value


def parse_tags(text: object) -> dict[str, str]:
    """Tags from a JSON text, such as a header, a field or a parameter that can hold no object."""
    return validate_tags(parse_tags_text(text))


def parse_tags_text(text: object) -> object:
    """What such a text holds, unchecked."""
    if not isinstance(text, str) or len(text) > MAX_TAGS_TEXT_LENGTH:
        raise InvalidInputError(
            f"tags must be the JSON of an object, as a text of at most {MAX_TAGS_TEXT_LENGTH} characters"
        )
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"tags is not JSON ({error}); send an object of names and texts") from error
