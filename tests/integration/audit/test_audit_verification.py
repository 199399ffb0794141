"""Whatever is changed, removed, added or put elsewhere in the audit log and in predictions is found and named."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, select, text, update

from mlplatform.audit import audit_entries, hash_chain
from mlplatform.audit.checkpoints import Checkpoint
from mlplatform.audit.verification_report import VerificationReport
from mlplatform.predictions.prediction_records import insert_predictions
from mlplatform.store.database import Database
from mlplatform.store.tables.audit import audit_log, hash_chain_heads, prediction_attestations
from mlplatform.store.tables.predictions import inputs, predictions
from tests.support.platform_world import START, prediction
from tests.support.store_rows import together, verify_audit_log

pytestmark = pytest.mark.both_databases

ENTRIES, SERVERS, PER_BATCH = 6, ("one", "two"), 3


@pytest.fixture
def written(database: Database) -> Database:
    """Six entries by hand, and three batches of each of two servers, whose births make two more entries."""
    with database.write() as connection:
        for number in range(ENTRIES):
            details = {"reason": "ü", "number": number, "nested": {"b": [1.5, None], "a": True}}
            audit_entries.append(
                connection, "ada", "promote", f"digits/{number}", START + timedelta(seconds=number), details
            )
    for turn in range(3):
        for server in SERVERS:
            at = START + timedelta(minutes=turn)
            rows = [prediction(at, seed=seed, prediction_id=f"{server}-{turn}-{seed}") for seed in range(PER_BATCH)]
            with database.write() as connection:
                insert_predictions(connection, rows, server)
                insert_predictions(connection, rows, server)  # a repetition changes nothing
    return database


def faults(database: Database, *anchors: Checkpoint, signed: bool = False) -> list[str]:
    return verify_audit_log(database, anchors, signed=signed).faults


def spoil(database: Database, *statements: object) -> list[str]:
    """What verification finds after somebody was at the tables."""
    with database.write() as connection:
        for statement in statements:
            connection.execute(text(statement) if isinstance(statement, str) else statement)  # type: ignore[call-overload]
    return faults(database)


def heads(database: Database) -> Checkpoint:
    with database.read() as connection:
        return Checkpoint(
            "then",
            {head.name: (head.number, head.hash) for head in hash_chain.list_heads(connection)},
            authenticated=True,
        )


def test_what_was_written_is_sound(written: Database) -> None:
    report = verify_audit_log(written, [heads(written)], signed=True)
    assert report.faults == []
    assert (report.entries, report.batches, report.answers, report.anchored) == (ENTRIES + 2, 6, 18, 3)
    assert (report.erased, report.unchained, report.ok) == (0, 0, True)
    assert report.text.endswith("sound")


def test_nothing_at_all_is_sound(database: Database) -> None:
    assert verify_audit_log(database) == VerificationReport()


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("actor", "eve"),
        ("action", "rollback"),
        ("subject", "digits/9"),
        ("details", {"reason": "u"}),
        ("at", START + timedelta(microseconds=1)),
    ],
)
def test_an_entry_that_was_changed_is_named(written: Database, change: str, value: object) -> None:
    [found] = spoil(written, update(audit_log).where(audit_log.c.number == 3).values({change: value}))
    assert found.startswith("audit log: entry 3 (")
    assert "is not what was written" in found


def test_an_entry_that_was_changed_and_hashed_again_is_found_by_the_next(written: Database) -> None:
    with written.read() as connection:
        rows = {row.number: row for row in connection.execute(select(audit_log))}
    third = rows[3]
    forged = audit_entries.AuditEntry(third.at, "eve", third.action, third.subject, third.details)
    hashed = hash_chain.next_hash(rows[2].hash, forged.hash_content(3))
    [found] = spoil(written, update(audit_log).where(audit_log.c.number == 3).values(actor="eve", hash=hashed))
    assert found.startswith("audit log: entry 4 (")


def test_an_entry_that_was_removed_is_named_and_so_are_several(written: Database) -> None:
    assert spoil(written, delete(audit_log).where(audit_log.c.number == 3)) == ["audit log: entry 3 was removed"]
    found = spoil(written, delete(audit_log).where(audit_log.c.number.in_((3, 4, 5))))
    assert found == ["audit log: entry 3 to 5 was removed"]
    assert spoil(written, delete(audit_log).where(audit_log.c.number == 1))[0] == "audit log: entry 1 was removed"


def test_entries_that_changed_places_are_both_named(written: Database) -> None:
    def to(old: int, new: int) -> object:
        return update(audit_log).where(audit_log.c.number == old).values(number=new)

    found = spoil(written, to(2, -2), to(4, 2), to(-2, 4))
    assert [each.split(" (")[0] for each in found] == [f"audit log: entry {number}" for number in (2, 3, 4, 5)]


def test_an_entry_that_somebody_added_is_named(written: Database) -> None:
    row = {"at": START, "actor": "eve", "action": "promote", "subject": "digits/9", "details": {}}
    [found] = spoil(written, insert(audit_log).values(row))
    assert "(promote digits/9 by eve) is in no chain" in found
    with written.read() as connection:
        last = max(connection.scalars(select(audit_log.c.number).where(audit_log.c.number.is_not(None))))
    forged = update(audit_log).where(audit_log.c.actor == "eve").values(number=last + 1, hash="0" * 64)
    entry, end = spoil(written, forged)
    assert f"entry {last + 1} (promote digits/9 by eve" in entry
    assert "the chain's head says otherwise" in end


def test_an_end_that_was_cut_off_is_found_by_the_head(written: Database) -> None:
    assert spoil(written, delete(audit_log).where(audit_log.c.number >= 4))[0] == (
        f"audit log: entry 4 to {ENTRIES + 2} at the end was removed"
    )


def test_an_end_that_was_cut_off_with_its_head_is_found_by_an_anchor(written: Database) -> None:
    anchor = heads(written)
    with written.write() as connection:
        connection.execute(delete(audit_log).where(audit_log.c.number == ENTRIES + 2))
        last = connection.execute(select(audit_log).where(audit_log.c.number == ENTRIES + 1)).one()
        hash_chain.set_head(connection, hash_chain.ChainHead(hash_chain.LOG_CHAIN, ENTRIES + 1, last.hash), START)
        connection.execute(delete(prediction_attestations).where(prediction_attestations.c.chain == "two"))
        connection.execute(delete(hash_chain_heads).where(hash_chain_heads.c.name == "two"))
        connection.execute(delete(predictions).where(predictions.c.id.like("two-%")))
    assert faults(written) == []
    found = faults(written, anchor)
    assert found == [
        f"chain log: link {ENTRIES + 2} was there at then and is gone",
        "chain two: link 3 was there at then and is gone",
    ]


def test_a_chain_that_was_made_anew_is_found_by_an_anchor(written: Database) -> None:
    anchor = heads(written)
    with written.write() as connection:
        entries = [kept.entry for kept in audit_entries.iter_entries(connection)]
        connection.execute(delete(audit_log))
        connection.execute(delete(hash_chain_heads).where(hash_chain_heads.c.name == hash_chain.LOG_CHAIN))
        for entry in entries:
            audit_entries.append(
                connection, entry.actor.replace("ada", "eve"), entry.action, entry.subject, entry.at, entry.details
            )
    assert faults(written) == []
    assert faults(written, anchor) == [
        f"chain log: link {ENTRIES + 2} is not the one of then: what came before was made anew"
    ]


def test_an_anchor_that_the_key_does_not_vouch_for_is_named(written: Database) -> None:
    forged = Checkpoint("then", heads(written).heads, authenticated=False)
    assert faults(written, forged) == []
    assert len(faults(written, forged, signed=True)) == 3


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("label", "4"),
        ("confidence", 0.91),
        ("probabilities", [1.0] + [0.0] * 9),
        ("model_version", 2),
        ("latency_ms", 1.0),
        ("at", START),
    ],
)
def test_a_prediction_that_was_changed_is_named(written: Database, change: str, value: object) -> None:
    found = spoil(written, update(predictions).where(predictions.c.id == "two-1-2").values({change: value}))
    assert found == ["prediction two-1-2 is not what was recorded (chain two, batch 2)"]


def test_who_asked_may_be_erased_and_so_may_the_picture(written: Database) -> None:
    blank = update(predictions).values(client_id="", request_id="", tags=None)
    assert spoil(written, blank, update(inputs).values(content=b"")) == []


def test_a_prediction_that_was_removed_is_named_unless_the_log_says_so(written: Database) -> None:
    gone = delete(predictions).where(predictions.c.id.in_(("one-0-0", "two-2-1")))
    assert len(spoil(written, gone)) == 2
    with written.write() as connection:
        audit_entries.record_erasure(connection, "ada", START, ids=["one-0-0"])
    assert faults(written) == ["prediction two-2-1 was removed (chain two, batch 3)"]
    with written.write() as connection:
        audit_entries.record_erasure(connection, "retention", START, before=START + timedelta(minutes=2, seconds=1))
    report = verify_audit_log(written)
    assert (report.ok, report.erased, report.answers) == (True, 2, 16)


def test_a_prediction_that_no_server_recorded_is_named(written: Database) -> None:
    with written.write() as connection:
        row = connection.execute(select(predictions).where(predictions.c.id == "one-0-0")).one()
        connection.execute(insert(predictions).values({**row._mapping, "id": "forged"}))
    assert faults(written) == ["prediction forged was recorded by no server: it is in no batch"]


def test_a_batch_that_was_removed_or_changed_is_named(written: Database) -> None:
    one = prediction_attestations.c.chain == "one"
    found = spoil(written, delete(prediction_attestations).where(one, prediction_attestations.c.number == 2))
    assert found[0] == "chain one: batch 2 was removed"
    assert all("recorded by no server" in each for each in found[1:])
    assert len(found) == 1 + PER_BATCH
    found = spoil(
        written,
        update(prediction_attestations).where(one, prediction_attestations.c.number == 3).values(leaves=b"spoilt"),
    )
    assert any("batch 2 was removed" in each for each in found)


def test_a_chain_that_is_gone_with_its_head_is_missed_by_its_birth(written: Database) -> None:
    found = spoil(
        written,
        delete(prediction_attestations).where(prediction_attestations.c.chain == "two"),
        delete(hash_chain_heads).where(hash_chain_heads.c.name == "two"),
    )
    assert found[0] == "chain two: its birth is in the audit log, and all its batches are gone"


def test_a_head_alone_is_no_chain(written: Database) -> None:
    head = {"name": "ghost", "number": 4, "hash": "0" * 64, "at": START}
    assert spoil(written, insert(hash_chain_heads).values(head)) == ["chain ghost: it has a head and no batches"]


def test_many_writers_at_once_leave_one_chain(database: Database) -> None:
    def noting(name: str) -> Callable[[], None]:
        def note() -> None:
            for number in range(10):
                with database.write() as connection:
                    audit_entries.append(connection, name, "look", f"clock/{number}", START)
                    insert_predictions(connection, [prediction(prediction_id=f"{name}-{number}", seed=number)], name)

        return note

    assert together(*(noting(name) for name in "abcd")) == [None] * 4
    report = verify_audit_log(database)
    assert report.faults == []
    assert (report.entries, report.batches) == (44, 40)
