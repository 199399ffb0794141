"""Signs texts that clients keep and bring back. What signs is in the database: every server takes those of all."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from mlplatform.auth.server_secrets import load_secret
from mlplatform.clock import Clock
from mlplatform.store.database import Database


class TokenSigner:
    """Signs and checks with one secret, which the first server that needs it makes; threads may share it."""

    def __init__(self, database: Callable[[], Database], clock: Clock, secret_name: str) -> None:
        self._database, self._clock, self._secret_name = database, clock, secret_name
        self._secret: bytes | None = None

    @property
    def is_ready(self) -> bool:
        """Whether a signature can be checked without asking the database."""
        return self._secret is not None

    def load(self) -> bytes:
        """The secret; raises StoreUnavailableError."""
        if self._secret is None:
            self._secret = load_secret(self._database(), self._secret_name, self._clock())
        return self._secret

    def sign(self, content: bytes) -> str:
        """The signature of a content."""
        return _encode(hmac.new(self.load(), content, sha256).digest())

    def seal(self, purpose: str, values: Mapping[str, Any]) -> str:
        """The values as a text that a client may keep: it can read them, and change nothing."""
        content = _encode(json.dumps(values, separators=(",", ":")).encode())
        return f"{content}.{self.sign(_bound(purpose, content))}"

    def unseal(self, purpose: str, text: str) -> dict[str, Any] | None:
        """The values that were sealed for this purpose; None for any other text."""
        content, _, signature = text.partition(".")
        if not text.isascii() or not hmac.compare_digest(signature, self.sign(_bound(purpose, content))):
            return None
        values: dict[str, Any] = json.loads(urlsafe_b64decode(content + "=" * (-len(content) % 4)))
        return values


def _encode(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")


def _bound(purpose: str, content: str) -> bytes:
    """What is signed: a text that was sealed for one purpose is none for another."""
    return f"{purpose}\0{content}".encode()
