"""Rows leave a spool in their order, once, whatever happened to the process and the disk between."""

import errno
import mmap
import os
import threading
from pathlib import Path

import pytest

from mlplatform.recording.spool.disk_io import Disk
from mlplatform.recording.spool.record_format import scan_frames
from mlplatform.recording.spool.segment_log import SegmentLog
from tests.support.spool_rows import drained, files_of_at_most, rows


def test_rows_are_read_in_their_order_over_many_segments_and_the_files_go(tmp_path: Path) -> None:
    spool = SegmentLog(tmp_path, segment_bytes=1000)
    for first in range(0, 100, 5):
        spool.append(rows(first, first + 5))
    assert len(list(tmp_path.glob("*.rows"))) >= 10
    assert (spool.queued_rows, spool.appended_rows) == (100, 100)
    assert drained(spool) == list(range(100))
    assert (spool.queued_rows, spool.settled_rows) == (0, 100)
    assert len(list(tmp_path.glob("*.rows"))) <= 1
    assert spool.size_bytes <= 1100


def test_a_batch_that_is_not_settled_is_read_again_also_by_the_next_process(tmp_path: Path) -> None:
    spool = SegmentLog(tmp_path, segment_bytes=1000)
    spool.append(rows(0, 20))
    first = spool.read(6)
    assert first is not None
    assert spool.read(6) == first
    spool.settle(first)
    heir = SegmentLog(tmp_path, segment_bytes=1000)  # without a word of farewell from the first
    assert heir.queued_rows == 14
    assert drained(heir) == list(range(6, 20))
    assert list(tmp_path.glob("*.rows")) == []


def test_without_its_position_a_spool_is_sent_again_from_the_first_file_there_is(tmp_path: Path) -> None:
    spool = SegmentLog(tmp_path, segment_bytes=10_000)
    spool.append(rows(0, 5))
    batch = spool.read(3)
    assert batch is not None
    spool.settle(batch)
    (tmp_path / "position").write_text("{")
    assert drained(SegmentLog(tmp_path, segment_bytes=10_000)) == list(range(5))


@pytest.mark.parametrize("cut", [1, 60, 107])
def test_a_row_torn_off_is_passed_over_and_those_before_it_are_whole(tmp_path: Path, cut: int) -> None:
    first = SegmentLog(tmp_path, segment_bytes=10_000)
    first.append(rows(0, 4))
    first.close()
    [path] = tmp_path.glob("*.rows")
    assert path.stat().st_size == 4 * 108, "no room is left behind"
    os.truncate(path, path.stat().st_size - cut)
    heir = SegmentLog(tmp_path, segment_bytes=10_000)
    assert heir.queued_rows == 3
    heir.append(rows(4, 6))
    assert drained(heir) == [0, 1, 2, 4, 5]


def test_a_kill_amid_a_copy_leaves_the_rows_before_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    SegmentLog(tmp_path, segment_bytes=10_000).append(rows(0, 3))
    assert SegmentLog(tmp_path, segment_bytes=10_000).queued_rows == 3
    assert not caplog.records, "room is nothing torn"
    [path] = tmp_path.glob("*.rows")
    with path.open("r+b") as file:
        file.seek(3 * 108 + 4)
        file.write(b"the rest of a head, and some of a row")
    heir = SegmentLog(tmp_path, segment_bytes=10_000)
    assert "torn" in caplog.text
    assert drained(heir) == [0, 1, 2]


def test_rows_that_do_not_fit_are_refused_whole_and_those_before_and_after_are_kept(tmp_path: Path) -> None:
    spool = SegmentLog(tmp_path, segment_bytes=10_000)
    spool.append(rows(0, 90))
    with files_of_at_most(10_050), pytest.raises(OSError, match="too large") as refused:
        spool.append(rows(90, 96))
    assert refused.value.errno == errno.EFBIG
    [path] = tmp_path.glob("*.rows")
    assert scan_frames(path.read_bytes()) == (90, 90 * 108)
    assert path.stat().st_size == 10_000
    assert (spool.queued_rows, spool.size_bytes) == (90, 90 * 108)
    spool.append(rows(96, 99))
    assert drained(spool) == [*range(90), 96, 97, 98]


def test_a_disk_that_is_full_from_the_start_takes_no_row_and_one_that_was_freed_does(tmp_path: Path) -> None:
    spool = SegmentLog(tmp_path, segment_bytes=10_000)
    with files_of_at_most(5_000), pytest.raises(OSError, match="too large"):
        spool.append(rows(0, 1))
    assert (spool.queued_rows, spool.size_bytes) == (0, 0)
    spool.append(rows(1, 2))
    assert drained(spool) == [1]


def test_a_row_longer_than_the_room_made_at_a_time_is_kept(tmp_path: Path) -> None:
    spool = SegmentLog(tmp_path, segment_bytes=10_000)
    spool.append([*rows(0, 2), *rows(2, 3, size=100_000), *rows(3, 4)])
    spool.append(rows(4, 5))
    spool.close()
    assert drained(SegmentLog(tmp_path, segment_bytes=10_000)) == [0, 1, 2, 3, 4]


def test_rows_are_kept_where_files_cannot_be_mapped(tmp_path: Path) -> None:
    class Unmapped(Disk):
        def map(self, file: int, size: int) -> mmap.mmap:
            raise OSError(errno.ENODEV, "no such thing here")

    spool = SegmentLog(tmp_path, segment_bytes=1_000, disk=Unmapped())
    for first in range(0, 40, 4):
        spool.append(rows(first, first + 4))
    spool.append([])
    assert SegmentLog(tmp_path, segment_bytes=1_000).queued_rows == 40
    assert drained(spool) == list(range(40))


