"""Labels: repeated, superseding, late, all at once; and which of them is the truth."""

from datetime import datetime, timedelta
from functools import partial
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from mlplatform.errors import NotFoundError
from mlplatform.feedback import label_records
from mlplatform.feedback.label_precedence import SOURCES_BY_TRUST, CurrentLabel, LabelSource, resolve_truths
from mlplatform.feedback.label_records import FeedbackReceipt, SubmittedLabel
from mlplatform.store.database import Database
from mlplatform.store.tables.feedback import feedback as table
from tests.support.platform_world import START, prediction, recorded
from tests.support.store_rows import together, writing

pytestmark = pytest.mark.both_databases

MINUTE = timedelta(minutes=1)


def take(database: Database, *labels: SubmittedLabel, at: datetime = START + 60 * MINUTE) -> list[FeedbackReceipt]:
    with database.write() as connection:
        return label_records.insert_labels(connection, labels, at)


def label(key: str, said: str, minute: int = 0, source: LabelSource = "audit", reviewer: str = "ada") -> SubmittedLabel:
    return SubmittedLabel(key, said, source, reviewer, START + minute * MINUTE)


def current(database: Database, key: str) -> list[str]:
    with database.read() as connection:
        return [row.label for row in label_records.current_labels(connection, key)]


def rows(database: Database) -> int:
    with database.read() as connection:
        return len(connection.execute(select(table.c.id)).all())


@pytest.fixture
def key(database: Database) -> str:
    return recorded(database, prediction())[0]


def test_a_first_label_is_recorded_with_the_times_it_was_given_and_received(database: Database, key: str) -> None:
    [accepted] = take(database, label(key, "5"))
    assert (accepted.prediction_id, accepted.outcome) == (key, "recorded")
    with database.read() as connection:
        row = connection.execute(select(table)).one()
    assert (row.id, row.at, row.received_at) == (accepted.id, START, START + 60 * MINUTE)
    assert row.superseded_by is None


def test_the_same_label_again_writes_nothing_and_names_the_row_that_holds_it(database: Database, key: str) -> None:
    [first] = take(database, label(key, "5"))
    [again] = take(database, label(key, "5", minute=3))
    assert (again.id, again.outcome) == (first.id, "repeated")
    assert rows(database) == 1


def test_another_label_given_later_supersedes_and_the_old_row_stays(database: Database, key: str) -> None:
    [first] = take(database, label(key, "5"))
    [second] = take(database, label(key, "6", minute=1))
    assert second.outcome == "superseded"
    assert current(database, key) == ["6"]
    with database.read() as connection:
        assert connection.scalar(select(table.c.superseded_by).where(table.c.id == first.id)) == second.id


def test_another_label_given_earlier_that_arrives_late_is_history_only(database: Database, key: str) -> None:
    [first] = take(database, label(key, "6", minute=1))
    [late] = take(database, label(key, "5"))
    assert late.outcome == "late"
    assert current(database, key) == ["6"]
    with database.read() as connection:
        assert connection.scalar(select(table.c.superseded_by).where(table.c.id == late.id)) == first.id


