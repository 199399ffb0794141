"""The spools on one disk: a server's own, those of dead servers that it has adopted, and the limit they share.

Each folder is locked for the life of the server it belongs to; where the lock is free, the server is dead. Whoever
locks it then records what is left and removes the folder.
"""

import errno
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from mlplatform.clock import Clock, utc_now
from mlplatform.errors import RecordingError
from mlplatform.recording.spool import spool_locks
from mlplatform.recording.spool.disk_io import DISK, Disk, UnlinkedError
from mlplatform.recording.spool.loss_ledger import LossLog
from mlplatform.recording.spool.quarantined_rows import REFUSED_FILE, UNREADABLE_FILE, RowQuarantine
from mlplatform.recording.spool.record_format import decode_frames, encode_frames
from mlplatform.recording.spool.segment_log import SegmentLog

log = logging.getLogger(__name__)
MIN_SEGMENTS: Final = 16
"""Segments that fit under the limit at least, so that dropping the oldest drops a small part."""
MAX_SEGMENT_BYTES: Final = 8 * 2**20
MIN_SEGMENT_BYTES: Final = 4096
DISK_FULL_ERRNOS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OnFull = Literal["refuse", "drop-oldest"]


@dataclass(frozen=True)
class HeldSpool:
    """A spool with its lock and the name of the server whose rows it holds."""

    instance: str
    spool: SegmentLog
    lock: int

    def release(self, disk: Disk, *, erase: bool) -> None:
        """Release the folder: removed, or left for another server to adopt, also where it cannot be removed now."""
        try:
            if erase:
                self.spool.erase()
                spool_locks.remove_spool_folder(disk, self.spool.folder)
            else:
                self.spool.close()
        except OSError as error:
            log.warning("%s is not removed yet: %s", self.spool.folder, error)
        finally:
            disk.close(self.lock)


@dataclass(frozen=True)
class SpoolStatus:
    """A spool as another process sees it: whose it is, whether that server is alive, and what waits in it."""

    instance: str
    alive: bool
    rows: int
    size_bytes: int


