"""Rows of a spool written into the database: in the calling thread, or in a process of its own; it keeps nothing.

Hashing, encoding and writing an answer take longer than answering it. In a process of its own that work takes no time
from the threads that answer (Python runs one thread at a time). The process holds no state: where it dies, the rows
are still in the spool and are written again by the next one, and the database takes an id once.

As a program (`python -m mlplatform.recording.db_writer`) it is that process: told on its standard input what to write,
it answers on its standard output, and ends when its input does, which is when the server ends or dies.
"""

import logging
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Any, Final, Protocol

import numpy as np
import orjson
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from mlplatform.clock import utc_now
from mlplatform.errors import StoreUnavailableError
from mlplatform.ids import uuid7
from mlplatform.predictions.prediction_records import PredictionWithInput, insert_predictions
from mlplatform.predictions.stored_image import encode_png
from mlplatform.recording.spool.codec import SpooledPrediction, decode_prediction
from mlplatform.recording.spool.framing import decode_frames, encode_frames
from mlplatform.store.database import Database
from mlplatform.store.db_errors import is_data_error
from mlplatform.store.file_identity import StoreReplacedError
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.timeouts import DatabaseTimeouts
from pipelines.data import content_hash

log = logging.getLogger(__name__)
ROW_ERRORS: Final = (StatementError, ValueError, TypeError, LookupError, ArithmeticError)
"""What says that a row cannot be stored; any other trouble is the store's own, and waited out."""
ProcessStarter = Callable[..., "subprocess.Popen[bytes]"]
MESSAGE_LENGTH: Final = struct.Struct("<Q")
STOP_TIMEOUT_SECONDS: Final = 5.0
MAX_CRASHES: Final = 3
READY_MESSAGE: Final = b"ready"
"""What the process says first: what it is given before it says so has not been its death."""
COMMAND: Final = (sys.executable, "-m", "mlplatform.recording.db_writer")


class Writer(Protocol):
    """What sends rows to the database."""

    def write(self, data: bytes, instance: str) -> tuple[int, ...]:
        """Write the rows of a server, given as frames, each once; returns the places of those that no database takes.

        Damaged ones are among these. Raises StoreUnavailableError where the same rows must be given again; writing them
        twice doubles nothing.
        """

    def close(self) -> None:
        """Give up what is held."""


@dataclass(frozen=True)
class ThreadWriter:
    """Writes in the thread that asks."""

    database: Database

    def write(self, data: bytes, instance: str) -> tuple[int, ...]:
        refused: list[int] = []
        rows: list[tuple[int, PredictionWithInput]] = []
        for place, frame in enumerate(decode_frames(data)):
            if frame.payload is None:
                refused.append(place)
                continue
            try:
                rows.append((place, _encode(decode_prediction(frame.payload))))
            except (ValueError, KeyError, TypeError):
                log.exception("a row of the spool cannot be read")
                refused.append(place)
        self._write_rows(rows, instance, refused)
        return tuple(sorted(refused))

    def write_probe(self, instance: str) -> None:
        """Write a row and take it back, to see whether the database takes any; raises StoreUnavailableError."""
        image = np.zeros((1, 1), dtype=np.uint8)
        row = PredictionRecord(
            id=uuid7(), at=utc_now(), model_name="", model_version=0, image_hash=content_hash(image), label="",
            probabilities=[], confidence=0.0, latency_ms=0.0, request_id="", client_id="",
        )  # fmt: skip
        with suppress(_RollbackProbeError), self.database.write() as connection:
            insert_predictions(connection, [_encode(SpooledPrediction(row, image))], instance)
            raise _RollbackProbeError

    def close(self) -> None:
        """Nothing is held: the database is the server's."""

    def _write_rows(
        self, rows: Sequence[tuple[int, PredictionWithInput]], instance: str, refused: list[int], *, retry: bool = True
    ) -> None:
        if not rows:
            return
        try:
            self._insert([row for _, row in rows], instance)
        except ROW_ERRORS as refusal:
            if len(rows) > 1:
                log.warning(
                    "a batch was refused (%s): writing its %d rows one by one", type(refusal).__name__, len(rows)
                )
                for row in rows:
                    self._write_rows([row], instance, refused)
            elif isinstance(refusal, IntegrityError) and retry:
                self._write_rows(
                    rows, instance, refused, retry=False
                )  # its picture may have been erased at that moment
            else:
                log.exception("prediction %s could not be recorded", rows[0][1].prediction.id)
                refused.append(rows[0][0])

    def _insert(self, rows: list[PredictionWithInput], instance: str) -> None:
        try:
            with self.database.write() as connection:
                insert_predictions(connection, rows, instance)
        except DBAPIError as error:
            if isinstance(error, DataError | IntegrityError) or is_data_error(error):
                raise
            raise StoreUnavailableError(str(error.orig or error)) from error


class _RollbackProbeError(Exception):
    """What ends a transaction that is not to be kept."""


class _ProcessDiedError(StoreUnavailableError):
    """The process ended while it wrote: perhaps for what it was given."""


