"""Anchors: the heads of the audit log's chains, kept in a file outside the database; it verifies nothing.

Whoever can write to the database can cut off the end of a chain, or make a whole one anew. A head that was written down
elsewhere shows both. A line of the file is one JSON object; with a key, also its HMAC-SHA256, so that the file itself
need not be trusted.
"""

import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from mlplatform.build import Parts
from mlplatform.errors import SettingsError
from mlplatform.store import chains

SHORTEST_KEY: Final = 16


@dataclass(frozen=True)
class Anchor:
    """The chains as they stood: number and hash of their last links. `proved` tells whether the key vouches for it."""

    at: str
    heads: dict[str, tuple[int, str]]
    proved: bool


def key_of(parts: Parts) -> bytes | None:
    """The key from PLATFORM_AUDIT_KEY_FILE, None where that is not set; raises SettingsError."""
    path = parts.settings.audit_key_file
    if path is None:
        return None
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"PLATFORM_AUDIT_KEY_FILE={str(path)!r} cannot be read ({error.strerror})") from error
    if len(key) < SHORTEST_KEY:
        raise SettingsError(
            f"PLATFORM_AUDIT_KEY_FILE={str(path)!r} holds {len(key)} bytes; write {SHORTEST_KEY} random ones or more: "
            "openssl rand -hex 32"
        )
    return key


def file_of(parts: Parts) -> Path:
    """Where anchors are kept: PLATFORM_AUDIT_ANCHORS, or a file in the home folder."""
    return parts.settings.audit_anchors or parts.settings.home / "audit-anchors.jsonl"


def take(parts: Parts, path: Path, now: datetime) -> Anchor | None:
    """Write the heads that have moved since the file's last word on them; None when none has."""
    key, known = key_of(parts), newest(list(read(path, None)))
    with parts.database.read() as connection:
        heads = {head.name: (head.number, head.hash) for head in chains.heads(connection)}
    moved = {name: head for name, head in heads.items() if name not in known or known[name].heads[name] != head}
    if not moved:
        return None
    told = {"at": chains.moment(now), "heads": {name: list(head) for name, head in moved.items()}}
    line = told if key is None else told | {"hmac": _mac(key, told)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, sort_keys=True) + "\n")
    return Anchor(str(told["at"]), moved, proved=key is not None)


def read(path: Path, key: bytes | None) -> Iterator[Anchor]:
    """The anchors of a file, oldest first; a line that was cut short is passed over, as is a file that is not there."""
    if not path.is_file():
        return
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            heads = {str(name): (int(number), str(hashed)) for name, (number, hashed) in line["heads"].items()}
            told = {"at": line["at"], "heads": line["heads"]}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        proved = key is not None and hmac.compare_digest(_mac(key, told), str(line.get("hmac", "")))
        yield Anchor(str(line["at"]), heads, proved)


def newest(anchors: list[Anchor]) -> dict[str, Anchor]:
    """The last anchor that tells of each chain."""
    return {name: anchor for anchor in anchors for name in anchor.heads}


def _mac(key: bytes, told: object) -> str:
    return hmac.digest(key, json.dumps(told, sort_keys=True).encode(), sha256).hex()
