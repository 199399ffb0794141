"""Notes when MLflow's alias of the champion was moved by hand, on servers beside which no watcher may run."""

import logging
import time
from collections.abc import Callable
from typing import Final

from mlplatform.context import AppContext
from mlplatform.promotion import promotion_history
from mlplatform.promotion.promotion_service import record_alias_deviation
from registry.catalog import CHAMPION
from registry.errors import RegistryError

log = logging.getLogger(__name__)
CHECK_INTERVAL_SECONDS: Final = 10.0
"""A promotion writes the alias a moment after the history: what differs at two checks was moved by somebody."""


class AliasMonitor:
    """Notes an alias that somebody moved by hand, once, in the log and in the audit log."""

    def __init__(self, context: AppContext, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._context, self._monotonic = context, monotonic
        self._next_check_at = 0.0
        self._last_mismatch: tuple[int | None, int] | None = None

    def check(self) -> None:
        """Compare, not more often than CHECK_INTERVAL_SECONDS; raises StoreUnavailableError."""
        if self._monotonic() < self._next_check_at:
            return
        self._next_check_at = self._monotonic() + CHECK_INTERVAL_SECONDS
        name = self._context.model_name
        with self._context.database.read() as connection:
            promotion = promotion_history.latest_promotion(connection, name)
        try:
            alias_version = self._context.catalog.alias(name, CHAMPION)
        except RegistryError:
            return  # the reloader says so where it matters
        if promotion is None or alias_version == promotion.to_version:
            self._last_mismatch = None
            return
        last_mismatch, self._last_mismatch = self._last_mismatch, (alias_version, promotion.seq)
        if last_mismatch == self._last_mismatch:
            with self._context.database.write() as connection:
                is_new = record_alias_deviation(
                    connection, promotion, alias_version, self._context.instance, self._context.clock()
                )
            if is_new:
                log.warning(
                    "MLflow's alias names version %s, the history version %d, which is answered with; a watcher sets "
                    "the alias right, and `platform models promote` changes the champion",
                    alias_version,
                    promotion.to_version,
                )
