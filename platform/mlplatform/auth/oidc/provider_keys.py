"""The keys that a provider signs with, kept for an hour; an unknown one is looked for again, within limits."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, RSAKey

from mlplatform.auth.sign_in_errors import ProviderUnavailableError, SignInRefusedError

log = logging.getLogger(__name__)
MAX_AGE_SECONDS: Final = 3600.0
MIN_REFRESH_SECONDS: Final = 30.0
"""Whoever sends tokens with made-up key ids lets the provider be asked no more often than this."""
RETRY_SECONDS: Final = 5.0
"""Keys that could not be read are asked for again after this: those who wait do not wait one after the other."""
MAX_KEYS: Final = 50

SignatureKey = RSAKey | ECKey


class ProviderKeys:
    """The public keys by their ids; threads may share it."""

    def __init__(self, fetch: Callable[[], dict[str, Any]], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._clock, self._lock = fetch, clock, threading.Lock()
        self._keys: list[tuple[str | None, SignatureKey]] = []
        self._fetched_at: float | None = None
        self._failure: tuple[float, str] | None = None

    def find(self, key_id: str | None) -> SignatureKey:
        """The key of that id, or the only one for a token that names none.

        Raises SignInRefusedError for an unknown one, and ProviderUnavailableError.
        """
        with self._lock:
            if self._age() > MAX_AGE_SECONDS:
                self._refresh()
            key = self._known(key_id)
            if key is None and self._age() >= MIN_REFRESH_SECONDS:
                self._refresh()
                key = self._known(key_id)
        if key is None:
            raise SignInRefusedError(
                "the ID token is signed with a key that the provider does not publish; sign in again in a minute"
            )
        return key

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock() - self._fetched_at

    def _known(self, key_id: str | None) -> SignatureKey | None:
        if key_id is None:
            return self._keys[0][1] if len(self._keys) == 1 else None
        return next((key for known, key in self._keys if known == key_id), None)

    def _refresh(self) -> None:
        if self._failure is not None and self._clock() - self._failure[0] < RETRY_SECONDS:
            raise ProviderUnavailableError(self._failure[1])
        try:
            published = self._fetch().get("keys")
        except ProviderUnavailableError as error:
            self._failure = self._clock(), str(error)
            raise
        self._fetched_at = self._clock()
        self._keys = []
        for entry in published[:MAX_KEYS] if isinstance(published, list) else []:
            key = _signature_key(entry)
            if key is not None:
                self._keys.append((entry.get("kid"), key))


def _signature_key(entry: object) -> SignatureKey | None:
    """A public key that signs; None for a key of another kind or use, such as a shared secret."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") not in ("RSA", "EC"):
        return None
    try:
        key = JWKRegistry.import_key(entry)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        log.warning("a key of the provider cannot be read: %s", error)
        return None
    return key if isinstance(key, RSAKey | ECKey) and not key.is_private else None
