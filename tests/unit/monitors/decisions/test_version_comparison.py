"""The comparison of two versions: what attacks cannot do, what waits for what, and what is found."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitors.decisions.version_comparison import (
    ComparisonTerms,
    DifferingAnswer,
    VersionComparison,
    compare_versions,
    is_settled,
)
from monitors.errors import WindowError

START, DAY = datetime(2026, 1, 3, tzinfo=UTC), timedelta(days=1)
TERMS = ComparisonTerms(START, START + 7 * DAY, 0.008, 0.05, 3 * DAY)


def reviewed(n: int, difference: int, day: float = 1.0, weight: float = 1.0, block: str = "") -> list[DifferingAnswer]:
    at = START + day * DAY
    return [
        DifferingAnswer(
            at, block or f"{day} {difference} {place}", at, difference, weight, True, at + timedelta(hours=1)
        )
        for place in range(n)
    ]


def delayed(n: int, difference: int, day: float = 1.0, lag: float = 1.0) -> list[DifferingAnswer]:
    at = START + day * DAY
    return [
        DifferingAnswer(at, f"{day} {difference} {place}", at, difference, delayed_at=at + lag * DAY)
        for place in range(n)
    ]


def judged(answers: list[DifferingAnswer], days: float, compared: int = 4000) -> VersionComparison:
    return compare_versions(answers, compared, compared, TERMS, START + days * DAY)


def test_a_loss_of_a_point_is_proved_after_a_whole_week_and_not_before() -> None:
    answers = [*reviewed(117, 1), *reviewed(58, -1), *reviewed(117, 1, day=5), *reviewed(58, -1, day=5)]
    assert not judged(answers, 6.9).proved_worse
    assert judged(answers, 7).proved_worse


def test_a_broken_version_is_proved_at_once() -> None:
    assert judged(reviewed(25, 1), 1.1, compared=40).proved_worse


def test_labels_of_one_request_are_one_observation() -> None:
    assert not judged(reviewed(40, 1, block="one sheet"), 8, compared=40).proved_worse


def test_a_look_at_a_week_waits_for_the_labels_of_drawn_answers_but_not_for_ever() -> None:
    waiting = [replace(answer, reviewed_at=None, difference=None) for answer in reviewed(20, 1, day=6)]
    answers = [*reviewed(150, 1), *reviewed(50, -1), *waiting]
    assert not judged(answers, 8).proved_worse
    assert not is_settled(answers, TERMS, START + 8 * DAY)
    assert judged(answers, 9.1).proved_worse
    assert is_settled(answers, TERMS, START + 9.1 * DAY)


def test_a_delayed_label_counts_when_its_answer_is_mature_and_a_missing_one_for_the_new_version() -> None:
    answers = [*delayed(150, 1), *delayed(50, -1)]
    assert not judged(answers, 9.9).proved_worse
    assert judged(answers, 10).proved_worse
    assert is_settled(answers, TERMS, START + 10 * DAY)
    late = [*answers, *(replace(answer, block=f"late {answer.block}") for answer in delayed(100, 1, day=2, lag=4))]
    found = judged(late, 10)
    assert (found.proved_worse, found.unlabelled) == (False, 100)
    assert "100 whose label is overdue count for version 7" in found.sentence(7, 6)


def test_weights_speak_for_those_who_were_not_drawn() -> None:
    """Nine lost answers drawn at 1 in 1 against one won answer drawn at 1 in 10: as many of all."""
    answers = [*reviewed(180, 1), *reviewed(20, -1, weight=10.0)]
    assert not judged(answers, 8).proved_worse
    assert judged([replace(answer, weight=1.0) for answer in answers], 8).proved_worse


def test_an_answer_that_could_have_weighed_much_limits_the_stakes_though_it_was_not_drawn() -> None:
    """Else the luck that none of the heavy answers was drawn would look like a proof."""
    heavy = [
        replace(answer, is_drawn=False, difference=None, reviewed_at=None) for answer in reviewed(600, -1, 1, 20.0)
    ]
    assert judged(reviewed(30, 1), 2, compared=60).proved_worse
    assert not judged([*reviewed(30, 1), *heavy], 8, compared=60).proved_worse


def test_the_luck_of_the_draw_blames_no_equal_version() -> None:
    """The new version loses among answers that are all drawn, and wins as many among those drawn at 1 in 20."""
    generator, blamed = np.random.default_rng(8), 0
    for _ in range(300):
        drawn = generator.binomial(1, 0.05, 30)
        light, heavy = reviewed(30, 1), reviewed(30, -1, 2.0, 20.0)
        heavy = [
            answer if is_drawn else replace(answer, is_drawn=False, difference=None, reviewed_at=None)
            for answer, is_drawn in zip(heavy, drawn, strict=True)
        ]
        blamed += judged([*light, *heavy], 8, compared=100).proved_worse
    assert blamed <= 6


def test_one_look_or_many_give_the_same_and_the_state_survives_json() -> None:
    found = judged([*reviewed(3, 1), *reviewed(2, -1), *reviewed(1, 0)], 2)
    assert (found.labelled, found.lost, found.won, found.differing) == (6, 3, 2, 6)
    assert VersionComparison.from_json(found.to_json()) == found
    assert found.sentence(7, 6) == (
        "Of 4,000 answers put to both versions 6 differ, 6 of them labelled: 3 that version 7 read wrong are read "
        "right by version 6, and 2 the other way round."
    )
    with pytest.raises(WindowError, match="begin a new one"):
        VersionComparison.from_json({"wealth": [1.0]})


def test_all_looks_of_a_comparison_without_an_end_share_its_level() -> None:
    endless = replace(TERMS, until=None)
    spent = sum(endless.week_level(week) for week in range(1, 10_000))
    assert spent + endless.early_level <= TERMS.level / 2
    assert TERMS.week_level(1) + TERMS.early_level == pytest.approx(TERMS.level / 2)
