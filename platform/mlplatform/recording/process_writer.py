"""Writes rows of a spool to the database in a process of its own, which takes no time from the threads that predict.

Hashing, encoding and writing a prediction take longer than making it, and Python runs one thread at a time. The process
holds no state: where it dies, the rows are still in the spool and are written again by the next one, and the database
takes an id once.

As a program (`python -m mlplatform.recording.process_writer`) it is that process: it reads from its standard input what
to write, replies on its standard output, and ends when its input does, which is when the server ends or dies.
"""

import logging
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import IO, Any, Final

import orjson

from mlplatform.errors import StoreUnavailableError
from mlplatform.recording.spool.record_format import decode_frames, encode_frames
from mlplatform.recording.thread_writer import ThreadWriter
from mlplatform.store.database import Database
from mlplatform.store.file_identity import StoreReplacedError
from mlplatform.store.timeouts import DatabaseTimeouts

log = logging.getLogger(__name__)
ProcessStarter = Callable[..., "subprocess.Popen[bytes]"]
MESSAGE_LENGTH: Final = struct.Struct("<Q")
"""The length of a message in bytes, in front of each."""
STOP_TIMEOUT_SECONDS: Final = 5.0
MAX_CRASHES: Final = 3
READY_MESSAGE: Final = b"ready"
"""What the process says first: what it is given before that is not to blame where it dies."""
COMMAND: Final = (sys.executable, "-P", "-m", "mlplatform.recording.process_writer")


class _ProcessDiedError(StoreUnavailableError):
    """The process ended while it wrote: perhaps because of what it was given."""


class ProcessWriter:
    """Writes in a process of its own, started when first needed and again where it died; used by one thread.

    Rows on which it dies again and again are given to it one by one. A row on which it dies MAX_CRASHES times is one
    that no database takes, and shall not hold up all others; but only where another row can be written, or, for a row
    without others, where one that is rolled back can. Else it is not the row that is to blame.
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
            write = self._write_in_process if self._crashes < MAX_CRASHES else self._write_individually
            refused = write(data, instance)
        except _ProcessDiedError:
            self._crashes += 1
            raise
        self._crashes = 0
        return refused

    def _write_individually(self, data: bytes, instance: str) -> tuple[int, ...]:
        refused, deadly, written = list[int](), list[int](), 0
        ends = [frame.end for frame in decode_frames(data)]
        rows = [data[begin:end] for begin, end in pairwise([0, *ends])]
        for index, row in enumerate(rows):
            try:
                row_refused = self._write_in_process(row, instance)
                refused += [index] * len(row_refused)
                written += not row_refused  # one that is refused need not have reached the database
            except _ProcessDiedError:
                deadly.append(index)
                if not written and len(deadly) == MAX_CRASHES:
                    raise  # it dies on whatever it is given
        if deadly and not written:
            self._write_in_process(b"", instance)  # a row that is rolled back
        refused += [index for index in deadly if self._is_poison(rows[index], instance)]
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
        stdin, stdout = self._ensure_process()
        try:
            _send(stdin, encode_frames([orjson.dumps(instance)]), data)
        except OSError as error:  # it ended before it knew what it was given, or was never reached
            self.close()
            raise StoreUnavailableError(f"the recording process cannot be reached: {error}") from error
        except BaseException:
            self.close()  # half a message must not be followed by another one
            raise
        message = self._receive_reply(stdout)
        if message is None:
            code = self._stop_process()
            raise _ProcessDiedError(f"the recording process ended with code {code}; another one goes on")
        reply: dict[str, Any] = orjson.loads(message)
        if "away" in reply:
            raise (StoreReplacedError if reply.get("replaced") else StoreUnavailableError)(reply["away"])
        return tuple(reply["refused"])

    def _receive_reply(self, stdout: IO[bytes]) -> bytes | None:
        """The next message of the process; None where it has ended. Raises StoreUnavailableError where none is read."""
        try:
            return _receive(stdout)
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
                stdin, _ = _process_pipes(self._process)
                level = logging.getLogger().getEffectiveLevel()
                options = {"url": self._url, "level": level, "patience": vars(self._patience)}
                _send(stdin, orjson.dumps(options))  # not an argument: those can be seen
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
        stdin, stdout = _process_pipes(process)
        try:
            stdin.close()
        except OSError:  # what was still to be sent has nobody to read it
            log.debug("the recording process had ended already")
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        stdout.close()
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


def main() -> None:
    """Write what the standard input says until it ends."""
    # 1. Only the input's end ends this process, and only replies go to the standard output.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no reply

    # 2. The first message says which database; the reply to it, that rows can be given.
    first = _receive(sys.stdin.buffer)
    if first is None:
        return
    options: dict[str, Any] = orjson.loads(first)
    logging.basicConfig(level=options["level"], format="%(asctime)s %(levelname)s %(name)s %(message)s")
    writer = ThreadWriter(Database(options["url"], DatabaseTimeouts(**options["patience"])))
    _send(replies, READY_MESSAGE)

    # 3. Every other message is a server's name and its rows; without rows, a probe.
    while (message := _receive(sys.stdin.buffer)) is not None:
        head = next(decode_frames(message))
        server, data = orjson.loads(head.payload or b""), message[head.end :]
        try:
            if not data:
                writer.write_probe(server)
            reply: dict[str, Any] = {"refused": writer.write(data, server)}
        except (OSError, MemoryError) as error:  # a store that is away is one of them
            reply = {"away": str(error) or type(error).__name__, "replaced": isinstance(error, StoreReplacedError)}
        _send(replies, orjson.dumps(reply))


if __name__ == "__main__":
    main()
