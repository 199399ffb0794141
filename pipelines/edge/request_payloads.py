"""What clients send, taken apart within bounds: forms of parts, and how much a JSON text holds; it knows no model.

Everything here takes time that grows with the length of the body only, and no parameter of a request chooses how a
body is read: texts are UTF-8. Needs the standard library alone, so that a device can have it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MOST_FIELDS: Final = 10
LONGEST_FIELD: Final = 16 * 1024
LONGEST_PART_HEADERS: Final = 4 * 1024
LONGEST_CONTENT_TYPE: Final = 512
LONGEST_BOUNDARY: Final = 200
LONGEST_SHOWN: Final = 40
_PARAMETER: Final = re.compile(r';[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')


class PayloadError(ValueError):
    """A body that cannot be used, and why."""


class BrokenFormError(PayloadError):
    """A multipart body that does not follow its own rules."""


class PayloadTooLargeError(PayloadError):
    """A body that holds more than is taken."""


@dataclass(frozen=True)
class Amounts:
    """The most lists, objects and values that a JSON text may hold."""

    lists: int
    objects: int
    values: int

    @classmethod
    def of_pictures(cls, count: int, height: int, width: int) -> Amounts:
        """What so many pictures need as arrays of numbers, in any form that is taken, with room to spare."""
        return cls(count * (height + 4) + 1024, count + 1024, count * (height * width + 8) + 8192)

    def check(self, body: bytes) -> None:
        """Raise PayloadTooLargeError for too many values, PayloadError for too many of the rest, before any is made."""
        if (found := body.count(b",")) >= self.values:
            raise PayloadTooLargeError(f"the body holds more than {found} values; at most {self.values} are taken")
        for mark, name, most in ((b"[", "lists", self.lists), (b"{", "objects", self.objects)):
            if (found := body.count(mark)) > most:
                raise PayloadError(f"the body holds {found} {name}; at most {most} are taken")


@dataclass(frozen=True)
class Form:
    """The files of a form in their order, and its texts by name."""

    files: tuple[bytes, ...]
    fields: dict[str, str]


def read_form(body: bytes, content_type: str, most_files: int) -> Form:
    """Take a multipart/form-data body apart; raises PayloadError, and PayloadTooLargeError for too many parts."""
    mark = b"--" + _boundary(content_type)
    files, fields, texts = list[bytes](), dict[str, str](), 0
    place = len(mark) if body.startswith(mark) else _after(body, mark, 0)[1]
    while body[place : place + 2] != b"--":
        begin = body.find(b"\r\n", place, place + LONGEST_BOUNDARY)
        if begin < 0 or body[place:begin].strip(b" \t"):
            raise BrokenFormError("the multipart form is broken: no line ends where a part begins")
        stop = body.find(b"\r\n\r\n", begin, begin + LONGEST_PART_HEADERS)
        if stop < 0:
            raise BrokenFormError(f"a part of the form has no end of headers within {LONGEST_PART_HEADERS} bytes")
        name, is_file = _named(body[begin:stop])
        end, place = _after(body, mark, stop + 2)
        content = body[stop + 4 : end]
        if is_file:
            files.append(content)
            if len(files) > most_files:
                raise PayloadTooLargeError(f"{len(files)} images in one request or more; at most {most_files}")
        else:
            texts += 1
            if texts > MOST_FIELDS:
                raise BrokenFormError(f"Too many fields in the multipart form; at most {MOST_FIELDS} are taken")
            fields[name] = _text(content, name)
    return Form(tuple(files), fields)


def shown(value: object) -> str:
    """A value of JSON as an error tells it, never long: a text's beginning, a number, else what kind it is."""
    if isinstance(value, str):
        return repr(value[:LONGEST_SHOWN])
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**64):
        return str(value)
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else "a number"


def _boundary(content_type: str) -> bytes:
    if len(content_type) > LONGEST_CONTENT_TYPE:
        raise BrokenFormError(f"the content type is longer than {LONGEST_CONTENT_TYPE} characters")
    boundary = _parameters(content_type).get("boundary", "")
    if not 0 < len(boundary) <= LONGEST_BOUNDARY:
        raise BrokenFormError(f"multipart/form-data needs a boundary of 1 to {LONGEST_BOUNDARY} characters")
    try:
        return boundary.encode("latin-1")
    except UnicodeEncodeError as error:
        raise BrokenFormError("the boundary of the form is no header's text") from error


def _after(body: bytes, mark: bytes, place: int) -> tuple[int, int]:
    """Where the next part's line begins and where it goes on behind the boundary."""
    found = body.find(b"\r\n" + mark, place)
    if found < 0:
        raise BrokenFormError("the multipart form is broken or unfinished: a boundary is missing")
    return found, found + 2 + len(mark)


def _named(headers: bytes) -> tuple[str, bool]:
    """The name of a part, and whether it is a file."""
    for line in headers.decode("utf-8", errors="replace").split("\r\n"):
        field, _, value = line.partition(":")
        if field.strip().lower() == "content-disposition":
            found = _parameters(value)
            if "name" not in found and "name*" not in found:
                break
            return found.get("name", ""), "filename" in found or "filename*" in found
    raise BrokenFormError('each part of the form needs a Content-Disposition with a "name"')


def _parameters(header: str) -> dict[str, str]:
    """The parameters of a header's value by name in lower case; the first of a name counts."""
    found: dict[str, str] = {}
    for name, quoted, bare in _PARAMETER.findall(header):
        found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted else bare)
    return found


def _text(content: bytes, name: str) -> str:
    if len(content) > LONGEST_FIELD:
        raise PayloadTooLargeError(f"field {shown(name)} of the form is longer than {LONGEST_FIELD} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PayloadError(f"field {shown(name)} of the form is not UTF-8 ({error.reason})") from error
