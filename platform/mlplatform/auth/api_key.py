"""The text of an API key: how it is generated, parsed and matched with the digest that is stored.

`mlp_<id>_<secret><check>`: the id is public and finds the row, the secret is 256 random bits, and the check catches a
key that was cut short or mistyped before anything is looked up. What is kept of the secret is its SHA-256: there is
nothing to guess, so a slow hash would protect nothing and cost every request (decision 11).
"""

import hmac
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

PREFIX: Final = "mlp"
_DIGITS: Final = string.digits + string.ascii_letters
_ID_LENGTH, _SECRET_LENGTH, _CHECKSUM_LENGTH = 10, 43, 6  # 62^43 is more than 2^256


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key: everything but its secret. `name` says who holds it and is what gets recorded."""

    id: str
    name: str
    digest: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def inactive_reason(self, now: datetime) -> str:
        """Why it opens nothing any more: "revoked", "expired", or nothing."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else ""


@dataclass(frozen=True)
class PresentedKey:
    """A key as its holder shows it."""

    id: str
    digest: str

    def matches(self, key: ApiKey) -> bool:
        """Whether it is that key; takes the same time whatever differs."""
        return hmac.compare_digest(self.digest, key.digest)


def generate() -> tuple[str, PresentedKey]:
    """A new key: the text to hand out once, and what is kept of it."""
    name, secret = _random_text(_ID_LENGTH), _random_text(_SECRET_LENGTH)
    return f"{PREFIX}_{name}_{secret}{_checksum(name, secret)}", PresentedKey(name, _digest(secret))


def parse(text: str) -> PresentedKey | None:
    """What somebody showed, or None when it cannot be a key."""
    prefix, _, rest = text.partition("_")
    name, _, tail = rest.partition("_")
    secret, check = tail[:_SECRET_LENGTH], tail[_SECRET_LENGTH:]
    if prefix != PREFIX or len(text) > 80 or not text.isascii() or check != _checksum(name, secret):
        return None
    return PresentedKey(name, _digest(secret))


def _random_text(letters: int) -> str:
    return "".join(secrets.choice(_DIGITS) for _ in range(letters))


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _checksum(name: str, secret: str) -> str:
    """CRC-32 in base 62, as GitHub's tokens have it: it finds slips of the hand, and secures nothing."""
    rest, letters = zlib.crc32(f"{name}_{secret}".encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(_DIGITS))
        letters = _DIGITS[digit] + letters
    return letters
