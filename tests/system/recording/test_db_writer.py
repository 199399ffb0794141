"""Rows are written by a process of their own as by a thread, and its death loses and doubles nothing."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mlplatform.errors import StoreUnavailableError
from mlplatform.host.processes import free_port
from mlplatform.predictions import prediction_counts, prediction_records
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.recording.process_writer import MAX_CRASHES, READY_MESSAGE, ProcessWriter
from mlplatform.recording.recorder import Recorder
from mlplatform.recording.spool.quarantined_rows import REFUSED_FILE
from mlplatform.recording.spool.record_format import encode_frames, encode_prediction
from mlplatform.recording.thread_writer import ThreadWriter, Writer
from mlplatform.store.database import Database
from mlplatform.store.tables.predictions import predictions as table
from pipelines.data import image_row
from tests.support.api_server import spool_directory_in
from tests.support.platform_world import picture, prediction


def answer(seed: int) -> PredictionWithInput:
    return PredictionWithInput(prediction(seed=seed).prediction, image_row(picture(seed)), "a-host")


def rows(*seeds: int) -> bytes:
    return encode_frames([encode_prediction(answer(seed)) for seed in seeds])


def url_of(database: Database) -> str:
    return database._engine.url.render_as_string(hide_password=False)


def ids(database: Database) -> list[str]:
    with database.read() as connection:
        return sorted(connection.scalars(select(table.c.id)))


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture(params=["thread", "process"])
def writer(request: pytest.FixtureRequest, database: Database) -> Iterator[Writer]:
    made: Writer = ThreadWriter(database) if request.param == "thread" else ProcessWriter(url_of(database))
    yield made
    made.close()


@pytest.fixture
def beside(database: Database) -> Iterator[ProcessWriter]:
    made = ProcessWriter(url_of(database))
    yield made
    made.close()


def pid_of(writer: ProcessWriter) -> int:
    process = writer._process
    assert process is not None
    return process.pid


@pytest.mark.both_databases
def test_rows_are_written_once_with_their_pictures_and_counted(writer: Writer, database: Database) -> None:
    given = [answer(seed) for seed in (1, 2, 3)]
    data, first = encode_frames([encode_prediction(one) for one in given]), given[0].prediction
    assert writer.write(data, "host:1:abc") == ()
    assert writer.write(data, "host:1:abc") == ()
    assert len(ids(database)) == 3
    with database.read() as connection:
        kept = prediction_records.find(connection, first.id)
        assert len(prediction_records.load_image(connection, kept.image_hash)) > 50
        assert (
            prediction_counts.prediction_total(connection, first.model_name, first.model_version, first.at, first.at)
            == 3
        )


@pytest.mark.both_databases
def test_a_row_that_no_database_takes_is_told_and_the_others_are_written(writer: Writer, database: Database) -> None:
    assert writer.write(rows(1) + encode_frames([b"no row"]) + rows(2), "host:1:abc") == (1,)
    assert len(ids(database)) == 2


def test_a_database_that_is_away_is_told_so_that_the_rows_are_given_again() -> None:
    writer = ProcessWriter(f"postgresql+psycopg://nobody:secret@127.0.0.1:{free_port()}/none")
    with pytest.raises(StoreUnavailableError, match="did not answer") as told:
        writer.write(rows(1), "host:1:abc")
    assert "secret" not in str(told.value)
    assert "secret" not in Path(f"/proc/{pid_of(writer)}/cmdline").read_text()
    writer.close()


@pytest.mark.both_databases
def test_a_process_that_died_is_told_once_and_replaced(beside: ProcessWriter, database: Database) -> None:
    assert beside.write(rows(1), "host:1:abc") == ()
    dead = pid_of(beside)
    os.kill(dead, signal.SIGKILL)
    with pytest.raises(StoreUnavailableError, match="recording process"):
        beside.write(rows(2), "host:1:abc")
    assert beside.write(rows(2), "host:1:abc") == ()
    assert pid_of(beside) != dead
    assert len(ids(database)) == 2


MORTAL = """
import os
from mlplatform.recording import process_writer, thread_writer
decode = thread_writer.decode_prediction
thread_writer.decode_prediction = lambda payload: os._exit(9) if b"deadly" in payload else decode(payload)
process_writer.main()
"""


def test_a_row_that_ends_the_process_again_and_again_is_set_aside_and_its_neighbours_are_written(
    database: Database, tmp_path: Path
) -> None:
    writer = ProcessWriter(url_of(database), (sys.executable, "-c", MORTAL))
    spool_directory = spool_directory_in(tmp_path)
    recorder = Recorder(
        writer, spool_directory=spool_directory, batch=20, flush_seconds=0.01, sleep=lambda _: time.sleep(0.01)
    )
    answers = [answer(seed) for seed in range(5)]
    deadly = PredictionWithInput(replace(prediction(seed=7).prediction, client_id="deadly"), image_row(picture(7)))
    recorder.append([*answers[:2], deadly, *answers[2:]])
    recorder.start()
    assert recorder.flush(60)
    counts = recorder.close()
    assert (counts.recorded, counts.failed, counts.queued) == (5, 1, 0)
    assert ids(database) == sorted(one.prediction.id for one in answers)
    assert b"deadly" in (spool_directory.root / REFUSED_FILE).read_bytes()


def test_a_deadly_row_without_others_is_set_aside_where_one_that_is_taken_back_can_be_written(
    database: Database,
) -> None:
    writer = ProcessWriter(url_of(database), (sys.executable, "-c", MORTAL))
    deadly = encode_frames(
        [
            encode_prediction(
                PredictionWithInput(replace(prediction(seed=7).prediction, client_id="deadly"), image_row(picture(7)))
            )
        ]
    )
    for _ in range(MAX_CRASHES):
        with pytest.raises(StoreUnavailableError):
            writer.write(deadly, "host:1:abc")
    assert writer.write(deadly, "host:1:abc") == (0,)
    assert ids(database) == [], "the row that was taken back is not kept"
    writer.close()


FATAL = """
import os
from mlplatform.recording import process_writer, thread_writer
thread_writer.insert_predictions = lambda *_: os._exit(7)
process_writer.main()
"""


DYING = f"""
import os, struct, sys
length = struct.Struct("<Q")
def receive():
    return sys.stdin.buffer.read(*length.unpack(sys.stdin.buffer.read(length.size)))
