"""Reports on disk: small files beside one copy of the scripts they share, put together again for reading."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Final

SHARED_FOLDER: Final = "shared"
MIN_LIBRARY_CHARS: Final = 200_000
"""A script of so many characters is a library, the same in each report, and not the report's data."""
_OPENING, _CLOSING = "<script>", "</script>"
_REFERENCE = re.compile(rf'<script src="{SHARED_FOLDER}/([0-9a-f]{{32}}\.js)"></script>')


def deduplicate_scripts(report: Path) -> None:
    """Move the large scripts of a report into files that all reports of its folder share."""
    text = report.read_text(encoding="utf-8")
    pieces, rest = [], text
    while (begin := rest.find(_OPENING)) >= 0 and (end := rest.find(_CLOSING, begin)) >= 0:
        script = rest[begin + len(_OPENING) : end]
        pieces.append(rest[:begin])
        if len(script) < MIN_LIBRARY_CHARS:
            pieces.append(rest[begin : end + len(_CLOSING)])
        else:
            pieces.append(
                f'<script src="{SHARED_FOLDER}/{_store_script(report.parent / SHARED_FOLDER, script)}"></script>'
            )
        rest = rest[end + len(_CLOSING) :]
    light = "".join([*pieces, rest])
    if light != text:
        _write(report, light)


def inline_scripts(report: Path) -> str:
    """The report as one page that needs no other file."""

    def script(reference: re.Match[str]) -> str:
        try:
            return _OPENING + (report.parent / SHARED_FOLDER / reference[1]).read_text(encoding="utf-8") + _CLOSING
        except OSError:  # somebody removed it: the page says so by being empty, its source still holds the data
            return reference[0]

    return _REFERENCE.sub(script, report.read_text(encoding="utf-8"))


def write_text_report(report: Path, title: str, sentence: str) -> None:
    """A report of one sentence, where there is nothing to draw."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    _write(report, f'<!doctype html>\n<html lang="en">{head}<h1>{escape(title)}</h1><p>{escape(sentence)}</p></html>\n')


def _store_script(folder: Path, script: str) -> str:
    content = script.encode()
    name = f"{sha256(content).hexdigest()[:32]}.js"
    with suppress(OSError):
        if (folder / name).stat().st_size == len(content):
            return name
    _write(folder / name, script)
    return name


def _write(place: Path, text: str) -> None:
    """Write the file beside its place and move it there whole."""
    with _temporary_file(place) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(place)


@contextmanager
def _temporary_file(place: Path) -> Iterator[Path]:
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
