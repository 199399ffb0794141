"""Predictions reach the database once each, whatever it does meanwhile; an answer never waits for them."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, select, text

from mlplatform.errors import RecordingError, StoreUnavailableError
from mlplatform.predictions import prediction_records
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.recording.recorder import Recorder, RecorderCounts
from mlplatform.recording.spool.directory import SpoolDirectory
from mlplatform.recording.spool.loss_ledger import rows_lost_since
from mlplatform.recording.spool.quarantined_rows import REFUSED_FILE
from mlplatform.recording.spool.record_format import decode_frames, decode_prediction, scan_frames
from mlplatform.recording.thread_writer import ThreadWriter
from mlplatform.store.database import Database
from mlplatform.store.tables.predictions import predictions as table
from pipelines.data import content_hash
from pipelines.image.grey_png import decode_png
from tests.support.api_server import Flaky, spool_directory_in
from tests.support.platform_world import POSTGRES, START, picture
from tests.support.spool_rows import answer
from tests.support.store_rows import count_rows


def kept(database: Database) -> list[str]:
    with database.read() as connection:
        return sorted(connection.scalars(select(table.c.id)))


@pytest.fixture
def spool(tmp_path: Path) -> SpoolDirectory:
    return spool_directory_in(tmp_path)


def recorder_of(database: Database, spool_directory: SpoolDirectory, *, batch: int = 50, **changes: Any) -> Recorder:  # noqa: ANN401
    given: dict[str, Any] = {"flush_seconds": 0.01, "sleep": lambda _: time.sleep(0.005)} | changes
    return Recorder(ThreadWriter(database), spool_directory=spool_directory, batch=batch, **given)


@contextmanager
def started(database: Database, spool_directory: SpoolDirectory, batch: int = 50) -> Iterator[Recorder]:
    recorder = recorder_of(database, spool_directory, batch=batch)
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.close(timeout=5)


@pytest.mark.both_databases
def test_answers_are_written_with_their_images_and_hashes(database: Database, spool: SpoolDirectory) -> None:
    answers = [answer(seed % 3) for seed in range(120)]
    with started(database, spool) as recorder:
        assert recorder.append(answers) == 0
        assert recorder.flush(10)
        assert recorder.counts() == RecorderCounts(recorded=120, queued=0, dropped=0, failed=0)
    assert kept(database) == sorted(item.prediction.id for item in answers)
    with database.read() as connection:
        row = prediction_records.find(connection, answers[4].prediction.id)
        assert row.image_hash == content_hash(picture(1))
        assert (decode_png(prediction_records.load_image(connection, row.image_hash)) == picture(1)).all()
        assert count_rows(connection)["images"] == 3


@pytest.mark.both_databases
def test_threads_that_put_at_once_lose_and_double_nothing(database: Database, spool: SpoolDirectory) -> None:
    batches = [[answer(number) for number in range(4)] for _ in range(60)]
    with started(database, spool) as recorder:
        threads = [
            threading.Thread(target=lambda part: [recorder.append(item) for item in part], args=(batches[start::6],))
            for start in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert recorder.flush(20)
    assert kept(database) == sorted(item.prediction.id for batch in batches for item in batch)


@pytest.mark.both_databases
def test_rows_wait_while_the_database_is_away_and_are_written_once_when_it_is_back(
    database: Database, spool: SpoolDirectory
) -> None:
    flaky = Flaky(database)
    answers = [answer(number) for number in range(30)]
    with started(flaky, spool, batch=10) as recorder:
        flaky.away = True
        assert recorder.append(answers) == 0
        assert not recorder.flush(0.05)
        assert recorder.counts() == RecorderCounts(recorded=0, queued=30, dropped=0, failed=0)
        flaky.away = False
        assert recorder.flush(10)
        assert recorder.counts() == RecorderCounts(recorded=30, queued=0, dropped=0, failed=0)
    assert kept(database) == sorted(item.prediction.id for item in answers)


class Wire:
    """A line to the PostgreSQL server that can be cut, with whatever is on its way."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.whole = True
        self.lines: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self.whole = False
        for line in self.lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        self.listener.close()
        for line in self.lines:
            line.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.target)
                self.lines += [near, far]
                for line in (near, far):
                    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if not self.whole:
                    near.shutdown(socket.SHUT_RDWR)
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


