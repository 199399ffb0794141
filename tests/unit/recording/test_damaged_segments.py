"""What is really damaged or gone is set aside and counted; what only cannot be had now holds up nothing else."""

import errno
import os
from datetime import timedelta
from pathlib import Path

import pytest

from mlplatform.recording.recorder import Recorder
from mlplatform.recording.spool.directory import SpoolDirectory, inspect_spools
from mlplatform.recording.spool.disk_io import Disk
from mlplatform.recording.spool.loss_ledger import rows_lost_since
from mlplatform.recording.spool.quarantined_rows import RowQuarantine, parse_contents
from mlplatform.recording.spool.record_format import encode_frames, encode_prediction
from mlplatform.recording.spool.segment_log import SegmentLog
from tests.support.faulty_disk import Faulty, Table, answer, shelf_of
from tests.support.platform_world import START
from tests.support.spool_rows import drained, rows


class Shut(Disk):
    """A disk on which files of one name cannot be opened."""

    def __init__(self, error: int = errno.EIO) -> None:
        self.shut: set[str] = set()
        self.error = error

    def open(self, path: Path, flags: int = os.O_RDONLY) -> int:
        if path.name in self.shut:
            raise OSError(self.error, os.strerror(self.error))
        return super().open(path, flags)


def filled(folder: Path, disk: Disk, segments: int = 3) -> SegmentLog:
    """A spool of so many segments of five rows each."""
    spool = SegmentLog(folder, segment_bytes=500, disk=disk)
    for first in range(0, 5 * segments, 5):
        spool.append(rows(first, first + 5))
    return spool


def damage(path: Path, place: int, data: bytes = b"\xff\xff\xff\x7f") -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(data)


def test_a_file_that_cannot_be_read_holds_up_no_other_and_is_read_when_it_can(tmp_path: Path) -> None:
    disk = Shut()
    spool = filled(tmp_path, disk)
    disk.shut = {"0000000001.rows"}
    for expected in (range(5, 10), range(10, 15)):
        batch = spool.read(9)
        assert batch is not None
        assert [int(each.split()[0]) for each in batch.payloads() if each] == list(expected)
        spool.settle(batch)
    with pytest.raises(OSError, match="Input/output"):
        spool.read(9)
    assert spool.queued_rows == 5
    heir = SegmentLog(tmp_path, segment_bytes=500)
    assert drained(heir)[:5] == [0, 1, 2, 3, 4], "the position stayed before what was not sent"


def test_without_descriptors_rows_go_on_into_the_file_that_is_open(tmp_path: Path) -> None:
    disk = Faulty()
    spool = SegmentLog(tmp_path, segment_bytes=500, disk=disk)
    spool.append(rows(0, 5))
    disk.break_calls("open", "EMFILE", lambda _: True)
    for number in range(5, 30):
        spool.append(rows(number, number + 1))

    def more() -> None:
        for number in range(30, 90):
            spool.append(rows(number, number + 1, size=1000))

    with pytest.raises(OSError, match="Too many open files"):
        more()
    disk.heal()
    assert drained(spool)[:30] == list(range(30))
    assert not list(tmp_path.parent.glob("*.damaged"))


def test_a_head_that_was_damaged_sets_the_file_aside_from_there_on_and_its_rows_can_be_found(tmp_path: Path) -> None:
    spool_directory = shelf_of(tmp_path, "dead:1:a", Disk())
    table = Table()
    payloads = [encode_prediction(answer(number)) for number in range(4)]
    spool_directory.append(payloads)
    spool_directory.close()
    [path] = tmp_path.glob("*/*.rows")
    damage(path, len(encode_frames(payloads[:1])))
    heir = shelf_of(tmp_path, "heir:2:b", Disk())
    recorder = Recorder(table, spool_directory=heir, batch=5, flush_seconds=0, adopt_seconds=0.01)
    recorder.start()
    while inspect_spools(tmp_path):
        pass
    counts = recorder.close()
    assert (counts.recorded, counts.damaged, counts.set_aside) == (1, 1, 3)
    [aside] = RowQuarantine(tmp_path).list_files()
    assert (aside.rows, aside.damaged) == (2, 1), "two whole rows lie behind one that is none"
    assert recorder.counts().set_aside == 3
    later = shelf_of(tmp_path, "later:3:c", Disk())
    later.refresh_quarantine_status()
    assert later.quarantine_status[0] == 3, "a server that starts later counts what earlier ones left"


def test_a_checksum_that_does_not_agree_keeps_the_bytes(tmp_path: Path) -> None:
    spool_directory = shelf_of(tmp_path, "a:1:a", Disk())
    recorder = Recorder(Table(), spool_directory=spool_directory, batch=5, flush_seconds=0)
    answers = [answer(number) for number in range(3)]
    recorder.append(answers)
    [path] = tmp_path.glob("*/*.rows")
    damage(path, path.read_bytes().index(answers[1].prediction.id.encode()), b"?")
    recorder.start()
    assert recorder.flush(10)
    counts = recorder.close()
    assert (counts.recorded, counts.failed, counts.damaged, counts.set_aside) == (2, 1, 1, 1)
    [aside] = RowQuarantine(tmp_path).list_files()
    assert (aside.name, aside.rows, aside.damaged) == ("rows.damaged", 0, 1)
    assert (tmp_path / aside.name).stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_gone_is_written_down_and_one_whose_folder_is_away_is_waited_for(tmp_path: Path) -> None:
    lost: list[int] = []
    spool_directory = SpoolDirectory(root=tmp_path / "spool", instance="a:1:a", limit_bytes=8_000, on_lost=lost.append)
    for first in range(0, 60, 10):
        spool_directory.append(rows(first, first + 10))
    spool = spool_directory.own
    assert spool is not None
    assert len(list(spool.folder.glob("*.rows"))) > 1
    home = tmp_path / "spool"
    home.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError):
        spool.read(9)
    assert spool.queued_rows == 60
    (tmp_path / "moved").rename(home)
    min(spool.folder.glob("*.rows")).rename(tmp_path / "gone")
    left = drained(spool)
    assert (len(left) + sum(lost), spool.queued_rows) == (60, 0)
    assert rows_lost_since(home, START - timedelta(days=9999)) == sum(lost) > 0


def test_whole_rows_are_found_between_damage_and_a_text_that_looks_like_a_row_is_none(tmp_path: Path) -> None:
    payloads = [encode_prediction(answer(number)) for number in range(3)]
    data = encode_frames(payloads[:1]) + b"\x01\x02" + b'....{"row":' + encode_frames(payloads[1:]) + b"\0" * 300
    contents = parse_contents(data)
    assert contents.rows == tuple(payloads)
    assert contents.damaged == (b"\x01\x02" + b'....{"row":',)
    assert parse_contents(data + data.rstrip(b"\0")).rows == tuple(payloads), "a row that is there twice is one row"
