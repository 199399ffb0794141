"""Spools on one disk: each has one owner, the dead's are taken over, and together they keep to the limit."""

import multiprocessing
import os
import shutil
import signal
import sys
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from mlplatform.errors import RecordingError
from mlplatform.recording.spool.directory import SpoolDirectory, inspect_spools
from mlplatform.recording.spool.loss_ledger import rows_lost_since
from tests.support.platform_world import START, FakeClock
from tests.support.spool_rows import AttentiveDisk, drained, files_of_at_most, rows


def spool_directory(root: Path, instance: str = "a:1:x", limit: int = 100_000, **changes: object) -> SpoolDirectory:
    return SpoolDirectory(root=root, instance=instance, limit_bytes=limit, clock=FakeClock(), **changes)  # type: ignore[arg-type]


def adopted(made: SpoolDirectory) -> list[int]:
    return [number for held in made.adopted_spools for number in drained(held.spool)]


def test_a_living_servers_spool_is_left_alone_and_a_closed_ones_is_taken_over_once(tmp_path: Path) -> None:
    one, two, three = (
        spool_directory(tmp_path, "a:1:x"),
        spool_directory(tmp_path, "b:2:y"),
        spool_directory(tmp_path, "c:3:z"),
    )
    one.append(rows(0, 5))
    assert two.adopt() == 0
    assert [(seen.instance, seen.alive, seen.rows) for seen in inspect_spools(tmp_path)] == [("a:1:x", True, 5)]
    one.close()
    assert [(seen.instance, seen.alive, seen.rows) for seen in inspect_spools(tmp_path)] == [("a:1:x", False, 5)]
    assert (two.adopt(), three.adopt()) == (1, 0)
    assert [held.instance for held in two.adopted_spools] == ["a:1:x"]
    assert adopted(two) == [0, 1, 2, 3, 4]
    two.release(two.adopted_spools[0])
    assert inspect_spools(tmp_path) == []


def test_an_empty_spool_leaves_no_folder_behind(tmp_path: Path) -> None:
    made = spool_directory(tmp_path)
    made.close()
    assert not tmp_path.exists() or list(tmp_path.iterdir()) == []
    made = spool_directory(tmp_path)
    drained(made.append(rows(0, 3)))
    made.close()
    assert list(tmp_path.iterdir()) == []


def _killed_while_writing(root: Path, told: Connection) -> None:
    made = spool_directory(root, "dead:1:x")
    for number in range(50):
        made.append(rows(number, number + 1))
        told.send(number)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="kill -9 as Linux has it")
def test_the_rows_of_a_killed_process_are_all_there(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    _here, there = context.Pipe()
    process = context.Process(target=_killed_while_writing, args=(tmp_path, there))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    heir = spool_directory(tmp_path, "heir:2:y")
    assert heir.adopt() == 1
    assert adopted(heir) == list(range(50))


def test_a_full_spool_refuses_and_takes_again_when_rows_have_gone(tmp_path: Path) -> None:
    made = spool_directory(tmp_path, limit=10_000)
    made.append(rows(0, 80))
    with pytest.raises(RecordingError, match="PLATFORM_SPOOL_MB"):
        made.append(rows(80, 100))
    assert made.queued_rows == 80
    assert made.own is not None
    assert drained(made.own) == list(range(80))
    made.append(rows(80, 100))
    assert made.size_bytes <= 10_000


def test_what_the_dead_left_counts_towards_the_limit_and_is_the_oldest(tmp_path: Path) -> None:
    dead = spool_directory(tmp_path, "dead:1:x")
    dead.append(rows(0, 60))
    dead.close()
    lost: list[int] = []
    made = spool_directory(tmp_path, "heir:2:y", limit=10_000, on_full="drop-oldest", on_lost=lost.append)
    made.adopt()
    made.append(rows(60, 90))
    assert lost == []
    made.append(rows(90, 100))
    assert lost == [60]
    assert made.own is not None
    assert drained(made.own) == list(range(60, 100))
    assert (rows_lost_since(tmp_path, START), rows_lost_since(tmp_path, START + timedelta(seconds=1))) == (60, 0)


def test_on_a_full_disk_the_answer_is_refused_with_the_cause(tmp_path: Path) -> None:
    made = spool_directory(tmp_path)
    made.append(rows(0, 55))
    with files_of_at_most(6_300), pytest.raises(RecordingError, match="kept on disk"):
        made.append(rows(55, 60))
    made.append(rows(60, 61))
    assert made.own is not None
    assert drained(made.own) == [*range(55), 60]


def test_on_a_full_disk_the_oldest_go_where_that_is_allowed(tmp_path: Path) -> None:
    lost: list[int] = []
    made = spool_directory(tmp_path, on_full="drop-oldest", on_lost=lost.append)
    made.append(rows(0, 55))
    with files_of_at_most(6_300):
        made.append(rows(55, 60))
    assert lost == [55]
    assert made.own is not None
    assert drained(made.own) == list(range(55, 60))


def test_rows_larger_than_the_limit_are_refused_under_either_policy(tmp_path: Path) -> None:
    made = spool_directory(tmp_path, limit=5_000, on_full="drop-oldest")
    with pytest.raises(RecordingError):
        made.append(rows(0, 100))


@pytest.mark.parametrize("gone", ["file", "folder", "root"])
def test_rows_whose_file_was_removed_are_saved_into_a_new_one(tmp_path: Path, gone: str) -> None:
    made, lost = spool_directory(tmp_path / "spool", disk=AttentiveDisk()), list[int]()
    made.on_lost = lost.append
    spool = made.append(rows(0, 3))
    in_hand = spool.read(2)
    [folder] = (tmp_path / "spool").iterdir()
    [file] = folder.glob("*.rows")
    if gone == "file":
        file.unlink()
    else:
        shutil.rmtree(folder if gone == "folder" else tmp_path / "spool")
    now = made.append(rows(3, 5))
    assert in_hand is not None
    spool.settle(in_hand)
    assert drained(now) == [0, 1, 2, 3, 4]
    assert (made.queued_rows, lost) == (0, [])
    assert [seen.alive for seen in inspect_spools(tmp_path / "spool")] == [True] * (2 if gone == "file" else 1)
    for held in list(made.adopted_spools):
        made.release(held)
    made.close()
    assert inspect_spools(tmp_path / "spool") == []


def test_rows_whose_file_was_removed_wait_while_the_disk_takes_none(tmp_path: Path) -> None:
    made = spool_directory(tmp_path, disk=AttentiveDisk())
    made.append(rows(0, 3))
    [file] = tmp_path.glob("*/*.rows")
    file.unlink()
    with files_of_at_most(20), pytest.raises(RecordingError):
        made.append(rows(3, 5))
    assert drained(made.append(rows(3, 5))) == [0, 1, 2, 3, 4]
