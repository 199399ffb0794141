"""What the checks of an audit verification share: the report, how a fault is reported, the times that entries name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from mlplatform.host.control_characters import escape_controls

ReportFault = Callable[[str], None]
"""Takes one sentence that says what is wrong."""
MAX_FAULTS: Final = 1000
"""Faults that are named in a report; all are counted."""
BATCH_SIZE: Final = 500
"""Rows that one query looks up by their keys."""


@dataclass
class VerificationReport:
    """What was verified, and what is wrong."""

    entries: int = 0
    batches: int = 0
    answers: int = 0
    erased: int = 0
    anchored: int = 0
    unchained: int = 0
    rows: int = 0
    faults: list[str] = field(default_factory=list)
    fault_count: int = 0

    def add_fault(self, text: str) -> None:
        """Count a fault, and name it unless there are very many."""
        self.fault_count += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(text)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.fault_count == 0

    @property
    def text(self) -> str:
        """The report in words, a line for each fault that is named."""
        counts = (
            f"{self.entries} entries, {self.batches} batches with {self.answers} predictions, {self.erased} erased on "
            f"purpose, {self.anchored} anchored heads, {self.unchained} predictions in no batch, "
            f"{self.rows} labels, promotions, keys and quarantines"
        )
        result = "sound" if self.ok else f"{self.fault_count} faults"
        return "\n".join([counts, *map(escape_controls, self.faults), result])


def parse_time(text: object) -> datetime | None:
    """The time that a log entry or a checkpoint names, in UTC where it names no zone; None for what is no time."""
    try:
        at = None if text is None else datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)
