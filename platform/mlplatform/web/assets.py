"""The style sheet, script and icon of the pages, from the package, each under a name that changes with its content."""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

CONTENT_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
FILE_NAMES: Final = ("style.css", "script.js", "review.js", "icon.svg")
_DIGEST_LENGTH: Final = 12


@dataclass(frozen=True)
class Asset:
    """One file: its name with a digest of its content, which may be kept for ever, and its content."""

    name: str
    content: bytes
    content_type: str


@cache
def load_assets() -> dict[str, Asset]:
    """Every file by the name it has in the package."""
    return {name: _load(name) for name in FILE_NAMES}


def find_asset(name: str) -> Asset | None:
    """The file of that name with its digest; None for any other name."""
    return next((asset for asset in load_assets().values() if asset.name == name), None)


def _load(name: str) -> Asset:
    content = files("mlplatform.web").joinpath("static", name).read_bytes()
    stem, _, extension = name.partition(".")
    digest = sha256(content).hexdigest()[:_DIGEST_LENGTH]
    return Asset(f"{stem}-{digest}.{extension}", content, CONTENT_TYPES[extension])
