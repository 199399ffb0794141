"""Promotions: compare-and-set on an append-only history."""

from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from mlplatform.errors import ConflictError
from mlplatform.promotion import promotion_history
from mlplatform.promotion.promotion_history import Promotion
from mlplatform.store.database import Database
from tests.support.platform_world import START
from tests.support.store_rows import running

pytestmark = pytest.mark.both_databases


def append(
    database: Database, to: int, expected: int | None, model: str = "digits", retraining: str | None = None
) -> Promotion:
    with database.write() as connection:
        return promotion_history.append(
            connection,
            model_name=model,
            expected=expected,
            to_version=to,
            kind="first" if expected is None else "promote",
            now=START + timedelta(minutes=to),
            actor="ada",
            reason="better",
            fence=to,
            retraining_id=retraining,
            verdict={"outcome": "promote", "p": 0.01},
        )


def latest(database: Database, model: str = "digits") -> Promotion | None:
    with database.read() as connection:
        return promotion_history.latest_promotion(connection, model)


def test_before_the_first_promotion_there_is_no_champion(database: Database) -> None:
    assert latest(database) is None
    with database.read() as connection:
        assert promotion_history.promotion_history(connection, "digits") == []
        assert promotion_history.find_by_retraining(connection, "nosuch") is None


def test_a_promotion_comes_back_as_it_was_appended(database: Database) -> None:
    made = append(database, 1, None)
    assert latest(database) == made
    assert (made.from_version, made.to_version, made.kind, made.fence) == (None, 1, "first", 1)
    assert (made.at, made.verdict) == (START + timedelta(minutes=1), {"outcome": "promote", "p": 0.01})


def test_history_comes_newest_first_up_to_the_limit_and_each_model_has_its_own(database: Database) -> None:
    first, second = append(database, 1, None), append(database, 2, 1)
    other = append(database, 7, None, model="letters")
    with database.read() as connection:
        assert promotion_history.promotion_history(connection, "digits") == [second, first]
        assert promotion_history.promotion_history(connection, "digits", limit=1) == [second]
        assert promotion_history.promotion_history(connection, "letters") == [other]


@pytest.mark.parametrize("expected", [None, 1, 3])
def test_a_champion_other_than_expected_is_a_conflict_that_says_so(database: Database, expected: int | None) -> None:
    append(database, 1, None)
    held = append(database, 2, 1)
    with pytest.raises(ConflictError, match=f"is version 2, not {expected} as this promotion to version 4"):
        append(database, 4, expected)
    assert latest(database) == held


def test_the_first_champion_cannot_be_expected_to_be_another(database: Database) -> None:
    with pytest.raises(ConflictError, match="is version None, not 1"):
        append(database, 2, 1)


def test_a_retraining_promotes_once_at_most(database: Database) -> None:
    made = running(database, "owner")
    promotion = append(database, 1, None, retraining=made)
    with pytest.raises(IntegrityError):
        append(database, 2, 1, retraining=made)
    with database.read() as connection:
        assert promotion_history.find_by_retraining(connection, made) == promotion


def row(seq: int, kind: promotion_history.PromotionKind, before: int | None, to: int) -> Promotion:
    return Promotion(seq, "digits", before, to, kind, START, "ada", "", None, None, seq)


def test_a_promotion_is_undone_by_the_rollback_that_leaves_its_version() -> None:
    steps = [
        row(1, "first", None, 1),
        row(2, "promote", 1, 2),
        row(3, "rollback", 2, 1),
        row(4, "promote", 1, 2),
        row(5, "promote", 2, 3),
        row(6, "promote", 3, 4),
        row(7, "rollback", 4, 3),
        row(8, "rollback", 3, 2),
    ]
    assert promotion_history.rolled_back_promotions(steps[::-1]) == {2, 5, 6}
    assert promotion_history.rolled_back_promotions([]) == frozenset()


def test_a_rollback_restores_the_newest_earlier_champion_that_is_not_barred() -> None:
    steps = [row(1, "first", None, 1), row(2, "promote", 1, 2), row(3, "promote", 2, 3)]
    assert promotion_history.rollback_target(steps[::-1]) == 2
    assert promotion_history.rollback_target(steps[::-1], {2}) == 1
    assert promotion_history.rollback_target(steps[::-1], {1, 2}) is None
    passed_over = [*steps, row(4, "rollback", 3, 1)]
    assert promotion_history.rollback_target(passed_over[::-1]) is None, "what was passed over is not restored later"
    twice = [*steps[:2], row(3, "promote", 2, 1)]
    assert promotion_history.rollback_target(twice[::-1]) == 2
    assert promotion_history.rollback_target(twice[::-1], {2}) is None, "the champion itself is nothing to go back to"