def test_a_file_that_is_there_already_is_not_written_over(tmp_path: Path) -> None:
    spool = SegmentLog(tmp_path, segment_bytes=10_000)
    SegmentLog(tmp_path, segment_bytes=10_000).append(rows(0, 2))
    with pytest.raises(FileExistsError):
        spool.append(rows(2, 3))
    spool.append(rows(3, 4))
    assert drained(SegmentLog(tmp_path, segment_bytes=10_000)) == [0, 1, 3]


def test_the_oldest_rows_can_be_given_up_but_not_those_in_hand(tmp_path: Path) -> None:
    spool = SegmentLog(tmp_path, segment_bytes=1000)
    for first in range(0, 40, 2):
        spool.append(rows(first, first + 2))
    in_hand = spool.read(4)
    assert in_hand is not None
    assert spool.drop_oldest() == 6, "ten rows fill a segment, four of them are on their way"
    assert spool.queued_rows == 34
    spool.settle(in_hand)
    assert spool.queued_rows == 30
    assert drained(spool) == list(range(10, 40))
    spool.append(rows(40, 41))
    assert drained(spool) == [40]


def test_everything_can_be_given_up(tmp_path: Path) -> None:
    spool = SegmentLog(tmp_path, segment_bytes=1000)
    spool.append(rows(0, 3))
    assert [spool.drop_oldest(), spool.drop_oldest()] == [3, 0]
    assert (spool.queued_rows, spool.size_bytes, spool.read(1)) == (0, 0, None)
    spool.append(rows(3, 5))
    assert drained(spool) == [3, 4]


def test_a_row_longer_than_what_is_read_at_once_is_read(tmp_path: Path) -> None:
    spool = SegmentLog(tmp_path, segment_bytes=10**7)
    spool.append([*rows(0, 2), *rows(2, 4, size=3 * 2**20), *rows(4, 5)])
    assert drained(spool) == [0, 1, 2, 3, 4]


def test_a_file_that_disappears_costs_its_rows_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    spool = SegmentLog(folder, segment_bytes=500)
    spool.append(rows(0, 5))
    spool.append(rows(5, 10))
    min(folder.glob("*.rows")).unlink()
    assert drained(spool) == [5, 6, 7, 8, 9]
    assert spool.queued_rows == 0


def test_threads_that_append_share_their_syncs_and_lose_nothing(tmp_path: Path) -> None:
    spool = SegmentLog(tmp_path, segment_bytes=20_000, fsync=True)

    def write(start: int) -> None:
        for number in range(start, 400, 4):
            spool.append(rows(number, number + 1))
            spool.sync(spool.appended_bytes)

    threads = [threading.Thread(target=write, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    found: list[int] = []
    while any(thread.is_alive() for thread in threads) or spool.queued_rows:
        found += drained(spool)
    assert sorted(found) == list(range(400))
    for start in range(4):
        mine = [number for number in found if number % 4 == start]
        assert mine == sorted(mine)


class Syncing(Disk):
    """A disk that counts what it is to hold, and can be broken."""

    def __init__(self) -> None:
        self.synced: list[int] = []
        self.broken = False

    def sync(self, file: int) -> None:
        if self.broken:
            raise OSError(errno.EIO, "no")
        self.synced.append(file)


def test_rows_that_a_failed_sync_was_to_hold_are_never_called_safe(tmp_path: Path) -> None:
    """The system tells a failed fsync once; the next one of the same file succeeds and holds nothing."""
    disk = Syncing()
    spool = SegmentLog(tmp_path, segment_bytes=20_000, fsync=True, disk=disk)
    spool.append(rows(0, 1))
    first = spool.appended_bytes
    spool.append(rows(1, 2))
    second = spool.appended_bytes

    disk.broken = True
    with pytest.raises(OSError, match="no"):
        spool.sync(first)
    disk.broken = False
    for upto in (first, second):
        with pytest.raises(OSError, match="did not take"):
            spool.sync(upto)
    spool.append(rows(2, 3))
    spool.sync(spool.appended_bytes)
    with pytest.raises(OSError, match="did not take"):
        spool.sync(second)
    assert drained(spool) == [0, 1, 2]


def test_an_append_waits_for_no_disk_and_a_sync_holds_the_files_left_behind_too(tmp_path: Path) -> None:
    disk = Syncing()
    synced = disk.synced
    spool = SegmentLog(tmp_path, segment_bytes=200, fsync=True, disk=disk)
    for number in range(20):
        spool.append(rows(number, number + 1))
    assert not synced
    assert len(list(tmp_path.glob("*.rows"))) > 3
    spool.sync(spool.appended_bytes)
    assert len(synced) > len(list(tmp_path.glob("*.rows"))), "every file, and the folder"
    before = len(synced)
    spool.sync(spool.appended_bytes)
    assert len(synced) == before
    assert drained(spool) == list(range(20))


def test_a_file_that_was_cut_short_while_it_is_written_ends_no_process_and_costs_its_own_rows(tmp_path: Path) -> None:
    folder, aside = tmp_path / "one", list[int]()
    folder.mkdir()
    spool = SegmentLog(folder, segment_bytes=100_000)
    spool.on_damaged = aside.append
    spool.append(rows(0, 3))
    [file] = folder.glob("*.rows")
    os.truncate(file, 0)
    for number in range(3, 6):  # copied into memory behind the end of a file, they would end the process
        spool.append(rows(number, number + 1))
    assert drained(spool) == [3, 4, 5]
    assert (sum(aside), spool.queued_rows) == (3, 0)