receive()
sys.stdout.buffer.write(length.pack({len(READY_MESSAGE)}) + {READY_MESSAGE!r})
sys.stdout.buffer.flush()
receive()
os._exit(7)
"""
"""A process that is ready and dies of the first rows it is given, without importing what could write them."""


@pytest.mark.parametrize("program", ["raise SystemExit(3)", DYING])
@pytest.mark.parametrize("count", [1, 6])
def test_a_process_that_dies_whatever_it_writes_blames_no_row(database: Database, program: str, count: int) -> None:
    writer = ProcessWriter(url_of(database), (sys.executable, "-S", "-c", program))
    for _ in range(MAX_CRASHES + 2):
        with pytest.raises(StoreUnavailableError):
            writer.write(rows(*range(count)), "host:1:abc")
    healed = ProcessWriter(url_of(database))
    assert healed.write(rows(1), "host:1:abc") == ()
    healed.close()


def test_a_row_that_cannot_be_read_is_no_proof_that_others_can_be_written(database: Database) -> None:
    writer = ProcessWriter(url_of(database), (sys.executable, "-c", FATAL))
    damaged = bytearray(rows(1))
    damaged[-1] ^= 1
    for _ in range(MAX_CRASHES + 2):
        with pytest.raises(StoreUnavailableError):
            writer.write(bytes(damaged) + encode_frames([b"no row"]) + rows(2, 3), "host:1:abc")
    writer.close()


def test_ctrl_c_and_sigterm_are_for_the_server_which_ends_the_process(
    beside: ProcessWriter, database: Database
) -> None:
    assert beside.write(rows(1), "host:1:abc") == ()
    pid = pid_of(beside)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    assert beside.write(rows(2), "host:1:abc") == ()
    assert pid_of(beside) == pid
    beside.close()
    assert not alive(pid)
    assert len(ids(database)) == 2


def test_the_process_ends_when_its_server_is_killed(tmp_path: Path) -> None:
    database = Database(url := f"sqlite:///{tmp_path}/platform.db")
    database.upgrade()
    code = (
        "import os, sys\n"
        "from mlplatform.recording.process_writer import ProcessWriter\n"
        "from mlplatform.recording.spool.record_format import encode_frames\n"
        f"writer = ProcessWriter({url!r})\n"
        "writer.write(encode_frames([b'no row']), 'host:1:abc')\n"
        "print(writer._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert told.returncode == -signal.SIGKILL, told.stderr
    until = time.monotonic() + 10
    while alive(int(told.stdout)):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.both_databases
def test_answers_kept_while_the_process_is_killed_again_and_again_are_recorded_once(
    beside: ProcessWriter, database: Database, tmp_path: Path
) -> None:
    spool_directory = spool_directory_in(tmp_path, rows=5_000)
    recorder = Recorder(
        beside, spool_directory=spool_directory, batch=20, flush_seconds=0.01, sleep=lambda _: time.sleep(0.01)
    )
    recorder.start()
    answers = [answer(seed) for seed in range(400)]
    killing = threading.Event()

    def kill() -> None:
        while not killing.wait(0.7):
            process = beside._process
            if process is not None:
                process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for one in answers:
            assert recorder.append([one]) == 0
            time.sleep(0.01)
    finally:
        killing.set()
        killer.join()
    assert recorder.flush(30)
    assert recorder.close().recorded == len(answers)
    assert ids(database) == sorted(one.prediction.id for one in answers)


class Starting:
    """Starts the recording process, or fails as the system does where it is short of something."""

    def __init__(self) -> None:
        self.failures: list[OSError | MemoryError | subprocess.SubprocessError] = []
        self.failed = 0

    def __call__(self, *words: Any, **named: Any) -> "subprocess.Popen[bytes]":  # noqa: ANN401 - as Popen
        if self.failures:
            self.failed += 1
            raise self.failures.pop(0)
        return subprocess.Popen(*words, **named)


SHORT = [OSError(number, os.strerror(number)) for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)]
UNSTARTED: list[OSError | MemoryError | subprocess.SubprocessError] = [
    *SHORT,
    MemoryError(),
    subprocess.SubprocessError("fork"),
]


def test_a_process_that_cannot_be_started_is_waited_for_and_no_row_is_to_blame(
    database: Database, tmp_path: Path
) -> None:
    starting = Starting()
    writer = ProcessWriter(url_of(database), start=starting)
    spool_directory = spool_directory_in(tmp_path)
    recorder = Recorder(
        writer, spool_directory=spool_directory, batch=20, flush_seconds=0.01, sleep=lambda _: time.sleep(0.001)
    )
    starting.failures = [*UNSTARTED, *UNSTARTED]
    answers = [answer(seed) for seed in range(7)]
    recorder.append(answers)
    recorder.start()
    assert recorder.flush(60)
    assert starting.failed == 2 * len(UNSTARTED)
    counts = recorder.close()
    assert (counts.recorded, counts.failed, counts.set_aside) == (7, 0, 0)
    assert ids(database) == sorted(one.prediction.id for one in answers)


def test_a_process_that_died_and_cannot_be_started_again_amid_rows_one_by_one_blames_none(database: Database) -> None:
    """The first row is taken, then one ends the process; that none can be started is no proof against the others."""
    starting = Starting()
    writer = ProcessWriter(url_of(database), (sys.executable, "-c", MORTAL), starting)
    deadly = encode_frames(
        [
            encode_prediction(
                PredictionWithInput(replace(prediction(seed=7).prediction, client_id="deadly"), image_row(picture(7)))
            )
        ]
    )
    data = rows(1) + deadly + rows(2, 3)
    for _ in range(MAX_CRASHES):
        with pytest.raises(StoreUnavailableError):
            writer.write(data, "host:1:abc")
    for error in UNSTARTED[:3]:
        assert writer.write(rows(4), "host:1:abc") == ()
        writer._crashes, starting.failures = MAX_CRASHES, [error]
        with pytest.raises(StoreUnavailableError, match="cannot be started"):
            writer.write(data, "host:1:abc")
    assert writer.write(data, "host:1:abc") == (1,)
    writer.close()


def test_a_process_that_ends_before_it_has_heard_the_rows_blames_none(database: Database) -> None:
    writer = ProcessWriter(url_of(database), (sys.executable, "-c", "raise SystemExit(1)"))
    for _ in range(2 * MAX_CRASHES):
        with pytest.raises(StoreUnavailableError, match=r"before it could write|cannot be started"):
            writer.write(rows(1), "host:1:abc")
    assert writer._crashes == 0
    writer.close()


SHORT_OF_MEMORY = """
from mlplatform.recording import process_writer, thread_writer
tries = []
def insert(*arguments):
    tries.append(1)
    if len(tries) < 3:
        raise (MemoryError(), OSError(24, "Too many open files"))[len(tries) - 1]
    return real(*arguments)
real, thread_writer.insert_predictions = thread_writer.insert_predictions, insert
process_writer.main()
"""


def test_a_process_short_of_memory_or_descriptors_says_so_and_goes_on(database: Database) -> None:
    writer = ProcessWriter(url_of(database), (sys.executable, "-c", SHORT_OF_MEMORY))
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            writer.write(rows(1), "host:1:abc")
    assert writer.write(rows(1), "host:1:abc") == ()
    writer.close()
    assert len(ids(database)) == 1
