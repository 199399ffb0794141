"""What the doctor says of the rules, worked out behind the pages: simulations take seconds at a new rate of labels."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mlplatform.context import AppContext
from mlplatform.operations.doctor.check_requirements import KNOWN_ERRORS, findings_of
from mlplatform.operations.doctor.class_label_diagnostics import check_class_labels
from mlplatform.operations.doctor.column_diagnostics import check_columns
from mlplatform.operations.doctor.detection_diagnostics import check_budgets, check_detection, check_label_reading
from mlplatform.operations.doctor.detection_forecasts import load_detection_forecasts
from monitors.decisions.detectors.detection_power import finds_text

log = logging.getLogger(__name__)
MAX_AGE_SECONDS: Final = 60.0
WAIT_SECONDS: Final = 0.1
"""How long a page waits for the first answer before it says that it is on its way."""
CHECKS: Final = (check_budgets, check_detection, check_class_labels, check_columns, check_label_reading)
"""The doctor's checks of the rules."""


@dataclass(frozen=True)
class Forecasts:
    """What each rule about labels can find, by its name, and the doctor's findings: (level, sentence)."""

    finds: Mapping[str, str] = field(default_factory=dict)
    findings: Sequence[tuple[str, str]] = ()
    is_ready: bool = False


def load_forecasts(context: AppContext) -> Forecasts:
    """All of it, now. What cannot be known, because MLflow is away for example, is missing, and a finding says so."""
    try:
        finds = {power.rule: finds_text(power) for power in load_detection_forecasts(context)}
    except KNOWN_ERRORS:  # the check of the same says why
        finds = {}
    return Forecasts(finds, [finding for check in CHECKS for finding in findings_of(check, context)], is_ready=True)


class RuleForecasts:
    """The newest forecasts of a server's rules; a thread of its own makes them anew when pages ask for old ones."""

    def __init__(
        self,
        context: AppContext,
        load: Callable[[AppContext], Forecasts] = load_forecasts,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._load, self._stopwatch = context, load, stopwatch
        self._lock = threading.Lock()
        self._newest, self._made_at = Forecasts(), -MAX_AGE_SECONDS
        self._thread: threading.Thread | None = None

    def current(self) -> Forecasts:
        """The newest there are, at once or nearly so; not ready before the first."""
        with self._lock:
            is_old = self._stopwatch() - self._made_at >= MAX_AGE_SECONDS
            if is_old and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._make, name="forecasts", daemon=True)
                self._thread.start()
            thread, newest = self._thread, self._newest
        if newest.is_ready or thread is None:
            return newest
        thread.join(WAIT_SECONDS)
        with self._lock:
            return self._newest

    def _make(self) -> None:
        try:
            made = self._load(self._context)
        except Exception:  # a thread's edge: pages say less then, and the next one asks again
            log.exception("what the rules can find is not known")
            return
        with self._lock:
            self._newest, self._made_at = made, self._stopwatch()
