"""Parses request bodies within bounds: multipart forms, and how much a JSON text may hold.

Everything here takes time that grows with the length of the body only, and no parameter of a request chooses how a
body is read: texts are UTF-8. Needs the standard library alone, so that a device can have it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_FIELDS: Final = 10
MAX_FIELD_BYTES: Final = 16 * 1024
MAX_PART_HEADER_BYTES: Final = 4 * 1024
MAX_CONTENT_TYPE_LENGTH: Final = 512
MAX_BOUNDARY_LENGTH: Final = 200
MAX_SHOWN_LENGTH: Final = 40
_PARAMETER: Final = re.compile(r';[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')


class PayloadError(ValueError):
    """A body that cannot be used, and why."""


class MalformedFormError(PayloadError):
    """A multipart body that does not follow its own rules."""


class PayloadTooLargeError(PayloadError):
    """A body that holds more than is taken."""


@dataclass(frozen=True)
class JsonLimits:
    """The most lists, objects and values that a JSON text may hold."""

    lists: int
    objects: int
    values: int

    @classmethod
    def for_images(cls, count: int, height: int, width: int) -> JsonLimits:
        """What so many images need as arrays of numbers, in any form that is taken, with room to spare."""
        return cls(count * (height + 4) + 1024, count + 1024, count * (height * width + 8) + 8192)

    def check(self, body: bytes) -> None:
        """Raise PayloadTooLargeError for too many values, PayloadError for too many of the rest, before any is made."""
        if (found := body.count(b",")) >= self.values:
            raise PayloadTooLargeError(f"the body holds more than {found} values; at most {self.values} are taken")
        for mark, name, most in ((b"[", "lists", self.lists), (b"{", "objects", self.objects)):
            if (found := body.count(mark)) > most:
                raise PayloadError(f"the body holds {found} {name}; at most {most} are taken")


@dataclass(frozen=True)
class MultipartForm:
    """The files of a form in their order, and its texts by name."""

    files: tuple[bytes, ...]
    fields: dict[str, str]


def parse_form(body: bytes, content_type: str, max_files: int) -> MultipartForm:
    """Take a multipart/form-data body apart; raises PayloadError, and PayloadTooLargeError for too many parts."""
    mark = b"--" + _boundary(content_type)
    files, fields, texts = list[bytes](), dict[str, str](), 0
    place = len(mark) if body.startswith(mark) else _find_boundary(body, mark, 0)[1]
    while body[place : place + 2] != b"--":
        begin = body.find(b"\r\n", place, place + MAX_BOUNDARY_LENGTH)
        if begin < 0 or body[place:begin].strip(b" \t"):
            raise MalformedFormError("the multipart form is broken: no line ends where a part begins")
        stop = body.find(b"\r\n\r\n", begin, begin + MAX_PART_HEADER_BYTES)
        if stop < 0:
            raise MalformedFormError(f"a part of the form has no end of headers within {MAX_PART_HEADER_BYTES} bytes")
        name, is_file = _part_name(body[begin:stop])
        end, place = _find_boundary(body, mark, stop + 2)
        content = body[stop + 4 : end]
        if is_file:
            files.append(content)
            if len(files) > max_files:
                raise PayloadTooLargeError(f"{len(files)} images in one request or more; at most {max_files}")
        else:
            texts += 1
            if texts > MAX_FIELDS:
                raise MalformedFormError(f"Too many fields in the multipart form; at most {MAX_FIELDS} are taken")
            fields[name] = _decode_field(content, name)
    return MultipartForm(tuple(files), fields)


def describe_value(value: object) -> str:
    """A value of JSON as an error tells it, never long: a text's beginning, a number, else what kind it is."""
    if isinstance(value, str):
        return repr(value[:MAX_SHOWN_LENGTH])
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**64):
        return str(value)
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else "a number"


def _boundary(content_type: str) -> bytes:
    if len(content_type) > MAX_CONTENT_TYPE_LENGTH:
        raise MalformedFormError(f"the content type is longer than {MAX_CONTENT_TYPE_LENGTH} characters")
    boundary = _parameters(content_type).get("boundary", "")
    if not 0 < len(boundary) <= MAX_BOUNDARY_LENGTH:
        raise MalformedFormError(f"multipart/form-data needs a boundary of 1 to {MAX_BOUNDARY_LENGTH} characters")
    try:
        return boundary.encode("latin-1")
    except UnicodeEncodeError as error:
        raise MalformedFormError("the boundary of the form is no header's text") from error


def _find_boundary(body: bytes, mark: bytes, place: int) -> tuple[int, int]:
    """Where the next part's line begins and where it goes on behind the boundary."""
    position = body.find(b"\r\n" + mark, place)
    if position < 0:
        raise MalformedFormError("the multipart form is broken or unfinished: a boundary is missing")
    return position, position + 2 + len(mark)


def _part_name(headers: bytes) -> tuple[str, bool]:
    """The name of a part, and whether it is a file."""
    for line in headers.decode("utf-8", errors="replace").split("\r\n"):
        field, _, value = line.partition(":")
        if field.strip().lower() == "content-disposition":
            found = _parameters(value)
            if "name" not in found and "name*" not in found:
                break
            return found.get("name", ""), "filename" in found or "filename*" in found
    raise MalformedFormError('each part of the form needs a Content-Disposition with a "name"')


def _parameters(header: str) -> dict[str, str]:
    """The parameters of a header's value by name in lower case; the first of a name counts."""
    parameters: dict[str, str] = {}
    for name, quoted, bare in _PARAMETER.findall(header):
        parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted else bare)
    return parameters


def _decode_field(content: bytes, name: str) -> str:
    if len(content) > MAX_FIELD_BYTES:
        raise PayloadTooLargeError(f"field {describe_value(name)} of the form is longer than {MAX_FIELD_BYTES} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PayloadError(f"field {describe_value(name)} of the form is not UTF-8 ({error.reason})") from error
