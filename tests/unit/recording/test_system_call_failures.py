"""A call of the system that fails says nothing about rows: what was acknowledged arrives once, nothing is set aside."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlplatform.errors import RecordingError
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.recording.recorder import Recorder
from mlplatform.recording.spool.directory import inspect_spools
from mlplatform.recording.spool.disk_io import Disk
from mlplatform.recording.spool.loss_ledger import LossLog, rows_lost_since
from mlplatform.recording.spool.quarantined_rows import RowQuarantine
from pipelines.data import image_row
from tests.support.faulty_disk import Faulty, Table, answer, shelf_of
from tests.support.platform_world import START, picture, prediction

CALLS = sorted(
    name for name, each in vars(Disk).items() if callable(each) and name[0] != "_" and name not in ("close", "contents")
)
"""`close` frees the descriptor whatever it reports, and `contents` is made of the others."""
ERRORS = ("EMFILE", "ENFILE", "EIO", "ENOMEM", "EACCES", "EINTR", "ENOSPC", "EROFS", "EDQUOT", "ENOLCK")


def _knocking(name: str) -> Callable[..., Any]:
    real = getattr(Faulty, name)

    def call(disk: Faulty, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the call takes and returns
        disk.knock(name)
        return real(disk, *given, **named)

    return call


for _name in CALLS:
    setattr(Faulty, _name, _knocking(_name))


def left_behind(root: Path, table: Table, ids: list[str]) -> None:
    """A server that died with some rows sent and others not."""
    spool_directory = shelf_of(root, "dead:1:a", Disk())
    recorder = Recorder(table, spool_directory=spool_directory, batch=3, flush_seconds=0)
    for number in range(12):
        one = answer(number)
        recorder.append([one])
        ids.append(one.prediction.id)
    spool = spool_directory.own
    assert spool is not None
    batch = spool.read(3)
    assert batch is not None
    table.write(batch.data, spool_directory.instance)
    spool.settle(batch)
    spool_directory.close()


def put(recorder: Recorder, numbers: range, ids: list[str]) -> None:
    """Ask for answers; the ids of those that were given are written down."""
    for number in numbers:
        one = answer(number)
        try:
            recorder.append([one])
        except RecordingError:
            continue
        ids.append(one.prediction.id)


def lived_through(root: Path, call: str, error: str, fails: Callable[[int], bool], *, fsync: bool = False) -> Faulty:
    """A server's whole life with such faults from its start on, and what must be true at its end."""
    disk, table, ids = Faulty(), Table(), list[str]()
    left_behind(root, table, ids)
    spool_directory = shelf_of(root, "alive:2:b", disk, fsync=fsync)
    recorder = Recorder(
        table,
        spool_directory=spool_directory,
        batch=5,
        flush_seconds=0,
        sleep=lambda _: time.sleep(0.001),
        adopt_seconds=0.01,
    )
    disk.break_calls(call, error, fails)
    recorder.start()
    put(recorder, range(100, 130), ids)
    if fsync and spool_directory.own is not None:
        with suppress(RecordingError):
            spool_directory.sync(spool_directory.appended_bytes)
    disk.heal()
    put(recorder, range(200, 230), ids)
    assert len(ids) >= 42, "a healed disk takes every row"
    until = time.monotonic() + 20
    while (spool_directory.queued_rows or len(inspect_spools(root)) > 1) and time.monotonic() < until:
        time.sleep(0.002)
    counts = recorder.close()
    assert set(ids) == set(table.rows), "what was acknowledged is there, and nothing else"
    assert {table.rows[key] for key in ids[:12]} == {"dead:1:a"}, "rows keep the name of the server that answered"
    assert (counts.queued, counts.dropped, counts.failed, counts.damaged, counts.set_aside) == (0, 0, 0, 0, 0)
    assert RowQuarantine(root).list_files() == []
    assert rows_lost_since(root, START.replace(year=2000)) == 0
    assert inspect_spools(root) == []
    assert (disk.wrong_closes, disk.open_descriptors) == ([], set()), "each descriptor is closed once"
    return disk


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", CALLS)
def test_faults_that_pass_lose_double_and_set_aside_nothing(tmp_path: Path, call: str, error: str) -> None:
    lived_through(tmp_path / "all", call, error, lambda _: True)
    lived_through(tmp_path / "others", call, error, lambda number: number % 2 == 1)
    lived_through(tmp_path / "later", call, error, lambda number: number >= 4)


