"""`platform recording`."""

from mlplatform.context import AppContext
from mlplatform.recording.spool.quarantined_rows import REFUSED_FILE
from mlplatform.store.database import Database
from tests.support.command_line import Command
from tests.support.quarantined_spool import answer, frames_of, kept, put


def test_rows_are_listed_restored_and_given_up(platform: Command, store: AppContext) -> None:
    assert "nothing is set aside" in platform("recording", "list").out
    put(store, REFUSED_FILE, frames_of(answer(1), answer(2)))
    put(store, "rows.damaged", b"no row at all")
    assert {each["name"]: each["rows"] for each in platform("recording", "list", "--json").json} == {
        "refused.rows": 2,
        "rows.damaged": 0,
    }
    told = platform("recording", "restore", "--actor", "ann", "--json").json
    assert sum(each["restored"] for each in told) == 2
    assert len(kept(Database(store.settings.store_url))) == 2
    [left] = platform("recording", "list", "--json").json
    assert platform("recording", "discard", "nothing").code == 4
    assert "1 damaged stretches given up" in platform("recording", "discard", left["name"]).out
    assert platform("recording", "list", "--json").json == []
    assert "discard-rows" in platform("audit", "log").out
