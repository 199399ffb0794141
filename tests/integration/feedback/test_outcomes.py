"""Labels in the order they became known: each read once by whoever keeps a cursor, and counted for windows."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, delete, select, text

from mlplatform.feedback import label_records, outcome_counts, outcomes
from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.predictions import sampling_plans
from mlplatform.predictions.prediction_counts import minute_index
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.store import database as database_module
from mlplatform.store.database import Database
from mlplatform.store.rollups import ROLLUP_SPANS, span_start
from mlplatform.store.tables.base import UtcDateTime
from mlplatform.store.tables.feedback import label_count_rollups, label_counts, sequence_counters
from mlplatform.store.tables.feedback import outcomes as table
from mlplatform.store.tables.predictions import predictions
from mlplatform.store.tables.predictions import review_samples as review_samples_table
from mlplatform.store.version_contracts import VersionContracts
from monitors.decisions.group_gap import count_by_group
from monitors.rules.alerts_config import Source
from monitors.rules.block_unit import REQUEST_UNIT
from monitors.windows.window_counts import LabelCount, Outcome
from registry.model_contract import ImageInputs, ModelContract
from registry.prediction_task import Classification
from tests.support.platform_world import START, FakeCatalog, prediction, recorded, schema_of_its_own
from tests.support.store_rows import is_new_for, together, writing

pytestmark = pytest.mark.both_databases

MINUTE = timedelta(minutes=1)


def told(
    database: Database, key: str, label: str, source: LabelSource = "audit", minutes: int = 0, who: str = "ada"
) -> None:
    at = START + minutes * MINUTE
    with database.write() as connection:
        label_records.insert_labels(connection, [SubmittedLabel(key, label, source, who, at)], at)


def read(database: Database, cursor: int = 0, version: int = 1, limit: int = 100) -> list[Outcome]:
    with database.read() as connection:
        return outcomes.outcomes_after(connection, "digits", version, cursor, limit)


def counts(database: Database, minutes: tuple[int, int] = (0, 60), version: int = 1) -> list[LabelCount]:
    start, end = (START + each * MINUTE for each in minutes)
    with database.read() as connection:
        return outcome_counts.window_label_counts(connection, "digits", version, start, end)


def test_a_mistake_costs_what_the_contract_of_its_version_says(database: Database) -> None:
    costs = Classification(("1", "2", "3"), {("1", "2"): 5.0, ("2", "1"): 2.0})
    contracts = VersionContracts(FakeCatalog)
    with database.write() as connection:
        contracts.pin(connection, ModelContract(ImageInputs(28, 28), costs), "digits", 1, START)
    right, dear, cheap, plain = recorded(database, *(prediction(label=label) for label in "1213"))
    [unpinned] = recorded(database, prediction(label="1", version=2))
    for key, truth in ((right, "1"), (dear, "1"), (cheap, "2"), (plain, "1"), (unpinned, "2")):
        told(database, key, truth)
    assert {row.prediction_id: row.loss for row in (*read(database), *read(database, version=2))} == {
        right: 0.0,
        dear: 1.0,
        cheap: 0.4,
        plain: 0.2,
        unpinned: 1.0,
    }
    told(database, cheap, "1", minutes=1)
    assert {row.prediction_id: row.loss for row in read(database)}[cheap] == 0.0, "the truth was corrected"


def test_a_window_that_begins_after_its_end_holds_nothing(database: Database) -> None:
    [key] = recorded(database, prediction())
    told(database, key, "5")
    assert counts(database, minutes=(30, 0)) == []


def test_labels_are_read_once_in_the_order_they_became_known(database: Database) -> None:
    ids = recorded(database, *(prediction(seed=seed) for seed in range(3)))
    for place in (2, 0, 1):
        told(database, ids[place], "5", minutes=place)
    rows = read(database)
    assert [row.prediction_id for row in rows] == [ids[2], ids[0], ids[1]]
    assert [row.seq for row in rows] == [1, 2, 3]
    assert read(database, cursor=rows[1].seq) == rows[2:]
    assert read(database, limit=2) == rows[:2]
    assert (rows[0].label, rows[0].truth, rows[0].known_at) == ("3", "5", START + 2 * MINUTE)


def test_versions_are_read_apart(database: Database) -> None:
    first, second = recorded(database, prediction(), prediction(version=2))
    told(database, second, "3")
    told(database, first, "3")
    assert [row.prediction_id for row in read(database)] == [first]
    assert [row.prediction_id for row in read(database, version=2)] == [second]


def test_the_same_label_again_and_a_late_one_change_nothing(database: Database) -> None:
    [key] = recorded(database, prediction())
    told(database, key, "5", minutes=5)
    before = read(database)
    told(database, key, "5", minutes=6)
    told(database, key, "7", minutes=1)
    assert read(database) == before


def test_a_label_changed_by_its_source_keeps_its_number_and_its_truth_follows(database: Database) -> None:
    [key] = recorded(database, prediction())
    told(database, key, "5")
    told(database, key, "3", minutes=9)
    [row] = read(database)
    assert (row.seq, row.truth, row.known_at) == (1, "3", START)
    assert counts(database) == [LabelCount("audit", "3", "3", 1.0, 1)]


def test_a_more_trusted_source_moves_the_row_to_the_end_and_leaves_a_mark(database: Database) -> None:
    first, second = recorded(database, prediction(), prediction(seed=1))
    told(database, first, "5", "correction")
    told(database, second, "3", "delayed")
    told(database, first, "3", "audit", minutes=4)
    rows = read(database)
    assert [(row.prediction_id, row.source, row.source_sequence) for row in rows] == [
        (second, "delayed", {"delayed": 2}),
        (first, "audit", {"correction": 1, "audit": 3}),
    ]
    assert rows[1].seq == 3
    assert is_new_for(rows[1], {"audit", "delayed"}, 2)
    assert not is_new_for(rows[1], {"audit", "correction"}, 2)
    assert not is_new_for(rows[0], {"audit"}, 0)
    assert {(each.source, each.n) for each in counts(database)} == {("audit", 1), ("delayed", 1)}


def test_a_delayed_label_after_an_audit_is_a_label_to_read_and_leaves_the_truth(database: Database) -> None:
    [key] = recorded(database, prediction())
    told(database, key, "5", "audit")
    told(database, key, "3", "delayed", minutes=3)
    [row] = read(database)
    assert (row.seq, row.truth, row.source) == (2, "5", "audit")
    assert row.source_sequence == {"audit": 1, "delayed": 2}
    assert row.known_at == START + 3 * MINUTE
    assert not is_new_for(row, {"audit", "delayed"}, 1), "whoever takes either has read it"
    assert counts(database) == [LabelCount("audit", "5", "3", 1.0, 1)]
    told(database, key, "5", "delayed", minutes=4)
    assert read(database) == [row]


def test_an_answer_with_labels_of_two_sources_is_counted_by_each_as_it_weighs_them(database: Database) -> None:
    drawn, passed, plain = recorded(database, *(prediction(seed=seed) for seed in range(3)))
    with database.write() as connection:
        sampling_plans.publish(connection, "digits", 1, {"uniform": 0.5, "strata": {}}, START - MINUTE)
        row = {"prediction_id": drawn, "model_name": "digits", "model_version": 1, "at": START, "inclusion": 0.25}
        connection.execute(review_samples_table.insert().values(**row, heaviest=4.0, stratum="x", place="y"))
    for key in (drawn, passed, plain):
        told(database, key, "3", "delayed")
    for key in (drawn, passed):
        told(database, key, "5", "audit", minutes=1)

    def of(source: Source) -> list[LabelCount]:
        with database.read() as connection:
            hour = (START, START + 60 * MINUTE)
            whole = outcome_counts.source_label_counts(connection, "digits", 1, *hour, source)
            tags = {"client": "client"}
            assert outcomes.sliced_label_counts(connection, "digits", 1, *hour, source, tags) == whole
            return whole

    assert of("audit") == [LabelCount("audit", "5", "3", 4.0, 1)], "one that was passed over estimates nothing"
    assert of("delayed") == [LabelCount("delayed", "3", "3", 1.0, 1), LabelCount("delayed", "5", "3", 1.0, 2)]
    assert of("correction") == []


def test_labels_know_the_request_of_their_answer(database: Database) -> None:
    [key] = recorded(database, prediction())
    told(database, key, "5")
    with database.read() as connection:
        asked = connection.scalar(select(predictions.c.request_id).where(predictions.c.id == key))
    assert [row.request_id for row in read(database)] == [asked]


def test_a_less_trusted_label_afterwards_is_not_heard(database: Database) -> None:
    [key] = recorded(database, prediction())
    told(database, key, "5", "audit")
    told(database, key, "3", "correction", minutes=3)
    [row] = read(database)
    assert (row.truth, row.source) == ("5", "audit")


def test_counts_are_of_the_minutes_in_which_answers_were_given(database: Database) -> None:
    rows = [prediction(START + minute * MINUTE, seed=minute, label=str(minute % 2)) for minute in range(6)]
    for key in recorded(database, *rows):
        told(database, key, "1", "delayed", minutes=50)
    assert counts(database, (2, 4)) == [
        LabelCount("delayed", "1", "0", 1.0, 2),
        LabelCount("delayed", "1", "1", 1.0, 1),
    ]
    assert counts(database, (20, 30)) == []


def test_a_long_window_counts_each_label_once_and_follows_a_truth_that_changes(database: Database) -> None:
    days = [START + timedelta(hours=7 * n, minutes=13 * n) for n in range(20)]
    ids = recorded(database, *(prediction(at, seed=n) for n, at in enumerate(days)))
    for key in ids:
        told(database, key, "5", "delayed")
    for key in ids[::2]:
        told(database, key, "3", "audit", minutes=1)
    for first, last in ((0, 20), (1, 19), (4, 6), (3, 3), (0, 1)):
        with database.read() as connection:
            found = outcome_counts.window_label_counts(connection, "digits", 1, days[first], days[min(last, 19)])
        inside = ids[first : last + 1]
        right = sum(key in ids[::2] for key in inside)
        wanted = [("audit", "3", right), ("delayed", "5", len(inside) - right)]
        assert [(each.source, each.truth, each.n) for each in found] == [each for each in wanted if each[2]]


def test_the_newest_label_is_that_of_the_sources_asked_for_and_of_one_that_may_estimate(database: Database) -> None:
    ids = recorded(database, *(prediction(seed=seed) for seed in range(4)))
    with database.write() as connection:
        sampling_plans.publish(connection, "digits", 1, {"uniform": 1e-4, "strata": {}}, START + MINUTE / 2)
    [passed_over] = recorded(database, prediction(START + MINUTE, seed=9))
    told(database, ids[0], "3", "audit", minutes=2)
    told(database, ids[1], "3", "delayed", minutes=3)
    told(database, ids[2], "5", "correction", minutes=4)
    told(database, passed_over, "3", "audit", minutes=5)
    with database.read() as connection:
        newest = partial(outcomes.latest_label_time, connection, "digits", 1)
        assert newest({"audit"}) == START + 2 * MINUTE, "the later one was passed over by the draw and weighs nothing"
        assert newest({"audit", "delayed"}) == START + 3 * MINUTE
        assert newest({"audit", "delayed", "correction"}) == START + 4 * MINUTE
        assert outcomes.latest_label_time(connection, "digits", 2, {"audit"}) is None


def test_writers_at_once_give_each_label_its_own_number(database: Database) -> None:
    batches = [recorded(database, *(prediction(seed=seed) for seed in range(5))) for _ in range(6)]
    given = [[SubmittedLabel(key, "5", "audit", "ada", START) for key in ids] for ids in batches]
    jobs = [
        writing(database, partial(label_records.insert_labels, labels=labels, received_at=START)) for labels in given
    ]
    assert not [each for each in together(*jobs) if isinstance(each, Exception)]
    assert [row.seq for row in read(database)] == list(range(1, 31))
    assert [each.n for each in counts(database)] == [30]


def test_a_failed_transaction_leaves_no_gap_that_a_cursor_could_pass(database: Database) -> None:
    first, second = recorded(database, prediction(), prediction(seed=1))

    def fail() -> None:
        with database.write() as connection:
            label_records.insert_labels(connection, [SubmittedLabel(first, "5", "audit", "ada", START)], START)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    told(database, second, "3")
    assert [(row.prediction_id, row.seq) for row in read(database)] == [(second, 1)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from("35"),
            st.sampled_from(["audit", "delayed", "correction"]),
            st.integers(0, 5),
            st.sampled_from(["ada", "bob"]),
            st.booleans(),
        ),
        max_size=15,
    )
)
def test_counts_and_rows_always_agree_and_a_reader_reads_each_answer_once_whenever_it_reads(
    database: Database, said: list[tuple[int, str, LabelSource, int, str, bool]]
) -> None:
    with database.write() as connection:
        for kept in (table, label_counts, label_count_rollups, sequence_counters):
            connection.execute(delete(kept))
    ids = recorded(database, *(prediction(seed=seed) for seed in range(4)))
    cursor, heard = 0, list[str]()
    for place, label, source, minutes, who, now in [*said, (0, "3", "correction", 0, "eve", True)]:
        told(database, ids[place], label, source, minutes, who)
        rows = read(database, cursor) if now else []
        heard += [row.prediction_id for row in rows if is_new_for(row, {"audit", "delayed"}, cursor)]
        cursor = max([cursor, *(row.seq for row in rows)])
    assert len(heard) == len(set(heard))
    rows = read(database)
    assert set(heard) == {row.prediction_id for row in rows if row.source != "correction"}
    assert sum(each.n for each in counts(database)) == len(rows)
    for each in counts(database):
        assert each.n == sum(
            (row.source, row.truth, row.label) == (each.source, each.truth, each.label) for row in rows
        )


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def old_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A store as the first migration left it."""
    with schema_of_its_own() if request.param == "postgres" else nullcontext(f"sqlite:///{tmp_path}/old.db") as url:
        made = Database(url)
        migrate(made, "0001")
        yield made
        made.close()


