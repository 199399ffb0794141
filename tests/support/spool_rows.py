"""Rows as a server puts them into its spool, and what lies there."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.recording.spool.disk_io import Disk
from mlplatform.recording.spool.segment_files import RowBatch
from mlplatform.recording.spool.segment_log import SegmentLog
from pipelines.data import image_row
from tests.support.platform_world import picture, prediction


def answer(seed: int = 0, **changes: object) -> PredictionWithInput:
    row = prediction(seed=seed).prediction
    return PredictionWithInput(replace(row, image_hash="", **changes), image_row(picture(seed)))  # type: ignore[arg-type]


class AttentiveDisk(Disk):
    """One that is asked before each row whether its file is still there."""

    check_seconds = 0.0


def rows(first: int, last: int, size: int = 100) -> list[bytes]:
    return [f"{number} ".encode().ljust(size, b".") for number in range(first, last)]


def numbers(batch: RowBatch) -> list[int]:
    return [int(payload.split()[0]) for payload in batch.payloads() if payload is not None]


def drained(spool: SegmentLog, most: int = 7) -> list[int]:
    found: list[int] = []
    while (batch := spool.read(most)) is not None:
        found += numbers(batch)
        spool.settle(batch)
    return found


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk on which no file grows beyond a size: what ENOSPC looks like to a writer, in mid-write."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