@pytest.mark.parametrize("call", CALLS)
def test_a_fault_at_any_single_call_loses_doubles_and_sets_aside_nothing(tmp_path: Path, call: str) -> None:
    for place in range(12):
        lived_through(tmp_path / str(place), call, "EIO", place.__eq__, fsync=True)


def test_every_call_of_a_spool_is_gone_through(tmp_path: Path) -> None:
    used = set()
    for call in CALLS:
        if lived_through(tmp_path / call, call, "EIO", lambda number: number == 0, fsync=True).failed:
            used.add(call)
    assert set(CALLS) - used == {"append"}, "which needs a refused row"


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_closes_amid_faults_ends_and_the_next_one_has_its_rows(tmp_path: Path, call: str) -> None:
    disk, table, ids = Faulty(), Table(), list[str]()
    left_behind(tmp_path, table, ids)
    spool_directory = shelf_of(tmp_path, "alive:2:b", disk, fsync=True)
    recorder = Recorder(
        table, spool_directory=spool_directory, batch=5, flush_seconds=0, sleep=lambda _: time.sleep(0.001)
    )
    put(recorder, range(100, 130), ids)
    disk.break_calls(call, "EIO", lambda _: True)
    recorder.start()
    recorder.close(timeout=0.05)
    heir = Recorder(
        table, spool_directory=shelf_of(tmp_path, "heir:3:c", Disk()), batch=50, flush_seconds=0, adopt_seconds=0.01
    )
    heir.start()
    until = time.monotonic() + 20
    while inspect_spools(tmp_path) and time.monotonic() < until:
        time.sleep(0.002)
    heir.close()
    assert set(table.rows) == set(ids)
    assert disk.wrong_closes == [], "each descriptor is closed once"
    assert (inspect_spools(tmp_path), RowQuarantine(tmp_path).list_files()) == ([], [])


def test_a_loss_that_cannot_be_written_down_yet_is_written_down_later(tmp_path: Path) -> None:
    disk = Faulty()
    ledger = LossLog(tmp_path, disk)
    disk.break_calls("open", "ENOSPC", lambda _: True)
    ledger.record(START, "a:1:a", 3, "the limit is reached")
    assert rows_lost_since(tmp_path, START) == 0
    disk.heal()
    with (tmp_path / "lost.jsonl").open("w") as file:
        file.write('{"at": "torn')
    ledger.record(START, "a:1:a", 4, "the limit is reached")
    assert rows_lost_since(tmp_path, START) == 7


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", ["open", "lock", "fstat", "append"])
def test_a_refused_row_that_cannot_be_set_aside_yet_is_kept_and_set_aside_once(
    tmp_path: Path, call: str, error: str
) -> None:
    class Refusing(Table):
        def write(self, data: bytes, instance: str) -> tuple[int, ...]:
            return (1, *super().write(data, instance)) if b"poison" in data else super().write(data, instance)

    disk, table = Faulty(), Refusing()
    recorder = Recorder(
        table, spool_directory=shelf_of(tmp_path, "a:1:a", disk), batch=5, flush_seconds=0, sleep=lambda _: None
    )
    row = prediction(seed=1).prediction
    recorder.append(
        [answer(0), PredictionWithInput(replace(row, client_id="poison"), image_row(picture(1))), answer(2)]
    )
    disk.break_calls(call, error, lambda number: number < 5)
    recorder.start()
    assert recorder.flush(20)
    disk.heal()
    counts = recorder.close()
    assert disk.failed > 0, "the call is made"
    assert (counts.recorded, counts.failed, counts.queued, counts.set_aside) == (2, 1, 0, 1)
    assert (disk.wrong_closes, disk.open_descriptors) == ([], set()), "each descriptor is closed once"
    [aside] = RowQuarantine(tmp_path).list_files()
    assert (aside.name, aside.rows, aside.damaged) == ("refused.rows", 1, 0)