def migrate(old: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database_module.__file__).parent / "migrations"))
    with old.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_answers_with_two_labels_are_counted_by_both_after_the_migration(old_database: Database) -> None:
    migrate(old_database, "0018")
    seen = {"p0": "delayed:1 audit:3", "p1": "audit:2", "p2": "audit:4"}
    with old_database.write() as connection:
        connection.execute(text("INSERT INTO images (hash, png, at) VALUES ('h', '', :at)"), {"at": "2026-03-01"})
        for key, told_by in seen.items():
            at = {"at": START.replace(tzinfo=None)}
            connection.execute(
                text(
                    "INSERT INTO predictions (id, at, model_name, model_version, image_hash, label, probabilities, "
                    f"confidence, latency_ms, request_id) VALUES ('{key}', :at, 'digits', 1, 'h', '3', '[]', 0.9, 1, "
                    f"'asked {key}')"
                ),
                at,
            )
            connection.execute(
                text(
                    "INSERT INTO outcomes (prediction_id, seq, model_name, model_version, at, known_at, label, truth, "
                    f"source, seen, confidence, weight) VALUES ('{key}', {told_by[-1]}, 'digits', 1, :at, :at, '3', "
                    f"'3', 'audit', '{told_by}', 0.9, 1)"
                ),
                at,
            )
        minute = minute_index(START)
        cell = "'digits', 1, {}, 'audit', '3', '3', 1, 3)"
        names = "model_name, model_version, {}minute, source, truth, label, weight, n"
        connection.execute(text(f"INSERT INTO label_counts ({names.format('')}) VALUES ({cell.format(minute)}"))
        for span in ROLLUP_SPANS:
            values = cell.format(f"{span}, {span_start(minute, span)}")
            connection.execute(text(f"INSERT INTO label_count_rollups ({names.format('span, ')}) VALUES ({values}"))
    old_database.upgrade()
    assert counts(old_database) == [LabelCount("audit", "3", "3", 1.0, 3)]
    with old_database.read() as connection:
        for hours in (1, 48):
            day = (START, START + timedelta(hours=hours))
            delayed = outcome_counts.source_label_counts(connection, "digits", 1, *day, "delayed")
            assert delayed == [LabelCount("delayed", "3", "3", 1.0, 1)]
    assert [row.request_id for row in read(old_database)] == ["asked p1", "asked p0", "asked p2"]


