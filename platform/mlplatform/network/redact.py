"""Removes the secrets of a receiver's address from the text of its answer."""

import re
from urllib.parse import unquote

_MIN_SECRET_LENGTH = 4  # shorter parts of an address are no secrets, and are found in any text


def redact_secrets(text: str, url: str) -> str:
    """The text, every part of the address struck out that may be a secret: a webhook's path is its password."""
    after_scheme = url.partition("://")[2]
    parts = {part for written in (after_scheme, unquote(after_scheme)) for part in re.split(r"[/?&=:@,#]+", written)}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "***") if len(part) >= _MIN_SECRET_LENGTH else text
    return text