@pytest.mark.postgres
def test_a_server_whose_connections_are_cut_again_and_again_gets_every_row_once(
    postgres: Database, spool: SpoolDirectory
) -> None:
    url = make_url(POSTGRES)
    wire = Wire((url.host or "127.0.0.1", url.port or 5432))
    with postgres.read() as connection:
        schema = connection.execute(text("SELECT current_schema()")).scalar_one()
    through = url.set(host="127.0.0.1", port=wire.port).update_query_dict({"options": f"-csearch_path={schema}"})
    cut = Database(through.render_as_string(hide_password=False))
    answers = [answer(number % 5) for number in range(300)]
    with started(cut, spool, batch=5) as recorder:
        for start in range(0, 300, 20):
            recorder.append(answers[start : start + 20])
            time.sleep(0.01)
            if start % 60 == 0:
                wire.cut()
                time.sleep(0.02)
                wire.whole = True
        assert recorder.flush(20)
        assert recorder.counts() == RecorderCounts(recorded=300, queued=0, dropped=0, failed=0)
    cut.close()
    wire.close()
    assert {item.prediction.id for item in answers} <= set(kept(postgres))


@pytest.mark.both_databases
def test_a_commit_whose_answer_was_lost_is_repeated_and_doubles_nothing(
    database: Database, spool: SpoolDirectory
) -> None:
    flaky = Flaky(database)
    flaky.answers_to_lose = 2
    answers = [answer(number) for number in range(7)]
    with started(flaky, spool) as recorder:
        recorder.append(answers)
        assert recorder.flush(10)
        assert recorder.counts() == RecorderCounts(recorded=7, queued=0, dropped=0, failed=0)
    assert kept(database) == sorted(item.prediction.id for item in answers)


POISON: dict[str, dict[str, object]] = {
    "naive time": {"at": datetime(2026, 1, 1)},  # noqa: DTZ001 - what the store refuses
    "half character": {"client_id": "\ud800"},
    "no number": {"latency_ms": None},
}


@pytest.mark.both_databases
@pytest.mark.parametrize("kind", POISON)
def test_a_row_the_store_refuses_is_counted_and_its_neighbours_are_written(
    database: Database, kind: str, spool: SpoolDirectory
) -> None:
    answers = [answer(number) for number in range(9)]
    answers[4] = answer(4, **POISON[kind])
    with started(database, spool) as recorder:
        recorder.append(answers)
        assert recorder.flush(10)
        assert recorder.counts() == RecorderCounts(recorded=8, queued=0, dropped=0, failed=1)
        later = answer()
        recorder.append([later])
        assert recorder.flush(10)
    assert kept(database) == sorted(item.prediction.id for item in (*answers[:4], *answers[5:], later))


@pytest.mark.both_databases
def test_a_database_that_goes_away_amid_a_refused_batch_loses_no_good_row(
    database: Database, spool: SpoolDirectory
) -> None:
    flaky = Flaky(database)
    answers = [answer(number) for number in range(5)]
    answers[2] = answer(2, client_id="\ud800")
    recorder = recorder_of(flaky, spool, sleep=lambda _: None)
    flaky.refusals = [ValueError("refused"), StoreUnavailableError("away"), StoreUnavailableError("away")]
    recorder.append(answers)
    recorder.start()
    assert recorder.flush(10)
    assert recorder.close() == RecorderCounts(recorded=4, queued=0, dropped=0, failed=1)
    assert len(kept(database)) == 4


def test_close_writes_what_waits(database: Database, spool: SpoolDirectory) -> None:
    recorder = recorder_of(database, spool, batch=7, flush_seconds=30)
    recorder.start()
    recorder.append([answer(number) for number in range(40)])
    assert recorder.close() == RecorderCounts(recorded=40, queued=0, dropped=0, failed=0)
    assert len(kept(database)) == 40