def test_labels_taken_before_the_tables_existed_are_numbered_by_the_migration(old_database: Database) -> None:
    answers = [(f"p{n}", START + n * MINUTE) for n in range(3)]
    said = [
        ("f0", "p1", "5", "correction", 1, None),
        ("f1", "p0", "3", "delayed", 2, None),
        ("f2", "p1", "3", "audit", 3, None),
        ("f3", "p2", "3", "audit", 4, "f4"),
        ("f4", "p2", "5", "audit", 5, None),
    ]
    images, old_predictions, old_feedback = (
        Table(name, MetaData(), *(Column(each, UtcDateTime if each.endswith("at") else None) for each in columns))
        for name, columns in OLD.items()
    )
    with old_database.write() as connection:
        connection.execute(images.insert().values(hash="h", png=b"", at=START))
        for key, at in answers:
            row = {"id": key, "at": at, "model_name": "digits", "model_version": 1, "image_hash": "h", "label": "3"}
            rest = {"probabilities": "[]", "confidence": 0.9, "latency_ms": 1.0, "request_id": key, "client_id": "c"}
            connection.execute(old_predictions.insert().values(**row, **rest))
        for key, prediction_id, label, source, minutes, after in said:
            at = START + minutes * MINUTE
            row = {"id": key, "prediction_id": prediction_id, "label": label, "source": source, "reviewer": "ada"}
            connection.execute(old_feedback.insert().values(**row, at=at, received_at=at, superseded_by=after))
    migrate(old_database, "0006")
    with old_database.write() as connection:
        connection.execute(text("UPDATE judged SET seen = 'correction' WHERE prediction_id = 'p1'"))  # its name then
    old_database.upgrade()
    assert counts(old_database) == [
        LabelCount("audit", "3", "3", 1.0, 1),
        LabelCount("audit", "5", "3", 1.0, 1),
        LabelCount("delayed", "3", "3", 1.0, 1),
    ]
    rows = [(row.prediction_id, row.truth, row.source, row.weight, row.share) for row in read(old_database)]
    assert rows == [("p0", "3", "delayed", 1, 1), ("p1", "3", "audit", 1, 1), ("p2", "5", "audit", 1, 1)]
    numbers = [row.source_sequence for row in read(old_database)]
    assert numbers == [{"delayed": 1}, {"correction": 0, "audit": 2}, {"audit": 3}]
    told(old_database, recorded(old_database, prediction())[0], "3", minutes=9)
    assert [row.seq for row in read(old_database)] == [1, 2, 3, 4]


