"""Keeps API keys and ended sessions in memory, read every few seconds in the background: no request waits for them.

A revocation takes effect with the next reading. While the database is away the keys known last go on; one that expires
meanwhile is refused all the same, by the clock. When a key was last used is kept in memory and written now and then.
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from mlplatform.auth import api_keys, spent_tokens
from mlplatform.auth.api_key import ApiKey, PresentedKey
from mlplatform.clock import Clock
from mlplatform.errors import StoreUnavailableError
from mlplatform.store.database import Database
from mlplatform.store.timeouts import reserved_connections

log = logging.getLogger(__name__)
REFRESH_SECONDS: Final = 2.0
MIN_REFRESH_SECONDS: Final = 0.5
"""A key nobody knows may be a new one: it is looked for at once, but not more often than this."""
WRITE_LAST_USED_SECONDS: Final = 60.0


class ApiKeyCache:
    """The keys of one server; start it once, close it at the end. Safe to share between threads."""

    def __init__(
        self,
        database: Callable[[], Database],
        clock: Clock,
        *,
        refresh_seconds: float = REFRESH_SECONDS,
        min_refresh_seconds: float = MIN_REFRESH_SECONDS,
        write_seconds: float = WRITE_LAST_USED_SECONDS,
    ) -> None:
        self._database, self._clock = database, clock
        self._refresh_seconds, self._min_refresh_seconds, self._write_seconds = (
            refresh_seconds,
            min_refresh_seconds,
            write_seconds,
        )
        self._keys: dict[str, ApiKey] | None = None
        self._spent, self._ended_here = frozenset[str](), set[str]()
        self._last_used: dict[str, datetime] = {}
        self._written_at = clock()
        self._refresh_requested, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="keyring", daemon=True)
        self.refresh_count = 0

    def start(self) -> None:
        """Read the keys once, then keep reading in the background."""
        self.refresh()
        self._thread.start()

    def close(self) -> None:
        """Stop reading, and write when keys were last used."""
        self._closing.set()
        self._refresh_requested.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5.0)
        self._write_last_used()

    @property
    def ready(self) -> bool:
        """Whether the keys were read at least once."""
        return self._keys is not None

    def find(self, presented: PresentedKey) -> ApiKey | None:
        """The key that this is; None for one that is not known (yet)."""
        key = (self._keys or {}).get(presented.id)
        if key is None or not presented.matches(key):
            return None
        now = self._clock()
        if not key.inactive_reason(now):
            self._last_used[key.id] = now
        return key

    def is_ended(self, session_id: str) -> bool:
        """Whether a session was ended: here, or elsewhere some seconds ago."""
        return session_id in self._spent or session_id in self._ended_here

    def note_ended(self, session_id: str) -> None:
        """Let a session that was ended here be good no more at once."""
        self._ended_here.add(session_id)

    def request_refresh(self) -> None:
        """Let the keys be read soon, because an unknown one was shown; `refresh_count` tells when they were."""
        self._refresh_requested.set()

    def refresh(self) -> bool:
        """Read the keys now; whether that was possible."""
        try:
            with self._database().read() as connection:
                keys, spent = api_keys.list_keys(connection), spent_tokens.list_spent(connection, self._clock())
        except StoreUnavailableError as error:
            log.warning("keys cannot be read, those known go on: %s", error)
            return False
        except Exception:  # a thread's edge: whatever fails here, the keys known last go on
            log.exception("keys cannot be read, those known go on")
            return False
        self._keys, self._spent = {key.id: key for key in keys}, spent
        self._ended_here -= spent
        self.refresh_count += 1
        return True

    @reserved_connections()
    def _run(self) -> None:
        while not self._closing.is_set():
            self._refresh_requested.wait(self._refresh_seconds - self._min_refresh_seconds)
            if self._closing.wait(self._min_refresh_seconds):
                return
            self._refresh_requested.clear()
            self.refresh()
            if (self._clock() - self._written_at).total_seconds() >= self._write_seconds:
                self._write_last_used()

    def _write_last_used(self) -> None:
        self._written_at, used, self._last_used = self._clock(), self._last_used, {}
        if not used:
            return
        try:
            with self._database().write() as connection:
                api_keys.record_use(connection, used)
        except StoreUnavailableError as error:
            log.warning("when keys were last used waits: %s", error)
            self._last_used = used | self._last_used
        except Exception:  # a thread's edge: losing this harms nobody
            log.exception("when keys were last used could not be written")
