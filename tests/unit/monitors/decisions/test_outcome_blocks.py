"""Labelled answers as blocks: what belongs together, when it is read, what it weighs."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from monitors.decisions.detectors.outcome_blocks import (
    BlockSizes,
    group_into_blocks,
    loss_of,
    mature_until,
    mean_loss,
    reading_time,
)
from monitors.rules.block_unit import (
    DAY_UNIT,
    LABEL_UNIT,
    REQUEST_UNIT,
    BlockUnit,
    default_block_unit,
    parse_block_unit,
)
from monitors.windows.window_counts import Outcome

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NONE = timedelta(0)


def row(
    seq: int,
    at: timedelta,
    known: timedelta,
    *,
    request: str = "",
    wrong: bool = False,
    tags: Mapping[str, str] | None = None,
) -> Outcome:
    label, source = "5" if wrong else "3", {"delayed": seq}
    return Outcome(
        seq,
        f"p{seq}",
        MONDAY + at,
        MONDAY + known,
        label,
        "3",
        "delayed",
        source,
        0.9,
        tags=tags or {},
        request_id=request,
        loss=float(wrong),
    )


def groups(
    rows: list[Outcome], unit: BlockUnit, maturity: timedelta, now: timedelta
) -> list[tuple[timedelta, list[int]]]:
    blocks = group_into_blocks(rows, unit, maturity, MONDAY + now)
    return [(block.read_at - MONDAY, [one.seq for one in block.rows]) for block in blocks]


@pytest.mark.parametrize("text", ["request", "label", "client-hour", "1d", "30m", "entity:customer"])
def test_a_unit_is_written_as_it_is_read(text: str) -> None:
    assert parse_block_unit(text).text == text
    assert parse_block_unit(parse_block_unit(text)) == parse_block_unit(text)


@pytest.mark.parametrize("text", ["requests", "entity:", "entity:Big Customer", "30s", "90d", "", 5, None])
def test_what_is_no_unit_is_refused_with_what_would_be_one(text: object) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_block_unit(text)


def test_pictures_and_texts_are_counted_by_request_and_tables_with_a_time_by_day() -> None:
    assert default_block_unit().text == "request"
    assert default_block_unit(is_table_with_time=True).text == "1d"


def test_labels_of_one_request_are_one_block_and_a_late_one_a_block_of_its_own() -> None:
    rows = [
        row(1, HOUR, 2 * HOUR, request="a"),
        row(2, HOUR, 3 * HOUR, request="a"),
        row(3, HOUR, 2 * HOUR, request="b"),
        row(4, HOUR, 30 * HOUR, request="a"),
    ]
    assert groups(rows, REQUEST_UNIT, DAY, 40 * HOUR) == [(25 * HOUR, [1, 2]), (25 * HOUR, [3]), (30 * HOUR, [4])]
    assert groups(rows, REQUEST_UNIT, NONE, 40 * HOUR) == [
        (2 * HOUR, [1]),
        (2 * HOUR, [3]),
        (3 * HOUR, [2]),
        (30 * HOUR, [4]),
    ]
    assert [seqs for _, seqs in groups(rows, LABEL_UNIT, DAY, 40 * HOUR)] == [[1], [2], [3], [4]]


def test_a_day_is_one_block_read_when_it_is_over_and_mature_and_its_late_labels_one_a_day() -> None:
    rows = [
        row(1, HOUR, 2 * HOUR),
        row(2, 23 * HOUR, 30 * HOUR),
        row(3, 25 * HOUR, 26 * HOUR),
        row(4, HOUR, 80 * HOUR),
        row(5, 2 * HOUR, 90 * HOUR),
        row(6, 2 * HOUR, 99 * HOUR),
    ]
    assert groups(rows, DAY_UNIT, 2 * HOUR, 10 * DAY) == [
        (2 * DAY, [1, 2]),
        (3 * DAY, [3]),
        (4 * DAY, [4, 5]),
        (5 * DAY, [6]),
    ]


@pytest.mark.parametrize("unit", [REQUEST_UNIT, DAY_UNIT, BlockUnit("client-hour", HOUR)], ids=lambda unit: unit.text)
@pytest.mark.parametrize("maturity", [NONE, 5 * HOUR, 30 * HOUR])
def test_what_may_be_read_grows_with_time_and_never_shrinks(unit: BlockUnit, maturity: timedelta) -> None:
    rows = [row(n, n * 5 * HOUR, n * 5 * HOUR + timedelta(minutes=7 * n)) for n in range(1, 12)]
    before: set[int] = set()
    for hour in range(100):
        now = MONDAY + hour * HOUR
        until = mature_until(unit, maturity, now)
        mature = {one.seq for one in rows if one.at <= until}
        assert before <= mature
        assert all(reading_time(one, unit, maturity, now) <= now for one in rows if one.seq in mature)
        before = mature
    assert before


@pytest.mark.parametrize("unit", [REQUEST_UNIT, DAY_UNIT], ids=lambda unit: unit.text)
def test_when_a_label_is_read_does_not_depend_on_when_somebody_looks(unit: BlockUnit) -> None:
    one = row(1, HOUR, 50 * HOUR)
    times = {reading_time(one, unit, 3 * HOUR, MONDAY + days * DAY) for days in range(4, 9)}
    assert times == {MONDAY + (3 * DAY if unit is DAY_UNIT else 50 * HOUR)}


def test_a_label_from_a_clock_that_was_ahead_is_read_now() -> None:
    assert reading_time(row(1, HOUR, 365 * DAY), REQUEST_UNIT, NONE, MONDAY + DAY) == MONDAY + DAY


def test_a_clients_hour_is_one_block() -> None:
    ann, bob = {"client": "ann"}, {"client": "bob"}
    rows = [
        row(1, 10 * timedelta(minutes=1), HOUR / 2, tags=ann),
        row(2, 50 * timedelta(minutes=1), HOUR, tags=ann),
        row(3, 20 * timedelta(minutes=1), HOUR, tags=bob),
        row(4, 70 * timedelta(minutes=1), 2 * HOUR, tags=ann),
    ]
    assert groups(rows, parse_block_unit("client-hour"), NONE, DAY) == [(HOUR, [1, 2]), (HOUR, [3]), (2 * HOUR, [4])]


def test_an_entitys_day_is_one_block_and_who_has_none_is_counted_by_request() -> None:
    rows = [
        row(1, HOUR, HOUR, tags={"customer": "a"}, request="x"),
        row(2, 2 * HOUR, 2 * HOUR, tags={"customer": "a"}, request="y"),
        row(3, 2 * HOUR, 2 * HOUR, tags={"customer": "b"}, request="y"),
        row(4, 3 * HOUR, 3 * HOUR, request="z"),
        row(5, 3 * HOUR, 3 * HOUR, request="z"),
    ]
    assert [seqs for _, seqs in groups(rows, parse_block_unit("entity:customer"), NONE, 3 * DAY)] == [
        [1, 2],
        [3],
        [4, 5],
    ]


def test_a_blocks_loss_is_the_weighted_mean_of_its_labels() -> None:
    rows = [
        row(1, HOUR, HOUR, wrong=True, request="x"),
        row(2, HOUR, HOUR, request="x"),
        row(3, HOUR, HOUR, request="x"),
    ]
    rows[0] = replace(rows[0], loss=0.25)
    request = parse_block_unit("request")
    [by_errors] = group_into_blocks(rows, request, NONE, MONDAY + DAY)
    assert mean_loss(by_errors, [1, 1, 1]) == pytest.approx(1 / 3)
    assert mean_loss(by_errors, [0.5, 1, 1]) == pytest.approx(0.2)
    [by_losses] = group_into_blocks(rows, request, NONE, MONDAY + DAY, loss_of)
    assert mean_loss(by_losses, [1, 1, 1]) == pytest.approx(0.25 / 3)


def test_blocks_of_one_size_weigh_1_and_smaller_ones_in_proportion() -> None:
    single = BlockSizes().add(1).add(1)
    assert single.share(1) == 1
    assert single.share(0.05) == 0.05, "a label drawn with a high chance weighs little"
    sheets = BlockSizes().add(20).add(20)
    assert sheets.share(20) == 1
    late = sheets.add(2)
    assert late.share(2) == pytest.approx(0.1, abs=0.01)


def test_one_giant_does_not_make_all_others_weigh_nothing_for_ever() -> None:
    sizes = BlockSizes().add(1_000)
    for _ in range(200_000):
        sizes = sizes.add(1)
    assert sizes.share(1) > 0.05
    assert sizes.share(1_000) == 1