OLD = {
    "images": ("hash", "png", "at"),
    "predictions": (
        *("id", "at", "model_name", "model_version", "image_hash", "label", "probabilities", "confidence"),
        *("latency_ms", "request_id", "client_id"),
    ),
    "feedback": ("id", "prediction_id", "label", "source", "reviewer", "at", "received_at", "superseded_by"),
}


def sent(tags: dict[str, str], seed: int = 0, minutes: int = 0, client: str = "client") -> PredictionWithInput:
    """An answer whose picture came with these tags."""
    made = prediction(START + minutes * MINUTE, seed=seed)
    return replace(made, prediction=replace(made.prediction, tags=tags, client_id=client))


def in_window(
    database: Database, tags: dict[str, str], limit: int = 100, sources: tuple[LabelSource, ...] = ("audit",)
) -> list[str]:
    with database.read() as connection:
        found = outcomes.newest_outcomes(connection, "digits", 1, START, START + 10 * MINUTE, sources, tags, limit)
    return [row.prediction_id for row in found]


def test_the_labels_of_a_slice_are_those_whose_answers_came_with_its_tags(database: Database) -> None:
    flatbed, phone, bare, late = recorded(
        database,
        sent({"scanner": "flatbed", "writer": "a'b\"c"}, seed=1, minutes=1),
        sent({"scanner": "phone"}, seed=2, minutes=2, client="till"),
        sent({}, seed=3, minutes=3),
        sent({"scanner": "flatbed"}, seed=4, minutes=10),
    )
    for key in (flatbed, phone, bare, late):
        told(database, key, "3")
    assert in_window(database, {}) == [bare, phone, flatbed]
    assert in_window(database, {"scanner": "flatbed"}) == [flatbed]
    assert in_window(database, {"scanner": "flatbed", "writer": "a'b\"c"}) == [flatbed]
    assert in_window(database, {"scanner": "phone", "client": "till"}) == [phone]
    assert in_window(database, {"scanner": "fax"}) == []
    assert in_window(database, {}, limit=2) == [bare, phone]
    assert in_window(database, {}, sources=("delayed",)) == []