def test_close_without_a_database_ends_in_time_and_the_next_server_records_what_is_left(
    database: Database, spool: SpoolDirectory, tmp_path: Path
) -> None:
    flaky = Flaky(database)
    flaky.away = True
    recorder = recorder_of(flaky, spool, batch=7)
    recorder.start()
    answers = [answer(number) for number in range(20)]
    recorder.append(answers)
    assert recorder.close(timeout=0.3) == RecorderCounts(recorded=0, queued=20, dropped=0, failed=0)
    assert kept(database) == []
    with started(database, spool_directory_in(tmp_path)) as heir:
        until = time.monotonic() + 60
        while heir.counts().adopted < 20 and time.monotonic() < until:
            time.sleep(0.01)
        assert heir.counts() == RecorderCounts(recorded=20, queued=0, dropped=0, failed=0, adopted=20)
    assert kept(database) == sorted(item.prediction.id for item in answers)


def test_a_closing_server_refuses_answers_it_could_not_keep(database: Database, spool: SpoolDirectory) -> None:
    recorder = recorder_of(database, spool, batch=7)
    recorder.start()
    recorder.close()
    with pytest.raises(RecordingError, match="closing"):
        recorder.append([answer()])
    assert recorder.counts() == RecorderCounts(recorded=0, queued=0, dropped=0, failed=0, refused=1)


def test_a_full_spool_that_may_forget_drops_the_oldest_counts_them_and_takes_all_new_ones(
    database: Database, tmp_path: Path
) -> None:
    flaky = Flaky(database)
    flaky.away = True
    spool_directory = spool_directory_in(tmp_path, rows=40, on_full="drop-oldest")
    answers = [answer(number) for number in range(100)]
    with started(flaky, spool_directory, batch=2) as recorder:
        for one in answers:
            assert recorder.append([one]) == 0
        dropped = recorder.counts().dropped
        assert 40 <= dropped < 100
        assert recorder.disk_usage()[0] <= recorder.disk_usage()[1]
        flaky.away = False
        assert recorder.flush(10)
        assert recorder.counts() == RecorderCounts(recorded=100 - dropped, queued=0, dropped=dropped, failed=0)
    found = set(kept(database))
    assert len(found) == 100 - dropped
    assert {item.prediction.id for item in answers[dropped + 2 :]} <= found, "what was lost was not the oldest"
    assert rows_lost_since(tmp_path / "spool", START - timedelta(days=9999)) == dropped


async def kept_for_good(recorder: Recorder, answers: list[PredictionWithInput]) -> None:
    recorder.append(answers)
    await recorder.wait_durable(len(answers))


def waiting_in_vain(database: Database, spool: SpoolDirectory, seconds: float) -> tuple[Flaky, Recorder]:
    """A recorder whose answers wait for commits of a database that is away."""
    flaky = Flaky(database)
    flaky.away = True
    recorder = recorder_of(flaky, spool, sync_seconds=seconds)
    recorder.start()
    return flaky, recorder


@pytest.mark.both_databases
def test_under_sync_an_answer_that_lasts_is_in_the_table(database: Database, spool: SpoolDirectory) -> None:
    recorder = recorder_of(database, spool, flush_seconds=30, sync_seconds=10)
    recorder.start()
    for number in range(3):
        one = answer(number)
        asyncio.run(kept_for_good(recorder, [one]))
        assert one.prediction.id in kept(database)
    recorder.close()


def test_answers_that_wait_at_the_same_time_share_commits(database: Database, spool: SpoolDirectory) -> None:
    written: list[int] = []

    class Noting(ThreadWriter):
        def write(self, data: bytes, instance: str) -> tuple[int, ...]:
            written.append(scan_frames(data)[0])
            time.sleep(0.05)
            return super().write(data, instance)

    recorder = Recorder(Noting(database), spool_directory=spool, batch=500, flush_seconds=30, sync_seconds=10)
    recorder.start()

    async def many() -> None:
        await asyncio.gather(*(kept_for_good(recorder, [answer(number)]) for number in range(100)))

    asyncio.run(many())
    assert sum(written) == 100
    assert len(written) <= 5
    assert len(kept(database)) == 100
    recorder.close()


