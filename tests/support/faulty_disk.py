"""A disk whose system calls fail as they are told to, and a table that takes what a recorder writes."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.recording.spool.directory import SpoolDirectory
from mlplatform.recording.spool.disk_io import Disk
from mlplatform.recording.spool.record_format import decode_frames, decode_prediction
from pipelines.data import image_row
from tests.support.platform_world import FakeClock, picture, prediction


class Faulty(Disk):
    """A disk on which the calls of one name fail as they are told to; it knows the descriptors that are open.

    A descriptor closed twice is by then perhaps another thread's file: the number is given out again at once.
    """

    def __init__(self) -> None:
        self.open_descriptors: set[int] = set()
        self.wrong_closes: list[int] = []
        self._descriptor_lock = threading.Lock()
        self.call, self.error = "", 0
        self.fails: Callable[[int], bool] = bool
        self.seen = self.failed = 0

    def break_calls(self, call: str, error: str, fails: Callable[[int], bool]) -> None:
        """From now on, let those calls fail for whose number, counted from 0, `fails` says so."""
        self.seen, self.call, self.error, self.fails = 0, call, getattr(errno, error), fails

    def heal(self) -> None:
        self.call = ""

    def open(self, path: Path, flags: int = os.O_RDONLY) -> int:
        with self._descriptor_lock:
            file = super().open(path, flags)
            self.open_descriptors.add(file)
        return file

    def duplicate(self, file: int) -> int:
        with self._descriptor_lock:
            other = super().duplicate(file)
            self.open_descriptors.add(other)
        return other

    def close(self, file: int) -> None:
        with self._descriptor_lock:
            if file not in self.open_descriptors:
                self.wrong_closes.append(file)
                return
            self.open_descriptors.remove(file)
            super().close(file)

    def knock(self, call: str) -> None:
        if call == self.call:
            self.seen += 1
            if self.fails(self.seen - 1):
                self.failed += 1
                raise OSError(self.error, os.strerror(self.error))


class Table:
    """What a database would hold: every row by its id, and how often one came."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    def write(self, data: bytes, instance: str) -> tuple[int, ...]:
        refused = []
        for place, frame in enumerate(decode_frames(data)):
            if frame.payload is None:
                refused.append(place)
            else:
                assert self.rows.setdefault(decode_prediction(frame.payload).prediction.id, instance) == instance
        return tuple(refused)

    def close(self) -> None:
        pass


def answer(number: int) -> PredictionWithInput:
    return PredictionWithInput(prediction(seed=number).prediction, image_row(picture(number % 3)))


def shelf_of(root: Path, instance: str, disk: Disk, *, fsync: bool = False) -> SpoolDirectory:
    return SpoolDirectory(root=root, instance=instance, limit_bytes=2**18, fsync=fsync, clock=FakeClock(), disk=disk)