def test_the_newest_label_of_a_slice_may_be_older_than_that_of_the_whole(database: Database) -> None:
    flatbed, phone = recorded(database, sent({"scanner": "flatbed"}, seed=1), sent({"scanner": "phone"}, seed=2))
    told(database, flatbed, "3", minutes=1)
    told(database, phone, "3", minutes=2)
    with database.read() as connection:
        assert outcomes.latest_label_time(connection, "digits", 1, ["audit"]) == START + 2 * MINUTE
        assert outcomes.latest_label_time(connection, "digits", 1, ["audit"], {"scanner": "flatbed"}) == START + MINUTE
        assert outcomes.latest_label_time(connection, "digits", 1, ["audit"], {"scanner": "fax"}) is None


def test_the_labels_of_a_slice_are_counted_by_what_they_have_in_a_tag(database: Database) -> None:
    tags = [{"scanner": "flatbed"}, {"scanner": "flatbed"}, {"scanner": "phone", "ink": "blue"}, {}]
    ids = recorded(database, *(sent(each, seed=place) for place, each in enumerate(tags)))
    for key, truth in zip(ids, ("3", "3", "5", "3"), strict=True):
        told(database, key, truth)

    window = ("digits", 1, START, START + MINUTE, ["audit"])

    def counted(by: str, limit: int = 100, **part: str) -> dict[str, dict[str, int]]:
        with database.read() as connection:
            rows = outcomes.newest_outcomes(connection, *window, part, limit)
        found = count_by_group(rows, by, REQUEST_UNIT)
        return {name: {cell.truth: cell.n for cell in cells} for name, cells in found.items()}

    assert counted("scanner") == {"flatbed": {"3": 2}, "phone": {"5": 1}, "": {"3": 1}}
    assert counted("scanner", ink="blue") == {"phone": {"5": 1}}
    assert counted("client") == {"client": {"3": 3, "5": 1}}
    assert sum(sum(each.values()) for each in counted("scanner", limit=2).values()) == 2
    with database.read() as connection:
        found = outcomes.newest_label_counts(connection, *window, {"scanner": "flatbed"})
    assert {cell.truth: cell.n for cell in found} == {"3": 2}
