"""Reads and writes checkpoint files: signed heads of the hash chains, kept outside the database.

Whoever can write to the database can cut off the end of a chain, or make a whole one anew. A head that was written down
elsewhere shows both. A line of the file is one JSON object. It covers the lines before it by a digest that goes on from
line to line; with a key it has an HMAC-SHA256, so that the file itself need not be trusted.
"""

import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from mlplatform.context import AppContext
from mlplatform.errors import SettingsError
from mlplatform.ids import uuid7

MIN_KEY_BYTES: Final = 16
MAX_LINE_BYTES: Final = 16 * 2**20
EMPTY_DIGEST: Final = sha256(b"mlplatform audit anchors").hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """The chains at one moment: number and hash of their last links. `authenticated`: a key vouches for the line."""

    at: str
    heads: dict[str, tuple[int, str]]
    authenticated: bool


@dataclass
class CheckpointReadState:
    """How far a file was read: lines, bytes, the digest of the lines, and what was wrong with them.

    `file_id` is the file's own name for itself, empty before its first line of the present form. `has_signed_line`: a
    line had a good HMAC, after which each must. `line_digests` collects the digests of the lines that it has as keys.
    """

    lines: int = 0
    offset: int = 0
    digest: str = EMPTY_DIGEST
    file_id: str = ""
    has_signed_line: bool = False
    malformed_lines: int = 0
    line_digests: dict[int, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def signing_keys(context: AppContext) -> tuple[bytes, ...]:
    """The keys in PLATFORM_AUDIT_KEY_FILE, the one that signs first; none where that is not set. Raises SettingsError.

    A file of several lines holds the key in use and, below it, those used before.
    """
    path = context.settings.audit_key_file
    if path is None:
        return ()
    try:
        whole = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"PLATFORM_AUDIT_KEY_FILE={str(path)!r} cannot be read ({error.strerror})") from error
    lines = [line.strip() for line in whole.splitlines() if line.strip()] if whole.isascii() else []
    keys = (*lines, whole) if len(lines) > 1 and all(line.decode().isprintable() for line in lines) else (whole,)
    shortest = min(keys, key=len)
    if len(shortest) < MIN_KEY_BYTES:
        raise SettingsError(
            f"PLATFORM_AUDIT_KEY_FILE={str(path)!r} holds {len(shortest)} bytes; write {MIN_KEY_BYTES} random ones or "
            "more: openssl rand -hex 32"
        )
    return keys


def checkpoint_path(context: AppContext) -> Path:
    """Where checkpoints are kept: PLATFORM_AUDIT_ANCHORS, or a file in the home folder."""
    return (context.settings.audit_anchors or context.settings.home / "audit-anchors.jsonl").absolute()


def read_checkpoints(
    path: Path, keys: bytes | tuple[bytes, ...] | None = None, progress: CheckpointReadState | None = None
) -> Iterator[Checkpoint]:
    """The checkpoints of a file from where an earlier reading ended; one that is not there has none.

    A line that was cut short is passed over, for a crash or a full disk leaves such. What was changed among the lines
    is added to the faults in `progress`, and so are lines without a good signature after signed ones.
    """
    at = progress or CheckpointReadState()
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(at.offset)
        yield from _iter_checkpoints(file, (keys,) if isinstance(keys, bytes) else keys or (), at)


def encode_line(checkpoint: Checkpoint, keys: tuple[bytes, ...], progress: CheckpointReadState) -> bytes:
    """The line that holds a checkpoint and covers the lines before it."""
    heads = {name: list(head) for name, head in checkpoint.heads.items()}
    content: dict[str, object] = {"at": checkpoint.at, "heads": heads, "before": progress.digest}
    content["file"] = progress.file_id or uuid7()
    line = content if not keys else content | {"hmac": _mac(keys[0], content)}
    return json.dumps(line, sort_keys=True).encode() + b"\n"


def _iter_checkpoints(file: BufferedReader, keys: tuple[bytes, ...], at: CheckpointReadState) -> Iterator[Checkpoint]:
    while raw := file.readline(MAX_LINE_BYTES):
        if not raw.endswith(b"\n"):  # it may still be written; whoever adds a line ends this one first
            return
        before = at.digest
        at.lines, at.offset = at.lines + 1, at.offset + len(raw)
        at.digest = sha256(before.encode() + raw).hexdigest()
        if at.lines in at.line_digests:
            at.line_digests[at.lines] = at.digest
        line = _parse_line(raw)
        if line is None:
            at.malformed_lines += 1
            continue
        content = {name: value for name, value in line.items() if name != "hmac"}
        signature = str(line.get("hmac", "")).encode()
        authenticated = any(hmac.compare_digest(_mac(key, content).encode(), signature) for key in keys)
        _check_line(at, line, before, authenticated=authenticated, keys=bool(keys))
        heads = {name: (head[0], head[1]) for name, head in line["heads"].items()}
        yield Checkpoint(str(line["at"]), heads, authenticated)


def _check_line(at: CheckpointReadState, line: dict[str, Any], before: str, *, authenticated: bool, keys: bool) -> None:
    """Add to the faults what contradicts the lines before."""
    if "before" in line and line["before"] != before:
        at.faults.append(f"anchors: the lines before line {at.lines} ({line['at']}) are not those that were written")
    elif at.file_id and line.get("file") != at.file_id:
        at.faults.append(f"anchors: line {at.lines} ({line['at']}) was not written for this file")
    if keys and not authenticated and (at.has_signed_line or "hmac" in line):
        at.faults.append(
            f"anchors: the key does not vouch for line {at.lines} ({line['at']}), which must be signed; a key that was "
            "replaced belongs into the key file, on a line below the new one"
        )
    at.file_id = at.file_id or str(line.get("file", ""))
    at.has_signed_line |= authenticated


def _parse_line(raw: bytes) -> dict[str, Any] | None:
    """A line that holds chain heads; None for any other."""
    try:
        line = json.loads(raw)
        heads = line["heads"]
        valid = isinstance(line["at"], str) and all(
            type(number) is int and 0 < number < 2**63 and isinstance(digest, str) for number, digest in heads.values()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return line if valid and isinstance(line, dict) else None


def _mac(key: bytes, content: object) -> str:
    return hmac.digest(key, json.dumps(content, sort_keys=True).encode(), sha256).hex()
