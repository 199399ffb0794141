"""Bounded samples of the pictures a version was shown."""

from datetime import timedelta

import pytest

from mlplatform.predictions import input_samples
from mlplatform.store.database import Database
from tests.support.platform_world import START, prediction, recorded

pytestmark = pytest.mark.both_databases

SECOND = timedelta(seconds=1)


def shown(database: Database, count: int, first: int = 0, version: int = 1) -> None:
    recorded(database, *(prediction(START + n * SECOND, seed=n, version=version) for n in range(first, first + count)))


def pngs(*seeds: int) -> set[bytes]:
    return {prediction(seed=seed).png for seed in seeds}


def test_the_first_pictures_are_those_of_the_first_answers_however_many_follow(database: Database) -> None:
    shown(database, 6)
    with database.read() as connection:
        before = input_samples.earliest_sample(connection, "digits", 1, 4, 10)
    shown(database, 5, first=6)
    with database.read() as connection:
        after = input_samples.earliest_sample(connection, "digits", 1, 4, 10)
    assert before == after
    assert (after.prediction_count, after.until) == (4, START + 3 * SECOND)
    assert set(after.pngs) == pngs(0, 1, 2, 3)


def test_the_newest_pictures_lie_after_one_moment_and_before_another(database: Database) -> None:
    shown(database, 10)
    shown(database, 3, first=20, version=2)
    span = (START + 2 * SECOND, START + 8 * SECOND)
    with database.read() as connection:
        found = input_samples.latest_sample(connection, "digits", 1, span, 3, 10)
    assert set(found.pngs) == pngs(5, 6, 7)
    assert (found.prediction_count, found.until) == (3, START + 7 * SECOND)


def test_a_picture_sent_again_and_again_is_one_picture(database: Database) -> None:
    recorded(database, *(prediction(START + n * SECOND, seed=n % 2) for n in range(9)))
    with database.read() as connection:
        found = input_samples.earliest_sample(connection, "digits", 1, 9, 5)
    assert (found.prediction_count, len(found.pngs)) == (9, 2)


def test_the_draw_is_bounded_and_always_the_same(database: Database) -> None:
    shown(database, 30)
    with database.read() as connection:
        drawn = input_samples.earliest_sample(connection, "digits", 1, 30, 7)
        assert drawn == input_samples.earliest_sample(connection, "digits", 1, 30, 7)
    assert len(drawn.pngs) == 7
    assert set(drawn.pngs) != pngs(*range(7))


def test_a_version_that_was_shown_nothing_has_no_pictures(database: Database) -> None:
    shown(database, 3)
    with database.read() as connection:
        assert input_samples.earliest_sample(connection, "digits", 2, 10, 10) == input_samples.InputSample(0, None, ())
