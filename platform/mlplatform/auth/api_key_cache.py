"""The keys a server knows: read every few seconds in the background, so that no request waits for the database.

A revocation takes effect with the next reading. While the database is away the keys known last go on; one that expires
meanwhile is refused all the same, by the clock. When a key was last used is kept in memory and written now and then.
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from mlplatform.auth import api_keys
from mlplatform.auth.api_key import Key, Shown
from mlplatform.clock import Clock
from mlplatform.errors import StoreUnavailableError
from mlplatform.store.database import Database
from mlplatform.store.timeouts import reserved

log = logging.getLogger(__name__)
EVERY_SECONDS: Final = 2.0
SOONEST_SECONDS: Final = 0.5
"""A key nobody knows may be a new one: it is looked for at once, but not more often than this."""
WRITE_SECONDS: Final = 60.0


class Keyring:
    """The keys of one server; start it once, close it at the end. Safe to share between threads."""

    def __init__(
        self,
        database: Callable[[], Database],
        clock: Clock,
        *,
        every: float = EVERY_SECONDS,
        soonest: float = SOONEST_SECONDS,
        write_every: float = WRITE_SECONDS,
    ) -> None:
        self._database, self._clock = database, clock
        self._every, self._soonest, self._write_every = every, soonest, write_every
        self._known: dict[str, Key] | None = None
        self._used: dict[str, datetime] = {}
        self._written_at = clock()
        self._wanted, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="keyring", daemon=True)
        self.readings = 0

    def start(self) -> None:
        """Read the keys once, then keep reading in the background."""
        self.refresh()
        self._thread.start()

    def close(self) -> None:
        """Stop reading, and write when keys were last used."""
        self._closing.set()
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5.0)
        self._write_used()

    @property
    def ready(self) -> bool:
        """Whether the keys were read at least once."""
        return self._known is not None

    def find(self, shown: Shown) -> Key | None:
        """The key that this is; None for one that is not known (yet)."""
        key = (self._known or {}).get(shown.id)
        if key is None or not shown.proves(key):
            return None
        now = self._clock()
        if not key.dead(now):
            self._used[key.id] = now
        return key

    def ask(self) -> None:
        """Let the keys be read soon, because one was shown that is not known; `readings` tells when that is done."""
        self._wanted.set()

    def refresh(self) -> bool:
        """Read the keys now; whether that was possible."""
        try:
            with self._database().read() as connection:
                found = api_keys.listed(connection)
        except StoreUnavailableError as error:
            log.warning("keys cannot be read, those known go on: %s", error)
            return False
        except Exception:  # a thread's edge: whatever fails here, the keys known last go on
            log.exception("keys cannot be read, those known go on")
            return False
        self._known = {key.id: key for key in found}
        self.readings += 1
        return True

    @reserved()
    def _run(self) -> None:
        while not self._closing.is_set():
            self._wanted.wait(self._every - self._soonest)
            if self._closing.wait(self._soonest):
                return
            self._wanted.clear()
            self.refresh()
            if (self._clock() - self._written_at).total_seconds() >= self._write_every:
                self._write_used()

    def _write_used(self) -> None:
        self._written_at, used, self._used = self._clock(), self._used, {}
        if not used:
            return
        try:
            with self._database().write() as connection:
                api_keys.used(connection, used)
        except StoreUnavailableError as error:
            log.warning("when keys were last used waits: %s", error)
            self._used = used | self._used
        except Exception:  # a thread's edge: losing this harms nobody
            log.exception("when keys were last used could not be written")
