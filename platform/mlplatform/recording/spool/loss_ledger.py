"""Records how many rows are gone for good, when, of which server and why, in a file beside the spools."""

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from mlplatform.recording.spool.disk_io import APPEND_FLAGS, DISK, Disk

log = logging.getLogger(__name__)
LOSS_FILE: Final = "lost.jsonl"
"""One JSON object a line."""


@dataclass(frozen=True)
class LossRecord:
    """So many rows of one server, at one moment."""

    at: str
    instance: str
    rows: int
    reason: str


class LossLog:
    """Appends losses to the file; what cannot be written waits in memory for the next time."""

    def __init__(self, root: Path, disk: Disk = DISK) -> None:
        self._root, self._disk = root, disk
        self._unwritten: list[LossRecord] = []
        self._lock = threading.Lock()

    def record(self, now: datetime, instance: str, rows: int, reason: str) -> None:
        """Append a loss, now or with the next."""
        with self._lock:
            self._unwritten.append(LossRecord(now.isoformat(), instance, rows, reason))
        self.flush()

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            try:
                while self._unwritten:
                    self._append((json.dumps(asdict(self._unwritten[0])) + "\n").encode())
                    self._unwritten.pop(0)
            except OSError as error:
                log.error("what was lost cannot be written down yet: %s", error)

    def _append(self, line: bytes) -> None:
        file = self._disk.open(self._root / LOSS_FILE, APPEND_FLAGS)
        try:
            size = self._disk.fstat(file).st_size
            whole = not size or self._disk.read(file, 1, size - 1) == b"\n"
            self._disk.append(file, line if whole else b"\n" + line)
        finally:
            self._disk.close(file)


def rows_lost_since(root: Path, moment: datetime, disk: Disk = DISK) -> int:
    """How many rows were lost on this disk since a moment."""
    return sum(loss.rows for loss in read_losses(root, disk) if datetime.fromisoformat(loss.at) >= moment)


def read_losses(root: Path, disk: Disk = DISK) -> Iterator[LossRecord]:
    """Every recorded loss, oldest first; a torn line is passed over. Raises OSError."""
    try:
        text = disk.read_all(root / LOSS_FILE).decode(errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            loss = json.loads(line)
            datetime.fromisoformat(loss["at"])
            yield LossRecord(str(loss["at"]), str(loss["instance"]), int(loss["rows"]), str(loss["reason"]))
        except (ValueError, KeyError, TypeError):
            continue
