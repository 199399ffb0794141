"""An answer without a label gets the one its silence means, once, and loses it to whatever else is said."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, select

from mlplatform.clock import EPOCH
from mlplatform.context import AppContext
from mlplatform.errors import FencedError, InvalidInputError, SettingsError
from mlplatform.feedback import absent_labels
from mlplatform.feedback.absent_labels import known_until, write_absent_labels
from mlplatform.feedback.label_ingestion import record_labels
from mlplatform.feedback.label_records import ABSENT_REVIEWER, SubmittedLabel, current_labels
from mlplatform.ids import uuid7
from mlplatform.store.tables.feedback import feedback, outcomes
from mlplatform.store.timeouts import DatabaseTimeouts
from monitors.rules.absent_label import WRITING_TIME, AbsentLabel
from tests.support.platform_world import START, FakeClock, prediction, recorded

AFTER = timedelta(days=60)
ABSENT = AbsentLabel.model_validate({"label": "3", "after": "60d"})


def answered(context: AppContext, *moments: datetime, version: int = 1) -> list[str]:
    """Answers at these moments."""
    one = prediction()
    rows = [
        replace(one, prediction=replace(one.prediction, id=uuid7(), at=at, model_version=version)) for at in moments
    ]
    return recorded(context.database, *rows)


def labels_of(context: AppContext, ids: Sequence[str]) -> list[list[tuple[str, str]]]:
    with context.database.read() as connection:
        return [[(label.label, label.source) for label in current_labels(connection, key)] for key in ids]


def truths(context: AppContext) -> dict[str, tuple[str, str]]:
    with context.database.read() as connection:
        rows = connection.execute(select(outcomes.c.prediction_id, outcomes.c.truth, outcomes.c.source)).all()
    return {row.prediction_id: (row.truth, row.source) for row in rows}


def say(context: AppContext, key: str, label: str, at: datetime, source: str = "delayed") -> None:
    record_labels(context, [SubmittedLabel(key, label, source, "ledger", at)])  # type: ignore[arg-type]


@pytest.mark.both_databases
def test_only_answers_that_are_old_enough_and_without_a_label_get_it(context: AppContext, clock: FakeClock) -> None:
    now = START + timedelta(days=100)
    old, labelled, edge, young = answered(
        context, now - timedelta(days=90), now - timedelta(days=80), now - AFTER, now - AFTER + timedelta(seconds=1)
    )
    other = answered(context, now - timedelta(days=70), version=2)[0]
    clock.now = now
    say(context, labelled, "7", now - timedelta(days=79))
    assert write_absent_labels(context, ABSENT) == 3
    assert labels_of(context, [old, labelled, edge, young, other]) == [
        [("3", "delayed")], [("7", "delayed")], [("3", "delayed")], [], [("3", "delayed")],
    ]  # fmt: skip
    assert truths(context)[old] == ("3", "delayed")
    with context.database.read() as connection:
        row = connection.execute(select(feedback).where(feedback.c.prediction_id == old)).one()
    assert (row.at, row.reviewer, row.feed) == (now - timedelta(days=30), ABSENT_REVIEWER, ABSENT_REVIEWER)
    assert write_absent_labels(context, ABSENT) == 0, "done again, it writes nothing"
    clock.now = now + timedelta(seconds=1)
    assert write_absent_labels(context, ABSENT) == 1


@pytest.mark.both_databases
def test_any_later_label_takes_its_place_whenever_it_was_given(context: AppContext, clock: FakeClock) -> None:
    ids = answered(context, START, START + timedelta(seconds=1), START + timedelta(seconds=2))
    clock.now = START + timedelta(days=61)
    write_absent_labels(context, ABSENT)
    say(context, ids[0], "7", START + timedelta(days=20))  # known long before, and sent late
    say(context, ids[1], "7", START + timedelta(days=61), "correction")
    assert labels_of(context, ids) == [[("7", "delayed")], [("7", "correction")], [("3", "delayed")]]
    assert truths(context) == {ids[0]: ("7", "delayed"), ids[1]: ("7", "correction"), ids[2]: ("3", "delayed")}
    clock.now = START + timedelta(days=90)
    assert write_absent_labels(context, ABSENT) == 0, "what was said stands"


def test_an_answer_that_is_recorded_late_is_not_missed(context: AppContext, clock: FakeClock) -> None:
    short = AbsentLabel.model_validate({"label": "3", "after": "1d"})
    answered(context, START + timedelta(days=9))
    clock.now = START + timedelta(days=12)
    assert write_absent_labels(context, short) == 1
    late = answered(context, START + timedelta(days=2))  # its row lay in a spool for ten days
    clock.now += timedelta(days=1)
    assert write_absent_labels(context, short) == 1
    assert labels_of(context, late) == [[("3", "delayed")]]


def test_broken_off_it_goes_on_where_it_was(
    context: AppContext, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlplatform.feedback.absent_labels.BATCH_SIZE", 2)
    ids = answered(context, *(START + timedelta(seconds=second) for second in range(5)))
    clock.now = START + timedelta(days=61)
    calls = iter([True, False])

    def lose_lease(_connection: object) -> None:
        if not next(calls):
            raise FencedError("another leads")

    with pytest.raises(FencedError):
        write_absent_labels(context, ABSENT, lose_lease)
    assert [len(labels) for labels in labels_of(context, ids)] == [1, 1, 0, 0, 0]
    assert write_absent_labels(context, ABSENT) == 3
    assert [len(labels) for labels in labels_of(context, ids)] == [1] * 5


def written_until(context: AppContext, absent: AbsentLabel = ABSENT) -> datetime:
    with context.database.read() as connection:
        return known_until(connection, "digits", absent, context.clock())


def test_how_far_labels_are_all_there_is_told_by_what_was_looked_at_and_not_by_the_clock(
    context: AppContext, clock: FakeClock
) -> None:
    answered(context, START, START + timedelta(days=70))
    clock.now = START + timedelta(days=100)
    assert written_until(context) == EPOCH, "nobody has looked"
    write_absent_labels(context, ABSENT, may_go_on=lambda: False)
    assert written_until(context) == EPOCH, "nor looked to the end"
    write_absent_labels(context, ABSENT)
    assert written_until(context) == START + timedelta(days=40) - WRITING_TIME
    clock.now = START + timedelta(days=110)
    assert written_until(context) == START + timedelta(days=40), "since then the watcher has paused"


@pytest.mark.both_databases
@pytest.mark.parametrize("silence", ["1d", "60d"])
def test_a_clock_that_was_far_ahead_loses_no_answer(context: AppContext, clock: FakeClock, silence: str) -> None:
    absent = AbsentLabel.model_validate({"label": "3", "after": silence})
    ids = answered(context, START)
    clock.now = START + timedelta(days=3650)
    assert write_absent_labels(context, absent) == 1
    assert written_until(context, absent) == START, "not further than the data"
    clock.now = START + timedelta(hours=1)
    assert write_absent_labels(context, absent) == 0
    ids += answered(context, START - timedelta(hours=1), START, START + timedelta(days=1))
    clock.now = START + absent.after + timedelta(days=2)
    assert write_absent_labels(context, absent) == 3
    assert [len(labels) for labels in labels_of(context, ids)] == [1] * 4


def test_answers_that_a_clock_dated_in_the_future_hold_up_no_others(context: AppContext, clock: FakeClock) -> None:
    answered(context, START, START + timedelta(days=3000))
    clock.now = START + timedelta(days=3650)
    assert write_absent_labels(context, ABSENT) == 2
    clock.now = START + timedelta(days=61)
    write_absent_labels(context, ABSENT)
    late = answered(context, START + timedelta(days=10))
    clock.now = START + timedelta(days=71)
    assert write_absent_labels(context, ABSENT) == 1
    assert labels_of(context, late) == [[("3", "delayed")]]


def test_a_look_begins_where_the_last_one_ended_and_looks_back_once_a_day(
    context: AppContext, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, begun, limits = AbsentLabel.model_validate({"label": "3", "after": "1d"}), list[datetime](), set[float]()

    def noted(connection: Connection, *where: object) -> list[tuple[datetime, str]]:
        begun.append(where[2][0])  # type: ignore[index]
        limits.add(DatabaseTimeouts().current_limits()[0])
        return find(connection, *where)  # type: ignore[arg-type]

    find = absent_labels._unlabelled
    monkeypatch.setattr(absent_labels, "_unlabelled", noted)
    answered(context, START + timedelta(days=40))
    clock.now = START + timedelta(days=50)
    write_absent_labels(context, short)
    clock.now += timedelta(minutes=10)
    write_absent_labels(context, short)
    assert begun[-1] == START + timedelta(days=40)
    clock.now += timedelta(days=1)
    write_absent_labels(context, short)
    assert begun[-1] == START + timedelta(days=20), "what was recorded since the last look back is no older"
    assert limits == {DatabaseTimeouts().long_statement_seconds}


def test_written_late_it_was_still_known_in_time(context: AppContext, clock: FakeClock) -> None:
    key = answered(context, START)[0]
    clock.now = START + timedelta(days=100)
    write_absent_labels(context, ABSENT)
    with context.database.read() as connection:
        known = connection.execute(select(outcomes.c.known_at).where(outcomes.c.prediction_id == key)).scalar_one()
        received = connection.execute(select(feedback.c.received_at)).scalar_one()
    assert (known, received) == (START + AFTER, clock.now)


def test_asked_to_stop_it_leaves_the_rest_for_the_next_time(context: AppContext, clock: FakeClock) -> None:
    answered(context, START)
    clock.now = START + timedelta(days=61)
    assert write_absent_labels(context, ABSENT, may_go_on=lambda: False) == 0
    assert write_absent_labels(context, ABSENT) == 1


def test_a_label_that_is_no_class_is_named_and_nothing_is_written(context: AppContext, clock: FakeClock) -> None:
    answered(context, START)
    clock.now = START + timedelta(days=61)
    with pytest.raises(SettingsError, match=r"absent: the label 'no' in .* is no class of digits; known: 0, 1"):
        write_absent_labels(context, ABSENT.model_copy(update={"label": "no"}))
    assert write_absent_labels(context, None) == 0


def test_nobody_else_gives_labels_of_this_name(context: AppContext) -> None:
    key = answered(context, START)[0]
    with pytest.raises(InvalidInputError, match="is a model"):
        record_labels(context, [SubmittedLabel(key, "3", "delayed", ABSENT_REVIEWER, START)])
