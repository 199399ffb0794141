"""The spools on one disk: a server's own, those of dead servers it has taken over, and the limit they share.

Each folder is locked for the life of the server it belongs to; a lock that can be had means that its server is dead.
Whoever takes it records what is left and removes the folder. It knows no row and no database.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

from mlplatform.clock import Clock, utc_now
from mlplatform.errors import RecordingError
from mlplatform.spool.frames import framed
from mlplatform.spool.spool import Spool, sync_folder

log = logging.getLogger(__name__)
LOCK: Final = "lock"
LOST: Final = "lost.jsonl"
"""Where it is written down how many rows were dropped, when and by whom."""
REFUSED: Final = "refused.rows"
"""Rows that the database refused, in frames."""
BEGUN: Final = ".begun-"
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

    def release(self, *, erase: bool) -> None:
        """Give the folder up: removed, or left for another server to take."""
        if erase:
            self.spool.erase()
        else:
            self.spool.close()
        os.close(self.lock)


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
    lost: Callable[[int], None] = lambda _: None
    adopted: list[Held] = field(default_factory=list)
    _own: Held | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

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
                self._appended(own, payloads)
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
        """Take over the spools of dead servers; returns how many."""
        taken = 0
        for folder in _folders(self.root):
            mine = [held.spool.folder for held in self._held()]
            if folder in mine or (lock := _locked(folder)) is None:
                continue
            held = Held(_instance_of(folder), Spool(folder, self._segment_bytes), lock)
            if held.spool.queued == 0:
                held.release(erase=True)
                continue
            log.warning("taking over %d prediction(s) of server %s, which is dead", held.spool.queued, held.instance)
            with self._lock:
                self.adopted.append(held)
            taken += 1
        return taken

    def part_with(self, held: Held) -> None:
        """Remove a spool that was taken over and sent whole."""
        with self._lock:
            self.adopted.remove(held)
        held.release(erase=True)

    def set_aside(self, payload: bytes) -> None:
        """Keep a row that the database refuses, so that a person can look at it."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            with os.fdopen(os.open(self.root / REFUSED, flags, 0o600), "ab") as file:
                file.write(framed([payload]))
        except OSError as error:
            log.error("a refused prediction could not be set aside: %s", error)

    def close(self) -> None:
        """Give every spool up; those with rows in them stay for the next server."""
        for held in self._held():
            held.release(erase=held.spool.queued == 0)
        self.adopted.clear()
        self._own = None

    def _held(self) -> list[Held]:
        return [*self.adopted, *([] if self._own is None else [self._own])]

    @property
    def _segment_bytes(self) -> int:
        return max(SMALLEST_SEGMENT, min(LARGEST_SEGMENT, self.limit // SEGMENTS))

    def _opened(self) -> Spool:
        if self._own is None:
            folder, lock = _made(self.root, self.instance)
            if self.fsync:
                sync_folder(self.root)
                sync_folder(self.root.parent)
            self._own = Held(self.instance, Spool(folder, self._segment_bytes, fsync=self.fsync), lock)
        return self._own.spool

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

    def _appended(self, own: Spool, payloads: Sequence[bytes]) -> None:
        while True:
            try:
                own.append(payloads)
                return
            except OSError as error:
                full = error.errno in FULL
                if self.on_full == "refuse" or not full or not self._drop("the disk is full"):
                    raise

    def _drop(self, reason: str) -> bool:
        """Give up the oldest rows; False where there are none."""
        for held in self._held():
            before = held.spool.size
            rows = held.spool.drop_oldest()
            if held.spool.size < before:
                self.lost(rows)
                log.error("%s: dropped the %d oldest prediction(s) of server %s", reason, rows, held.instance)
                _note_lost(self.root, self.clock(), held.instance, rows, reason)
                return True
        return False


def look(root: Path) -> list[Seen]:
    """The spools under a folder, without touching them."""
    seen = []
    for folder in _folders(root):
        lock = _locked(folder)
        with contextlib.suppress(FileNotFoundError):  # it may be removed while we look
            spool = Spool(folder, SMALLEST_SEGMENT)
            seen.append(Seen(_instance_of(folder), lock is None, spool.queued, spool.size))
        if lock is not None:
            os.close(lock)
    return seen


def lost_since(root: Path, moment: datetime) -> int:
    """How many rows were dropped on this disk since a moment."""
    with contextlib.suppress(FileNotFoundError):
        told = [json.loads(line) for line in (root / LOST).read_text().splitlines() if line.endswith("}")]
        return sum(int(each["rows"]) for each in told if datetime.fromisoformat(each["at"]) >= moment)
    return 0


def _made(root: Path, instance: str) -> tuple[Path, int]:
    """A new locked folder. It is locked before it bears a name, so that nobody takes it for a dead server's."""
    root.mkdir(parents=True, exist_ok=True)
    name = f"{instance.replace(':', '-').replace('/', '-')}-{uuid4().hex[:6]}"
    draft, folder = root / f"{BEGUN}{name}", root / name
    draft.mkdir(mode=0o700)
    lock = os.open(draft / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.write(lock, instance.encode())
    draft.rename(folder)
    return folder, lock


def _folders(root: Path) -> list[Path]:
    """The spools' folders, oldest first."""
    if not root.is_dir():
        return []
    found = [path for path in root.iterdir() if not path.name.startswith(BEGUN) and (path / LOCK).is_file()]
    return sorted(found, key=lambda path: (path / LOCK).stat().st_ctime_ns)


def _locked(folder: Path) -> int | None:
    """The folder's lock; None while somebody else holds it or when the folder is gone."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink > 0:
            return lock
    except BlockingIOError:
        pass
    os.close(lock)
    return None


def _instance_of(folder: Path) -> str:
    try:
        return (folder / LOCK).read_text()
    except OSError:
        return folder.name


def _note_lost(root: Path, now: datetime, instance: str, rows: int, reason: str) -> None:
    try:
        with (root / LOST).open("a") as file:
            file.write(json.dumps({"at": now.isoformat(), "instance": instance, "rows": rows, "reason": reason}) + "\n")
    except OSError as error:
        log.error("what was dropped could not be written down: %s", error)