def test_another_label_of_the_same_moment_supersedes(database: Database, key: str) -> None:
    take(database, label(key, "5"))
    [second] = take(database, label(key, "6"))
    assert second.outcome == "superseded"
    assert current(database, key) == ["6"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_different_labels_in_any_order_of_arrival_leave_the_one_given_last(
    database: Database, key: str, order: tuple[int, ...]
) -> None:
    for minute in order:
        take(database, label(key, str(minute), minute))
    assert current(database, key) == ["2"]
    assert rows(database) == 3


def test_a_batch_sent_twice_is_repeated_even_where_it_was_late_or_superseded(database: Database, key: str) -> None:
    batch = [label(key, "6", 2), label(key, "5", 1), label(key, "7", 3)]
    first = take(database, *batch)
    assert [item.outcome for item in first] == ["recorded", "late", "superseded"]
    again = take(database, *batch)
    assert [item.outcome for item in again] == ["repeated"] * 3
    assert [item.id for item in again] == [item.id for item in first]
    assert (current(database, key), rows(database)) == (["7"], 3)


def test_a_label_taken_back_and_given_again_later_counts_again(database: Database, key: str) -> None:
    outcomes = [take(database, label(key, said, minute))[0].outcome for minute, said in enumerate("565")]
    assert outcomes == ["recorded", "superseded", "superseded"]
    assert current(database, key) == ["5"]


def test_sources_and_reviewers_keep_a_current_label_each(database: Database, key: str) -> None:
    take(database, label(key, "1"), label(key, "2", reviewer="bob"), label(key, "3", source="delayed"))
    assert sorted(current(database, key)) == ["1", "2", "3"]


def test_one_unknown_prediction_refuses_the_whole_batch_and_names_it(database: Database, key: str) -> None:
    with pytest.raises(NotFoundError, match=r"1 prediction id\(s\) not known: nosuch; nothing was taken"):
        take(database, label(key, "5"), label("nosuch", "5"))
    with pytest.raises(NotFoundError):
        take(database, label("nul\0", "5"))
    assert rows(database) == 0


def test_no_labels_at_all_is_no_error(database: Database) -> None:
    assert take(database) == []


def test_two_reviews_of_one_prediction_at_once_leave_one_current_label(database: Database, key: str) -> None:
    for minute in range(5):
        said = [label(key, name, minute) for name in "12"]
        results = together(
            *(writing(database, partial(label_records.insert_labels, labels=[x], received_at=START)) for x in said)
        )
        assert not [result for result in results if isinstance(result, Exception)]
        assert len(current(database, key)) == 1


def test_the_same_label_many_times_at_once_is_one_row(database: Database, key: str) -> None:
    results = together(*[writing(database, lambda c: label_records.insert_labels(c, [label(key, "5")], START))] * 6)
    outcomes = [item.outcome for result in results if not isinstance(result, Exception) for item in result]
    assert sorted(outcomes) == ["recorded"] + ["repeated"] * 5
    assert rows(database) == 1


def test_batches_in_opposite_order_at_once_wait_for_each_other_and_all_are_taken(database: Database) -> None:
    keys = recorded(database, *(prediction(seed=seed) for seed in range(30)))
    batches = [[label(key, said, 1) for key in order] for said, order in (("1", keys), ("2", keys[::-1])) * 3]
    results = together(
        *(writing(database, partial(label_records.insert_labels, labels=x, received_at=START)) for x in batches)
    )
    assert not [result for result in results if isinstance(result, Exception)]
    with database.read() as connection:
        held = connection.scalars(select(table.c.prediction_id).where(table.c.superseded_by.is_(None))).all()
    assert sorted(held) == sorted(keys)


def said(name: str, source: LabelSource, minute: int, key: str = "p") -> CurrentLabel:
    return CurrentLabel(f"id-{name}", key, name, source, START + minute * MINUTE)


def test_the_audit_is_the_truth_before_the_delayed_before_the_correction() -> None:
    audit, delayed, correction = said("1", "audit", 0), said("2", "delayed", 1), said("3", "correction", 2)
    for order in permutations([audit, delayed, correction]):
        assert resolve_truths(order) == {"p": audit}
    assert resolve_truths([correction, delayed]) == {"p": delayed}


def test_within_a_source_the_latest_label_is_the_truth() -> None:
    assert resolve_truths([said("1", "audit", 5), said("2", "audit", 4)])["p"].label == "1"
    assert resolve_truths([]) == {}


@given(
    st.lists(
        st.builds(said, st.sampled_from("0123456789"), st.sampled_from(SOURCES_BY_TRUST), st.integers(0, 3)),
        max_size=6,
    ).flatmap(lambda items: st.tuples(st.just(items), st.permutations(items)))
)
def test_the_truth_does_not_depend_on_the_order_of_the_rows(
    pair: tuple[list[CurrentLabel], list[CurrentLabel]],
) -> None:
    items, shuffled = pair
    assert resolve_truths(items) == resolve_truths(shuffled)
