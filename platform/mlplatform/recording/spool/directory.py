"""The spools on one disk: a server's own, those of dead servers it has taken over, and the limit they share.

Each folder is locked for the life of the server it belongs to; a lock that can be had means that its server is dead.
Whoever takes it records what is left and removes the folder. It knows no row and no database.
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
from mlplatform.recording.spool.disk_io import DISK, Disk
from mlplatform.recording.spool.framing import framed, frames
from mlplatform.recording.spool.loss_ledger import Ledger
from mlplatform.recording.spool.mmap_file import UnlinkedError
from mlplatform.recording.spool.quarantined_rows import REFUSED, UNREADABLE, Asides
from mlplatform.recording.spool.segment_log import Spool

log = logging.getLogger(__name__)
SEGMENTS: Final = 16
"""At least so many segments fit under the limit, so that dropping the oldest drops a small part."""
LARGEST_SEGMENT: Final = 8 * 2**20
SMALLEST_SEGMENT: Final = 4096
FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OnFull = Literal["refuse", "drop-oldest"]


@dataclass(frozen=True)
class Held:
    """A spool with its lock and the name of the server whose rows it holds."""

    instance: str
    spool: Spool
    lock: int

    def release(self, disk: Disk, *, erase: bool) -> None:
        """Give the folder up: removed, or left for another server to take, also where it cannot be removed now."""
        try:
            if erase:
                self.spool.erase()
                spool_locks.remove_folder(disk, self.spool.folder, self.lock)
                return
            self.spool.close()
        except OSError as error:
            log.warning("%s is not removed yet: %s", self.spool.folder, error)
        disk.close(self.lock)


@dataclass(frozen=True)
class Seen:
    """A spool as a passer-by sees it."""

    instance: str
    alive: bool
    rows: int
    size: int


@dataclass
class Shelf:
    """All spools this server writes and sends; `limit` is in bytes, for all of them together."""

    root: Path
    instance: str
    limit: int
    on_full: OnFull = "refuse"
    fsync: bool = False
    clock: Clock = utc_now
    disk: Disk = DISK
    lost: Callable[[int], None] = lambda _: None
    damaged: Callable[[int], None] = lambda _: None
    """Told of rows that were set aside because their bytes are no rows any more."""
    adopted: list[Held] = field(default_factory=list)
    _own: Held | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _aside: tuple[int, str] = (0, "")

    def __post_init__(self) -> None:
        self._asides, self._ledger = Asides(self.root, self.disk), Ledger(self.root, self.disk)

    @property
    def own(self) -> Spool | None:
        """The server's own spool, once it has written to it."""
        return None if self._own is None else self._own.spool

    @property
    def queued(self) -> int:
        """Rows that wait, those of dead servers included."""
        return sum(held.spool.queued for held in self._held())

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(held.spool.size for held in self._held())

    def append(self, payloads: Sequence[bytes]) -> Spool:
        """Keep these rows on disk before their answers are sent; returns the spool that holds them.

        Raises RecordingError where they cannot be kept: the limit is reached and the policy is to refuse, or the disk
        is full or broken.
        """
        needed = sum(map(len, payloads))
        try:
            with self._lock:
                own = self._opened()
                if self.size + needed > self.limit:
                    self._make_room(needed)
                own = self._appended(own, payloads)
        except OSError as error:
            raise self._unkept(error) from error
        return own

    @property
    def written(self) -> int:
        """The bytes this server has appended so far: what `sync` takes."""
        return 0 if self._own is None else self._own.spool.written

    def sync(self, upto: int) -> None:
        """Let the disk hold this server's rows up to there, whatever happens to the power; RecordingError if not."""
        try:
            if self._own is not None:
                self._own.spool.sync(upto)
        except OSError as error:
            raise self._unkept(error) from error

    def _unkept(self, error: OSError) -> RecordingError:
        return RecordingError(
            f"the answer cannot be kept on disk ({error.strerror or error}), so it is not given; free space at "
            f"{self.root} or let the database catch up"
        )

    def adopt(self) -> int:
        """Take over the spools of dead servers; returns how many. One that cannot be had now is left for later."""
        self._ledger.write()
        taken = 0
        for folder in spool_locks.folders(self.disk, self.root):
            try:
                taken += self._taken_over(folder)
            except OSError as error:
                log.warning("%s cannot be taken over yet: %s", folder, error)
        return taken

    def part_with(self, held: Held) -> None:
        """Remove a spool that was taken over and sent whole."""
        with self._lock:
            self.adopted.remove(held)
        held.release(self.disk, erase=True)

    def set_aside(self, refused: Sequence[bytes], unreadable: Sequence[bytes]) -> None:
        """Keep rows that the database refuses, and frames whose checksums do not agree, until a person decides.

        Raises OSError where they cannot be kept yet: they must not be given up for that.
        """
        if refused:
            self._asides.add(REFUSED, framed(refused))
        if unreadable:
            self._asides.add(UNREADABLE, b"".join(unreadable))
        self.count_asides()

    @property
    def aside(self) -> tuple[int, str]:
        """How many rows on this disk were set aside, by whichever server, and since when."""
        return self._aside

    def count_asides(self) -> None:
        """Count what was set aside; where it cannot be counted now, what was counted last stands."""
        try:
            listed = self._asides.listed()
        except OSError as error:
            log.warning("what was set aside in %s cannot be counted yet: %s", self.root, error)
            return
        since = listed[0].at.isoformat() if listed else ""
        self._aside = sum(each.rows + each.damaged for each in listed), since

    def close(self) -> None:
        """Give every spool up; those with rows in them stay for the next server."""
        for held in self._held():
            held.release(self.disk, erase=held.spool.queued == 0)
        self.adopted.clear()
        self._own = None
        self._ledger.write()

    def _held(self) -> list[Held]:
        return [*self.adopted, *([] if self._own is None else [self._own])]

    @property
    def _segment_bytes(self) -> int:
        return max(SMALLEST_SEGMENT, min(LARGEST_SEGMENT, self.limit // SEGMENTS))

    def _opened(self) -> Spool:
        if self._own is None:
            folder, lock = spool_locks.make_folder(self.disk, self.root, self.instance)
            try:
                if self.fsync:
                    for above in (self.root, self.root.parent):
                        self._sync_folder(above)
                self._own = self._held_as(self.instance, folder, lock)
            except BaseException:
                self._unmade(folder, lock)
                raise
        return self._own.spool

    def _held_as(self, instance: str, folder: Path, lock: int) -> Held:
        spool = Spool(folder, self._segment_bytes, fsync=self.fsync, disk=self.disk)
        spool.set_aside = lambda rows: self.damaged(rows)

        def vanished(rows: int) -> None:
            self.lost(rows)
            self._ledger.note(self.clock(), instance, rows, "the file is gone")

        spool.vanished = vanished
        return Held(instance, spool, lock)

    def _unmade(self, folder: Path, lock: int) -> None:
        """Give a folder up that holds nothing yet."""
        try:
            spool_locks.remove_folder(self.disk, folder, lock)
        except OSError as error:
            log.warning("%s is empty and stays: %s", folder, error)

    def _sync_folder(self, folder: Path) -> None:
        opened = self.disk.open(folder)
        try:
            self.disk.sync(opened)
        finally:
            self.disk.close(opened)

    def _taken_over(self, folder: Path) -> bool:
        """Whether a dead server's rows were taken over; a folder without any is removed. Raises OSError."""
        if folder in [held.spool.folder for held in self._held()]:
            return False
        if (lock := spool_locks.take(self.disk, folder)) is None:
            return False
        try:
            held = self._held_as(spool_locks.instance_of(self.disk, folder), folder, lock)
        except BaseException:
            self.disk.close(lock)
            raise
        if held.spool.queued == 0:
            held.release(self.disk, erase=True)
            return False
        log.warning("taking over %d prediction(s) of server %s, which is dead", held.spool.queued, held.instance)
        with self._lock:
            self.adopted.append(held)
        return True

    def _make_room(self, needed: int) -> None:
        if self._own is not None:
            self._own.spool.tidy()
        while (size := self.size) + needed > self.limit:
            if self.on_full == "refuse" or not self._drop("the limit is reached"):
                raise RecordingError(
                    f"{self.queued} predictions ({size / 2**20:.1f} MiB) wait for the database, which is as much as "
                    f"PLATFORM_SPOOL_MB allows ({self.limit / 2**20:g}), so no answer is given; "
                    "let the database catch up"
                )

    def _appended(self, own: Spool, payloads: Sequence[bytes]) -> Spool:
        """Keep them; returns the spool that holds them."""
        while True:
            try:
                own.append(payloads)
                return own
            except UnlinkedError:
                own = self._begun_again(own)
            except OSError as error:
                full = error.errno in FULL
                if self.on_full == "refuse" or not full or not self._drop("the disk is full"):
                    raise

    def _begun_again(self, old: Spool) -> Spool:
        """Another spool of this server, with the rows whose file was removed under it; the rest of the old is sent."""
        before, self._own = self._own, None
        assert before is not None
        try:
            own = self._opened()
            old.hand_over(lambda data: own.append([each.payload for each in frames(data) if each.payload is not None]))
        except OSError:
            self._erase_own()
            self._own = before
            raise
        self.adopted.append(before)
        log.error("a file in %s was removed under this server; its %d row(s) are kept", old.folder, own.queued)
        return own

    def _erase_own(self) -> None:
        """Remove the spool that was begun, where one was."""
        if self._own is not None:
            self._own.release(self.disk, erase=True)

    def _drop(self, reason: str) -> bool:
        """Give up the oldest rows; False where there are none."""
        for held in self._held():
            before = held.spool.size
            rows = held.spool.drop_oldest()
            if held.spool.size < before:
                self.lost(rows)
                log.error("%s: dropped the %d oldest prediction(s) of server %s", reason, rows, held.instance)
                self._ledger.note(self.clock(), held.instance, rows, reason)
                return True
        return False


def look(root: Path, disk: Disk = DISK) -> list[Seen]:
    """The spools under a folder, without touching them. Raises OSError."""
    seen = []
    for folder in spool_locks.folders(disk, root):
        lock = spool_locks.take(disk, folder)
        try:
            spool = Spool(folder, SMALLEST_SEGMENT, disk=disk)
            seen.append(Seen(spool_locks.instance_of(disk, folder), lock is None, spool.queued, spool.size))
        except FileNotFoundError:
            continue  # it may be removed while we look
        finally:
            if lock is not None:
                disk.close(lock)
    return seen
