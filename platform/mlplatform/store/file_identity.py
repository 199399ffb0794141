"""Notices when a SQLite database's files are no longer those that this process opened, by device and inode.

A file that is unlinked or replaced while a process has it open goes on taking writes that nobody will ever read. So
each transaction asks before it begins and after it has committed; one that finds other files raises, and counts as not
written. What was found is written down beside the database, for whoever looks later. Opening a file here would be worse
than useless: closing it again gives up every lock that SQLite holds on it in this process.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname
from typing import Any, Final

from mlplatform.errors import StoreUnavailableError

log = logging.getLogger(__name__)
JOURNAL_SUFFIX: Final = ".replaced.jsonl"
"""Behind the database's name: where it is written down which process found its files replaced, and when."""
SIDECAR_SUFFIXES: Final = ("-wal", "-shm")
"""Files that SQLite keeps beside the database for as long as any connection is open."""
FileId = tuple[int, int]


class StoreReplacedError(StoreUnavailableError):
    """The database's file is no longer the one that was opened: a person decides."""


@dataclass(frozen=True)
class Replacement:
    """A process found other files than it had opened; `back` says that it finds its own again."""

    at: str
    host: str
    pid: int
    file: str
    was: tuple[int, int]
    back: bool = False

    @property
    def detected_at(self) -> datetime:
        return datetime.fromisoformat(self.at)


class DatabaseFile:
    """The files of one database as one process opened them; any thread asks."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path, self._clock = path.absolute(), clock
        self._sidecars = tuple(Path(f"{self._path}{ending}") for ending in SIDECAR_SUFFIXES)
        self._opened: FileId | None = None
        self.is_replaced = False

    def before_connection(self, *_: object) -> None:
        """Let no connection make a new file in the place of one that is gone. Raises StoreReplacedError."""
        self.verify({})

    def after_connection(self, *_: object) -> None:
        """The first connection says which file is meant. Raises StoreReplacedError for a connection to another one."""
        if self._opened is None:
            self._opened = _file_id(self._path)
        self.verify({})

    def verify(self, connection: MutableMapping[Any, Any], *, used: bool = False) -> None:
        """Raise StoreReplacedError where the files are no longer those of a connection, whose notes are kept in a map.

        Which logs are its own is known once it was `used`: from its first transaction on it keeps them from being
        removed by SQLite itself. Nothing is asked before the first connection.
        """
        if self._opened is None:
            return
        if (lost := self._replaced_path(connection, used=used)) is not None:
            if not self.is_replaced:
                self._mark_replaced(lost)
            raise StoreReplacedError(
                f"{lost} was removed or replaced while this process ran, so nothing is written to it any more and "
                "answers wait in the spool; put the file back, or restart every server and watcher to go on with the "
                "file that is there (docs/explanation/recording.md)"
            )
        if self.is_replaced:
            self.is_replaced = False
            self._append_to_journal(self._path, back=True)
            log.warning("%s is the file again that this process opened: it is written to", self._path)

    def _replaced_path(self, connection: MutableMapping[Any, Any], *, used: bool) -> Path | None:
        """The file that is no longer the one that was opened."""
        if _file_id(self._path) != self._opened:
            return self._path
        for path in self._sidecars:
            current = _file_id(path)
            if used and current is not None:
                connection.setdefault(path, current)
            if connection.get(path, current) != current:
                return path
        return None

    def _mark_replaced(self, lost: Path) -> None:
        self.is_replaced = True
        log.error("%s was removed or replaced while this process ran: nothing is written to it any more", lost)
        self._append_to_journal(lost, back=False)

    def _append_to_journal(self, file: Path, *, back: bool) -> None:
        assert self._opened is not None
        here = gethostname(), os.getpid()
        replacement = Replacement(self._clock().isoformat(), *here, str(file), self._opened, back=back)
        try:
            notes = os.open(journal_path(self._path), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(notes, "a", encoding="utf-8") as opened:
                opened.write(json.dumps(asdict(replacement)) + "\n")
        except OSError as error:
            log.error("it could not be written down that %s was replaced: %s", self._path, error)


def journal_path(path: Path) -> Path:
    """Where it is written down that a database's files were replaced."""
    return path.with_name(path.name + JOURNAL_SUFFIX)


def read_replacements(path: Path, since: datetime) -> list[Replacement]:
    """What processes found since a moment, oldest first; each process's last word only."""
    last: dict[tuple[str, int], Replacement] = {}
    for replacement in _read_journal(path):
        if replacement.detected_at >= since:
            last.pop((replacement.host, replacement.pid), None)
            last[replacement.host, replacement.pid] = replacement
    return list(last.values())


def may_be_running(replacement: Replacement) -> bool:
    """Whether the process that found it may still run; one of another machine may."""
    if replacement.host != gethostname():
        return True
    try:
        os.kill(replacement.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _read_journal(path: Path) -> Iterator[Replacement]:
    with suppress(FileNotFoundError):
        for line in journal_path(path).read_text(encoding="utf-8").splitlines():
            try:
                said = json.loads(line)
                found = Replacement(**{**said, "was": tuple(said["was"])})
                if found.detected_at.tzinfo is not None:
                    yield found
            except (ValueError, TypeError, KeyError):
                continue  # a line that was torn


def _file_id(path: Path) -> FileId | None:
    """Which file bears the name now, None where there is none; StoreUnavailableError where it cannot be asked."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreUnavailableError(f"the database file {path} cannot be asked for now: {error}") from error
    return found.st_dev, found.st_ino
