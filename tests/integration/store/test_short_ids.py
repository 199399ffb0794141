"""Any beginning of an id that fits one row alone stands for it, and enough of it is shown."""

from collections.abc import Sequence

import pytest
from sqlalchemy import insert

from mlplatform.errors import InvalidInputError
from mlplatform.store.database import Database
from mlplatform.store.short_ids import MIN_LENGTH, IdKind, abbreviate_ids, resolve_id
from mlplatform.store.tables.coordination import tasks
from tests.support.platform_world import START

pytestmark = pytest.mark.both_databases

NEIGHBOURS = (
    "0199a1b2-c3d4-7aaa-8000-000000000001",
    "0199a1b2-c3d4-7aaa-8000-000000000002",
    "0199a1b2-c3d4-7bbb-8000-000000000003",
    "0299ffff-0000-7000-8000-000000000004",
)


def kept(database: Database, ids: Sequence[str]) -> None:
    row = {"kind": "label-audit", "model_name": "digits", "state": "open", "details": {}, "at": START}
    with database.write() as connection:
        connection.execute(insert(tasks), [{"id": each, **row} for each in ids])


def test_a_beginning_that_one_row_has_stands_for_its_id(database: Database) -> None:
    kept(database, NEIGHBOURS)
    with database.read() as connection:
        assert resolve_id(connection, "task", "02") == NEIGHBOURS[3]
        assert resolve_id(connection, "task", "0199a1b2-c3d4-7b") == NEIGHBOURS[2]
        assert resolve_id(connection, "task", NEIGHBOURS[0]) == NEIGHBOURS[0]


def test_a_beginning_that_several_have_is_refused_with_their_names(database: Database) -> None:
    kept(database, NEIGHBOURS)
    with database.read() as connection, pytest.raises(InvalidInputError) as caught:
        resolve_id(connection, "task", "0199")
    assert str(caught.value) == f"task id '0199' fits 3: {', '.join(NEIGHBOURS[:3])}; write more of it"


def test_many_matches_are_counted(database: Database) -> None:
    kept(database, [f"01-{number:02d}" for number in range(12)])
    with database.read() as connection, pytest.raises(InvalidInputError, match=r"fits 12: .*01-04 and 7 more;"):
        resolve_id(connection, "task", "01")


def test_an_id_that_is_the_beginning_of_another_stands_for_itself(database: Database) -> None:
    kept(database, ["abcdefgh", "abcdefghi"])
    with database.read() as connection:
        assert resolve_id(connection, "task", "abcdefgh") == "abcdefgh"
        assert abbreviate_ids(connection, "task", ["abcdefgh", "abcdefghi"]) == {
            "abcdefgh": "abcdefgh",
            "abcdefghi": "abcdefghi",
        }


@pytest.mark.parametrize("written", ["", "nothing", "%", "_", "01%", "0199A", "\0", "0199\0", "'; --", "ü"])
def test_what_fits_none_is_given_back_for_the_command_to_miss(database: Database, written: str) -> None:
    kept(database, [each.replace("a", "A") if each.startswith("02") else each for each in NEIGHBOURS])
    with database.read() as connection:
        assert resolve_id(connection, "task", written) == written


def test_every_kind_of_id_is_looked_for_in_its_own_table(database: Database) -> None:
    kept(database, NEIGHBOURS)
    nouns: tuple[IdKind, ...] = ("alert", "retraining", "silence", "key")
    with database.read() as connection:
        assert [resolve_id(connection, noun, "02") for noun in nouns] == ["02"] * 4


def test_as_much_is_shown_as_tells_an_id_from_all_others_also_those_not_shown(database: Database) -> None:
    kept(database, NEIGHBOURS)
    with database.read() as connection:
        shown = abbreviate_ids(connection, "task", [NEIGHBOURS[0], NEIGHBOURS[2], NEIGHBOURS[3]])
        assert shown == {
            NEIGHBOURS[0]: NEIGHBOURS[0],
            NEIGHBOURS[2]: "0199a1b2-c3d4-7b",
            NEIGHBOURS[3]: "0299ffff",
        }
        assert all(resolve_id(connection, "task", short) == full for full, short in shown.items())
        assert min(map(len, shown.values())) == MIN_LENGTH
        assert abbreviate_ids(connection, "task", []) == {}