@dataclass
class SpoolDirectory:
    """All spools this server writes and sends; `limit_bytes` is for all of them together.

    `on_lost` and `on_damaged` are called with the number of rows that are gone, and of rows that were set aside because
    their bytes are no rows any more.
    """

    root: Path
    instance: str
    limit_bytes: int
    on_full: OnFull = "refuse"
    fsync: bool = False
    clock: Clock = utc_now
    disk: Disk = DISK
    on_lost: Callable[[int], None] = lambda _: None
    on_damaged: Callable[[int], None] = lambda _: None
    adopted_spools: list[HeldSpool] = field(default_factory=list)
    _own: HeldSpool | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _quarantine_status: tuple[int, str] = (0, "")

    def __post_init__(self) -> None:
        self._quarantine, self._loss_log = RowQuarantine(self.root, self.disk), LossLog(self.root, self.disk)

    @property
    def own(self) -> SegmentLog | None:
        """The server's own spool, once it has written to it."""
        return None if self._own is None else self._own.spool

    @property
    def queued_rows(self) -> int:
        """Rows that wait, those of dead servers included."""
        return sum(held_spool.spool.queued_rows for held_spool in self._held_spools())

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return sum(held_spool.spool.size_bytes for held_spool in self._held_spools())

    def append(self, payloads: Sequence[bytes]) -> SegmentLog:
        """Keep these rows on disk before their predictions are sent; returns the spool that holds them.

        Raises RecordingError where they cannot be kept: the limit is reached and the policy is to refuse, or the disk
        is full or broken.
        """
        needed_bytes = sum(map(len, payloads))
        try:
            with self._lock:
                own = self._ensure_own()
                if self.size_bytes + needed_bytes > self.limit_bytes:
                    self._make_room(needed_bytes)
                own = self._append_or_drop(own, payloads)
        except OSError as error:
            raise self._recording_error(error) from error
        return own

    @property
    def appended_bytes(self) -> int:
        """The bytes this server has appended so far: what `sync` takes."""
        return 0 if self._own is None else self._own.spool.appended_bytes

    def sync(self, upto: int) -> None:
        """Force this server's rows up to there to the disk, against a loss of power; raises RecordingError."""
        try:
            if self._own is not None:
                self._own.spool.sync(upto)
        except OSError as error:
            raise self._recording_error(error) from error

    def _recording_error(self, error: OSError) -> RecordingError:
        return RecordingError(
            f"the answer cannot be kept on disk ({error.strerror or error}), so it is not given; free space at "
            f"{self.root} or let the database catch up"
        )

    def adopt(self) -> int:
        """Adopt the spools of dead servers; returns how many. One that cannot be adopted now is left for later."""
        self._loss_log.flush()
        adopted = 0
        for folder in spool_locks.list_spool_folders(self.disk, self.root):
            try:
                adopted += self._adopt_folder(folder)
            except OSError as error:
                log.warning("%s cannot be taken over yet: %s", folder, error)
        return adopted

    def release(self, held_spool: HeldSpool) -> None:
        """Remove a spool that was adopted and sent whole."""
        with self._lock:
            self.adopted_spools.remove(held_spool)
        held_spool.release(self.disk, erase=True)

    def quarantine(self, refused: Sequence[bytes], unreadable: Sequence[bytes]) -> None:
        """Keep rows that the database refuses, and frames whose checksums do not agree, until a person decides.

        Raises OSError where they cannot be kept yet: they must not be given up for that.
        """
        if refused:
            self._quarantine.add(REFUSED_FILE, encode_frames(refused))
        if unreadable:
            self._quarantine.add(UNREADABLE_FILE, b"".join(unreadable))
        self.refresh_quarantine_status()

    @property
    def quarantine_status(self) -> tuple[int, str]:
        """How many rows on this disk were set aside, by whichever server, and since when (ISO 8601; empty for none)."""
        return self._quarantine_status

    def refresh_quarantine_status(self) -> None:
        """Count what was set aside; where it cannot be counted now, what was counted last stands."""
        try:
            files = self._quarantine.list_files()
        except OSError as error:
            log.warning("what was set aside in %s cannot be counted yet: %s", self.root, error)
            return
        since = files[0].at.isoformat() if files else ""
        self._quarantine_status = sum(file.rows + file.damaged for file in files), since

    def close(self) -> None:
        """Release every spool; those with rows in them stay for the next server."""
        for held_spool in self._held_spools():
            held_spool.release(self.disk, erase=held_spool.spool.queued_rows == 0)
        self.adopted_spools.clear()
        self._own = None
        self._loss_log.flush()

    def _held_spools(self) -> list[HeldSpool]:
        return [*self.adopted_spools, *([] if self._own is None else [self._own])]

    @property
    def _segment_bytes(self) -> int:
        return max(MIN_SEGMENT_BYTES, min(MAX_SEGMENT_BYTES, self.limit_bytes // MIN_SEGMENTS))

    def _ensure_own(self) -> SegmentLog:
        if self._own is None:
            folder, lock = spool_locks.create_spool_folder(self.disk, self.root, self.instance)
            try:
                if self.fsync:
                    for parent in (self.root, self.root.parent):
                        self._sync_folder(parent)
                self._own = self._open_spool(self.instance, folder, lock)
            except BaseException:
                self._discard_folder(folder, lock)
                raise
        return self._own.spool

    def _open_spool(self, instance: str, folder: Path, lock: int) -> HeldSpool:
        spool = SegmentLog(folder, self._segment_bytes, fsync=self.fsync, disk=self.disk)
        spool.on_damaged = lambda rows: self.on_damaged(rows)

        def record_missing(rows: int) -> None:
            self.on_lost(rows)
            self._loss_log.record(self.clock(), instance, rows, "the file is gone")

        spool.on_missing = record_missing
        return HeldSpool(instance, spool, lock)

    def _discard_folder(self, folder: Path, lock: int) -> None:
        """Remove a folder that holds nothing yet."""
        try:
            spool_locks.remove_spool_folder(self.disk, folder)
        except OSError as error:
            log.warning("%s is empty and stays: %s", folder, error)
        finally:
            self.disk.close(lock)

    def _sync_folder(self, folder: Path) -> None:
        file = self.disk.open(folder)
        try:
            self.disk.sync(file)
        finally:
            self.disk.close(file)

    def _adopt_folder(self, folder: Path) -> bool:
        """Whether a dead server's rows were adopted; a folder without any is removed. Raises OSError."""
        if folder in [held_spool.spool.folder for held_spool in self._held_spools()]:
            return False
        if (lock := spool_locks.try_lock(self.disk, folder)) is None:
            return False
        try:
            adopted = self._open_spool(spool_locks.owner_instance(self.disk, folder), folder, lock)
        except BaseException:
            self.disk.close(lock)
            raise
        if adopted.spool.queued_rows == 0:
            adopted.release(self.disk, erase=True)
            return False
        log.warning(
            "taking over %d prediction(s) of server %s, which is dead", adopted.spool.queued_rows, adopted.instance
        )
        with self._lock:
            self.adopted_spools.append(adopted)
        return True

    def _make_room(self, needed_bytes: int) -> None:
        """Drop the oldest rows until so much fits, or raise RecordingError where the policy is to refuse."""
        if self._own is not None:
            self._own.spool.remove_sent_segments()
        while (size := self.size_bytes) + needed_bytes > self.limit_bytes:
            if self.on_full == "refuse" or not self._drop_oldest("the limit is reached"):
                raise RecordingError(
                    f"{self.queued_rows} predictions ({size / 2**20:.1f} MiB) wait for the database, "
                    "which is as much as "
                    f"PLATFORM_SPOOL_MB allows ({self.limit_bytes / 2**20:g}), so no answer is given; "
                    "let the database catch up"
                )

    def _append_or_drop(self, own: SegmentLog, payloads: Sequence[bytes]) -> SegmentLog:
        """Append the rows, dropping the oldest ones where the disk is full; returns the spool that holds them."""
        while True:
            try:
                own.append(payloads)
                return own
            except UnlinkedError:
                own = self._replace_own(own)
            except OSError as error:
                full = error.errno in DISK_FULL_ERRNOS
                if self.on_full == "refuse" or not full or not self._drop_oldest("the disk is full"):
                    raise

    def _replace_own(self, old: SegmentLog) -> SegmentLog:
        """Another spool of this server, with the rows whose file was removed under it; the rest of the old is sent."""
        previous, self._own = self._own, None
        assert previous is not None
        try:
            own = self._ensure_own()
            old.transfer_unsent(
                lambda data: own.append([frame.payload for frame in decode_frames(data) if frame.payload is not None])
            )
        except OSError:
            self._erase_own()
            self._own = previous
            raise
        self.adopted_spools.append(previous)
        log.error("a file in %s was removed under this server; its %d row(s) are kept", old.folder, own.queued_rows)
        return own

    def _erase_own(self) -> None:
        """Remove the server's own spool, where there is one."""
        if self._own is not None:
            self._own.release(self.disk, erase=True)

    def _drop_oldest(self, reason: str) -> bool:
        """Drop the oldest rows; False where there are none."""
        for held_spool in self._held_spools():
            size_before = held_spool.spool.size_bytes
            rows = held_spool.spool.drop_oldest()
            if held_spool.spool.size_bytes < size_before:
                self.on_lost(rows)
                log.error("%s: dropped the %d oldest prediction(s) of server %s", reason, rows, held_spool.instance)
                self._loss_log.record(self.clock(), held_spool.instance, rows, reason)
                return True
        return False


def inspect_spools(root: Path, disk: Disk = DISK) -> list[SpoolStatus]:
    """The spools under a folder, without touching them. Raises OSError."""
    statuses = []
    for folder in spool_locks.list_spool_folders(disk, root):
        lock = spool_locks.try_lock(disk, folder)
        try:
            spool = SegmentLog(folder, MIN_SEGMENT_BYTES, disk=disk)
            statuses.append(
                SpoolStatus(spool_locks.owner_instance(disk, folder), lock is None, spool.queued_rows, spool.size_bytes)
            )
        except FileNotFoundError:
            continue  # it was removed meanwhile
        finally:
            if lock is not None:
                disk.close(lock)
    return statuses