def test_requests_that_wait_for_the_disk_ask_for_their_own_rows_only(database: Database, tmp_path: Path) -> None:
    """Else every one of them would need a call of its own, because rows of others come while it waits its turn."""
    spool_directory = replace(spool_directory_in(tmp_path), fsync=True)
    recorder = recorder_of(database, spool_directory)
    asked: list[int] = []
    sync = spool_directory.sync

    def noting(upto: int) -> None:
        asked.append(upto)
        sync(upto)

    spool_directory.sync = noting  # type: ignore[method-assign]

    async def many() -> None:
        await asyncio.gather(*(kept_for_good(recorder, [answer(number)]) for number in range(30)))

    asyncio.run(many())
    assert asked == sorted(set(asked)), "each knew how far its rows reach before it waited"
    recorder.close()


def test_under_sync_an_answer_whose_commit_does_not_come_is_refused_in_time(
    database: Database, spool: SpoolDirectory
) -> None:
    flaky, recorder = waiting_in_vain(database, spool, 0.1)
    with pytest.raises(RecordingError, match="PLATFORM_SYNC_SECONDS"):
        asyncio.run(kept_for_good(recorder, [answer()]))
    assert recorder.counts().refused == 1
    flaky.away = False
    assert recorder.flush(10), "nobody waits any more, and the row is recorded"
    recorder.close()


def test_one_who_went_away_while_waiting_hurries_nobody(database: Database, spool: SpoolDirectory) -> None:
    flaky, recorder = waiting_in_vain(database, spool, 10)

    async def going() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await kept_for_good(recorder, [answer()])

    asyncio.run(going())
    assert recorder.counts().refused == 0, "the client did not wait; the answer was not refused"
    flaky.away = False
    assert recorder.flush(10)
    recorder.close()


def test_an_idle_server_keeps_no_recorded_row_on_disk(database: Database, spool: SpoolDirectory) -> None:
    with started(database, spool) as recorder:
        recorder.append([answer()])
        assert recorder.flush(10)
        until = time.monotonic() + 10
        while recorder.disk_usage()[0] and time.monotonic() < until:
            time.sleep(0.05)
        assert recorder.disk_usage()[0] == 0
        recorder.append([answer()])
        assert recorder.flush(10)
    assert len(kept(database)) == 2


@pytest.mark.both_databases
def test_a_row_that_is_refused_is_set_aside_for_people(database: Database, spool: SpoolDirectory) -> None:
    with started(database, spool) as recorder:
        recorder.append([answer(latency_ms=None)])
        assert recorder.flush(10)
    [aside] = decode_frames((spool.root / REFUSED_FILE).read_bytes())
    assert aside.payload is not None
    assert (spool.root / REFUSED_FILE).stat().st_mode & 0o777 == 0o600, "a row may be personal"
    assert decode_prediction(aside.payload).prediction.latency_ms is None


def test_a_row_the_disk_damaged_is_counted_and_its_neighbours_are_recorded(
    database: Database, spool: SpoolDirectory
) -> None:
    recorder = recorder_of(database, spool)
    answers = [answer(number) for number in range(3)]
    recorder.append(answers)
    [file] = spool.root.glob("*/*.rows")
    with file.open("r+b") as opened:
        opened.seek(file.read_bytes().index(answers[1].prediction.id.encode()))
        opened.write(b"?")
    recorder.start()
    assert recorder.flush(10)
    counts = recorder.close()
    assert (counts.recorded, counts.failed, counts.queued) == (2, 1, 0)
    assert sorted(kept(database)) == sorted(answers[place].prediction.id for place in (0, 2))
    assert not (spool.root / REFUSED_FILE).exists()


def test_flush_does_not_wait_for_a_batch_to_fill(database: Database, spool: SpoolDirectory) -> None:
    recorder = recorder_of(database, spool, batch=7, flush_seconds=30)
    recorder.start()
    recorder.append([answer()])
    assert recorder.flush(5)
    recorder.close()


def test_flush_of_an_empty_recorder_returns_at_once(database: Database, spool: SpoolDirectory) -> None:
    recorder = recorder_of(database, spool, batch=7)
    assert recorder.flush(0)