class ProcessWriter:
    """Writes in a process of its own, started when first needed and again where it died; for one thread.

    Rows on which it dies again and again are given to it one by one. A row on which it dies MOST_DEATHS times is one
    that no database takes, and shall not hold up all others; but only where another row can be written, or, for a row
    without others, where one that is taken back can. Else it is not the row that is to blame.
    """

    def __init__(
        self,
        url: str,
        command: Sequence[str] = COMMAND,
        start: ProcessStarter = subprocess.Popen,
        patience: DatabaseTimeouts | None = None,
    ) -> None:
        self._url, self._command, self._start = url, command, start
        self._patience = patience or DatabaseTimeouts()
        self._process: subprocess.Popen[bytes] | None = None
        self._crashes = 0

    def write(self, data: bytes, instance: str) -> tuple[int, ...]:
        try:
            written = self._write_in_process if self._crashes < MAX_CRASHES else self._write_individually
            refused = written(data, instance)
        except _ProcessDiedError:
            self._crashes += 1
            raise
        self._crashes = 0
        return refused

    def _write_individually(self, data: bytes, instance: str) -> tuple[int, ...]:
        refused, deadly, taken = list[int](), list[int](), 0
        ends = [frame.end for frame in decode_frames(data)]
        rows = [data[begin:end] for begin, end in pairwise([0, *ends])]
        for place, row in enumerate(rows):
            try:
                told = self._write_in_process(row, instance)
                refused += [place] * len(told)
                taken += not told  # one that is refused need not have reached the database
            except _ProcessDiedError:
                deadly.append(place)
                if not taken and len(deadly) == MAX_CRASHES:
                    raise  # it dies on whatever it is given
        if deadly and not taken:
            self._write_in_process(b"", instance)  # a row that is taken back
        refused += [place for place in deadly if self._is_poison(rows[place], instance)]
        return tuple(sorted(refused))

    def _is_poison(self, row: bytes, instance: str) -> bool:
        for _ in range(MAX_CRASHES):
            try:
                return bool(self._write_in_process(row, instance))
            except _ProcessDiedError as error:
                log.warning("one row by itself: %s", error)
        log.error("a row ended the recording process again and again; it is set aside")
        return True

    def _write_in_process(self, data: bytes, instance: str) -> tuple[int, ...]:
        given, answering = self._ensure_process()
        try:
            _send(given, encode_frames([orjson.dumps(instance)]), data)
        except OSError as error:  # it ended before it knew what it was given, or was never reached
            self.close()
            raise StoreUnavailableError(f"the recording process cannot be reached: {error}") from error
        except BaseException:
            self.close()  # half a message must not be followed by another one
            raise
        told = self._receive_reply(answering)
        if told is None:
            code = self._stop_process()
            raise _ProcessDiedError(f"the recording process ended with code {code}; another one goes on")
        answer: dict[str, Any] = orjson.loads(told)
        if "away" in answer:
            raise (StoreReplacedError if answer.get("replaced") else StoreUnavailableError)(answer["away"])
        return tuple(answer["refused"])

    def _receive_reply(self, answering: IO[bytes]) -> bytes | None:
        """The next message of the process; None where it has ended. Raises StoreUnavailableError where none is read."""
        try:
            return _receive(answering)
        except OSError as error:
            self.close()
            raise StoreUnavailableError(f"the recording process cannot be heard: {error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the process end; one that does not is killed, and the database undoes what it had not committed."""
        self._stop_process()

    def _ensure_process(self) -> tuple[IO[bytes], IO[bytes]]:
        """A process that is ready to write. Raises StoreUnavailableError where none can be had: no row is to blame."""
        if self._process is None:
            try:
                self._process = self._start(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C is for the server, which ends this one when all is written
                )
                given, _ = _process_pipes(self._process)
                level = logging.getLogger().getEffectiveLevel()
                told = {"url": self._url, "level": level, "patience": vars(self._patience)}
                _send(given, orjson.dumps(told))  # not an argument: those can be seen
            except (OSError, subprocess.SubprocessError, MemoryError) as error:
                self.close()
                raise StoreUnavailableError(f"the recording process cannot be started: {error}") from error
            if self._receive_reply(_process_pipes(self._process)[1]) is None:
                code = self._stop_process()
                raise StoreUnavailableError(f"the recording process ended with code {code} before it could write")
        return _process_pipes(self._process)

    def _stop_process(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        given, answering = _process_pipes(process)
        try:
            given.close()
        except OSError:  # what was still to be sent has nobody to read it
            log.debug("the recording process had ended already")
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        answering.close()
        return process.returncode


def _process_pipes(process: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _send(pipe: IO[bytes], *parts: bytes) -> None:
    pipe.write(MESSAGE_LENGTH.pack(sum(map(len, parts))))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    """The next message; None where the other side has ended."""
    head = pipe.read(MESSAGE_LENGTH.size)
    if len(head) < MESSAGE_LENGTH.size:
        return None
    (size,) = MESSAGE_LENGTH.unpack(head)
    data = pipe.read(size)
    return data if len(data) == size else None


def _encode(prediction: SpooledPrediction) -> PredictionWithInput:
    return PredictionWithInput(prediction.prediction, encode_png(prediction.image), prediction.host_class)


def main() -> None:
    """Write what the input says until it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the input's end is the word to end
        signal.signal(number, signal.SIG_IGN)
    answering = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    begin = _receive(sys.stdin.buffer)
    if begin is None:
        return
    told: dict[str, Any] = orjson.loads(begin)
    logging.basicConfig(level=told["level"], format="%(asctime)s %(levelname)s %(name)s %(message)s")
    writer = ThreadWriter(Database(told["url"], DatabaseTimeouts(**told["patience"])))
    _send(answering, READY_MESSAGE)
    while (message := _receive(sys.stdin.buffer)) is not None:
        head = next(decode_frames(message))
        server, data = orjson.loads(head.payload or b""), message[head.end :]
        try:
            if not data:
                writer.write_probe(server)
            answer: dict[str, Any] = {"refused": writer.write(data, server)}
        except (OSError, MemoryError) as error:  # a store that is away is one of them
            answer = {"away": str(error) or type(error).__name__, "replaced": isinstance(error, StoreReplacedError)}
        _send(answering, orjson.dumps(answer))


if __name__ == "__main__":
    main()
