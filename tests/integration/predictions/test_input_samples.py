"""Bounded samples of the pictures a version was shown."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from mlplatform.predictions import input_samples
from mlplatform.retention import erasure
from mlplatform.store.database import Database
from tests.support.platform_world import START, prediction, recorded

pytestmark = pytest.mark.both_databases

SECOND = timedelta(seconds=1)


def shown(database: Database, count: int, first: int = 0, version: int = 1) -> None:
    recorded(database, *(prediction(START + n * SECOND, seed=n, version=version) for n in range(first, first + count)))


def pngs(*seeds: int) -> set[bytes]:
    return {prediction(seed=seed).packed_input for seed in seeds}


def sample(
    database: Database, spans: Sequence[input_samples.Span], per_span: int, size: int, version: int = 1
) -> tuple[input_samples.SampledInput, ...]:
    with database.read() as connection:
        return input_samples.sample_inputs(connection, "digits", version, spans, per_span, size)


HOUR = (START, START + 3_600 * SECOND)


def test_the_first_pictures_of_each_stretch_stay_the_same_however_many_follow(database: Database) -> None:
    spans = [(START, START + 5 * SECOND), (START + 8 * SECOND, START + 20 * SECOND)]
    shown(database, 10)
    before = sample(database, spans, 2, 10)
    shown(database, 5, first=10)
    shown(database, 3, first=20, version=2)
    assert before == sample(database, spans, 2, 10)
    assert {row.content for row in before} == pngs(0, 1, 8, 9)


def test_what_is_drawn_from_is_named_by_its_ids(database: Database) -> None:
    shown(database, 6)
    with database.read() as connection:
        ids = input_samples.sampled_ids(connection, "digits", 1, [HOUR], 4)
        assert len(ids) == 4
        assert input_samples.sampled_ids(connection, "digits", 1, [], 4) == set()


def test_a_picture_sent_again_and_again_is_one_picture_of_its_first_request(database: Database) -> None:
    recorded(database, *(prediction(START + n * SECOND, seed=n % 2) for n in range(9)))
    found = sample(database, [HOUR], 9, 5)
    assert len(found) == 2
    assert {row.request.split()[0] for row in found} == {START.isoformat(), (START + SECOND).isoformat()}


def test_pictures_of_one_request_say_so_also_when_its_id_has_been_removed(database: Database) -> None:
    recorded(database, *(prediction(START + n // 3 * SECOND, seed=n) for n in range(9)))
    with database.write() as connection:
        erasure.anonymise(connection, "digits", START + 60 * SECOND)
    assert len({row.request for row in sample(database, [HOUR], 9, 9)}) == 3


def test_the_draw_is_bounded_and_always_the_same(database: Database) -> None:
    shown(database, 30)
    drawn = sample(database, [HOUR], 30, 7)
    assert drawn == sample(database, [HOUR], 30, 7)
    assert len(drawn) == 7
    assert {row.content for row in drawn} != pngs(*range(7))


def test_a_version_that_was_shown_nothing_has_no_pictures(database: Database) -> None:
    shown(database, 3)
    assert sample(database, [HOUR], 10, 10, version=2) == ()
