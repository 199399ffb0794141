"""Rows that were set aside are written after all, each once, whoever is killed; what cannot be written stays."""

from pathlib import Path

import pytest

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, NotFoundError, StoreUnavailableError
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.recording.recovery import discard, list_files, restore
from mlplatform.recording.spool.quarantined_rows import REFUSED_FILE, RowQuarantine
from tests.support.api_server import Flaky
from tests.support.quarantined_spool import answer, frames_of, kept, put

pytestmark = pytest.mark.both_databases


def ids(*answers: PredictionWithInput) -> set[str]:
    return {each.prediction.id for each in answers}


def names(context: AppContext) -> list[str]:
    return [each.name for each in list_files(context)]


def test_refused_rows_and_damaged_segments_are_written_once_and_what_is_no_row_stays(context: AppContext) -> None:
    refused, before, after = answer(1), answer(2), answer(3)
    put(context, REFUSED_FILE, frames_of(refused, refused))
    begin = len(frames_of(before))
    put(context, f"host-1-a-0000000001.rows.from-{begin}.damaged", frames_of(before) + b"\xff" * 30 + frames_of(after))
    assert [(each.rows, each.damaged) for each in list_files(context)] == [(1, 0), (1, 1)]
    told = restore(context, None, "ann")
    assert [(each.restored, each.refused, each.damaged) for each in told] == [(1, 0, 0), (1, 0, 1)]
    assert kept(context.database) == ids(refused, after), "what lies before the damage was sent before"
    [left] = list_files(context)
    assert (left.rows, left.damaged, left.size) == (0, 1, 30)
    assert restore(context, None, "ann")[0].restored == 0
    assert kept(context.database) == ids(refused, after)
    with context.database.read() as connection:
        assert audit_entries.latest_entry(connection, "restore-rows", f"spool/{told[1].name}") is not None
    assert discard(context, left.name, "ann").damaged == 1
    assert list_files(context) == []


def test_a_segment_that_an_older_version_set_aside_is_restored_too(context: AppContext) -> None:
    one = answer(1)
    put(context, "host-1-a-0000000001.rows.damaged", frames_of(one))
    assert restore(context, "host-1-a-0000000001.rows.damaged", "ann")[0].restored == 1
    assert kept(context.database) == ids(one)
    assert list_files(context) == []


def test_what_the_database_still_refuses_stays_whole(context: AppContext) -> None:
    good, bad = answer(1), answer(2, latency_ms=None)
    put(context, REFUSED_FILE, frames_of(bad, good))
    [told] = restore(context, REFUSED_FILE, "ann")
    assert (told.restored, told.refused) == (1, 1)
    assert kept(context.database) == ids(good)
    [left] = list_files(context)
    assert (context.settings.spool_folder / left.name).read_bytes() == frames_of(bad)


def test_a_database_that_goes_away_leaves_every_row_where_it_was(context: AppContext) -> None:
    flaky = Flaky(context.database)
    context = context.replace(database=flaky)
    one = answer(1)
    put(context, REFUSED_FILE, frames_of(one))
    flaky.away = True
    with pytest.raises(StoreUnavailableError):
        restore(context, None, "ann")
    flaky.away, flaky.answers_to_lose = False, 1
    with pytest.raises(StoreUnavailableError):
        restore(context, None, "ann")
    assert sum(each.rows for each in list_files(context)) == 1
    restore(context, None, "ann")
    assert (kept(flaky.inner), list_files(context)) == (ids(one), [])


def test_a_server_adds_to_a_new_file_while_one_is_restored(context: AppContext) -> None:
    put(context, REFUSED_FILE, frames_of(answer(1)))
    asides, later = RowQuarantine(context.settings.spool_folder), answer(2)
    with asides.lock_file(REFUSED_FILE) as taken:
        assert taken is not None
        asides.add(REFUSED_FILE, frames_of(later))
        with pytest.raises(ConflictError, match="another process"):
            restore(context, taken.name, "ann")
        asides.rewrite(taken, ())
    assert names(context) == [REFUSED_FILE]
    restore(context, None, "ann")
    assert kept(context.database) == ids(later)


def test_one_killed_between_commit_and_removal_doubles_nothing(context: AppContext) -> None:
    one = answer(1)
    put(context, REFUSED_FILE, frames_of(one))
    with RowQuarantine(context.settings.spool_folder).lock_file(REFUSED_FILE):
        pass  # killed here: the file bears another name and is still listed
    [name] = names(context)
    assert name != REFUSED_FILE
    restore(context, name, "ann")
    put(context, REFUSED_FILE, frames_of(one))
    restore(context, None, "ann")
    assert kept(context.database) == ids(one)
    assert list_files(context) == []


def test_a_name_that_is_not_there_is_told_with_those_that_are(context: AppContext) -> None:
    put(context, REFUSED_FILE, frames_of(answer(1)))
    for name in ("../platform.db", "lock", ""):
        with pytest.raises(NotFoundError, match=REFUSED_FILE):
            discard(context, name, "ann")
    assert names(context) == [REFUSED_FILE]


def test_a_torn_end_of_what_was_set_aside_hides_no_later_row(context: AppContext, tmp_path: Path) -> None:
    one, two = answer(1), answer(2)
    put(context, REFUSED_FILE, frames_of(one)[:-40])
    RowQuarantine(context.settings.spool_folder).add(REFUSED_FILE, frames_of(two))
    [seen] = list_files(context)
    assert (seen.rows, seen.damaged) == (1, 1)
    restore(context, None, "ann")
    assert kept(context.database) == ids(two)
