"""Whoever may write to the database, and not to the anchors, is found out; what the platform does itself is sound."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, delete, insert, select, text, update

from mlplatform.alerting import outbox
from mlplatform.alerting.audit_contradiction import write_checkpoint_or_notify
from mlplatform.audit import audit_entries, checkpoints, hash_chain
from mlplatform.audit.checkpoint_file import EMPTY_DIGEST
from mlplatform.audit.checkpoints import AuditError
from mlplatform.context import AppContext
from mlplatform.operations.doctor.diagnostics import checkpoint_findings
from mlplatform.predictions.prediction_records import insert_predictions
from mlplatform.retention.apply_retention import apply_retention, erase_client
from mlplatform.settings import Settings
from mlplatform.store import leases
from mlplatform.store.database import Database, _alembic_config
from mlplatform.store.tables.audit import audit_checkpoint_files, audit_log, hash_chain_heads, prediction_attestations
from mlplatform.store.tables.auth import api_keys
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.predictions import predictions
from mlplatform.store.tables.promotion import promotions, quarantines
from tests.support.audit_world import (
    SERVERS,
    World,
    added,
    batches_anew,
    copied_world,
    grown,
    heads,
    label,
    later,
    line,
    log_anew,
    restored,
    swapped,
    without,
)
from tests.support.monitoring_world import with_rules
from tests.support.platform_world import START, FakeCatalog, FakeClock, prediction, recorded
from tests.support.store_rows import together, verify_audit_log

ONE, OTHER = SERVERS
Attack = Callable[[World, Connection], object]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> World:
    """A platform on SQLite that has grown, for tests to copy."""
    folder, clock = tmp_path_factory.mktemp("past"), FakeClock()
    shutil.copy(sqlite_template, folder / "platform.db")
    settings = Settings(_env_file=None, home=folder / "home", alerts_file=folder / "alerts.yaml")
    database = Database(f"sqlite:///{folder / 'platform.db'}")
    return grown(AppContext(settings, clock, database=database, catalog=FakeCatalog()), clock)


@pytest.fixture
def world(context: AppContext, clock: FakeClock, past: World) -> World:
    made = copied_world(past, context, clock) if context.database.is_sqlite else grown(context, clock)
    assert made.faults() == []
    return made


def _change_a_row_and_all_links(world: World, connection: Connection) -> None:
    connection.execute(update(predictions).where(predictions.c.id == world.ids[0]).values(label="9"))
    batches_anew(connection, ONE)


def _cut_the_tail_and_move_the_head(world: World, connection: Connection) -> None:
    last = (
        connection.scalar(select(hash_chain_heads.c.number).where(hash_chain_heads.c.name == hash_chain.LOG_CHAIN)) or 0
    )
    log_anew(connection, lambda number: number <= last - 2)


def _remove_a_chain(world: World, connection: Connection) -> None:
    mine = [key for turn in range(3) for key in world.ids[8 * turn + 4 : 8 * turn + 8]]
    without(connection, mine)
    connection.execute(delete(prediction_attestations).where(prediction_attestations.c.chain == OTHER))
    connection.execute(delete(hash_chain_heads).where(hash_chain_heads.c.name == OTHER))
    born = select(audit_log.c.number).where(audit_log.c.subject == f"chain/{OTHER}")
    number = connection.scalar(born)
    log_anew(connection, lambda each: each != number)


def _add_a_chain(world: World, connection: Connection) -> None:
    insert_predictions(connection, [prediction(world.clock(), seed=9)], "ghost")
    connection.execute(delete(hash_chain_heads).where(hash_chain_heads.c.name == "ghost"))


def _erase_all_in_the_future(world: World, connection: Connection) -> None:
    without(connection, world.ids)
    future = later(world.clock, days=400)
    added(
        connection,
        audit_entries.ERASE_ACTION,
        future,
        {"before": hash_chain.canonical_time(future), "ids": [], "answers": len(world.ids)},
    )


def _erase_what_is_later_than_the_entry(world: World, connection: Connection) -> None:
    without(connection, world.ids[20:])
    until = hash_chain.canonical_time(later(world.clock, days=1))
    added(connection, audit_entries.ERASE_ACTION, world.clock(), {"before": until, "ids": []})


def _erase_labelled_answers(world: World, connection: Connection) -> None:
    without(connection, world.ids[:2])
    now = world.clock()
    added(
        connection, audit_entries.ERASE_ACTION, now, {"before": hash_chain.canonical_time(now), "ids": [], "answers": 2}
    )


def _erase_more_than_is_said(world: World, connection: Connection) -> None:
    without(connection, world.ids[10:14])
    now = world.clock()
    added(
        connection, audit_entries.ERASE_ACTION, now, {"before": hash_chain.canonical_time(now), "ids": [], "answers": 3}
    )


def _erase_without_a_count(world: World, connection: Connection) -> None:
    now = hash_chain.canonical_time(world.clock())
    added(connection, audit_entries.ERASE_ACTION, world.clock(), {"before": now, "ids": [], "answers": 0})
    without(connection, world.ids[10:14])
    added(connection, audit_entries.ERASE_ACTION, world.clock(), {"before": now, "ids": []})


def _add_a_batch_without_its_row(world: World, connection: Connection) -> None:
    row = connection.execute(select(predictions).where(predictions.c.id == world.ids[0])).one()
    connection.execute(insert(predictions).values({**row._mapping, "id": "forged"}))


def _add_a_label(world: World, connection: Connection) -> None:
    row = connection.execute(select(feedback)).first()
    assert row is not None
    connection.execute(insert(feedback).values({**row._mapping, "id": "forged", "reviewer": "eve"}))


def _turn_a_label_back(world: World, connection: Connection) -> None:
    """Let the label that was superseded count again."""
    new, old = connection.execute(
        select(feedback.c.id, feedback.c.superseded_by)
        .where(feedback.c.prediction_id == world.ids[0])
        .order_by(feedback.c.superseded_by.is_not(None))
    ).scalars()
    connection.execute(update(feedback).where(feedback.c.id == new).values(superseded_by=old))
    connection.execute(update(feedback).where(feedback.c.id == old).values(superseded_by=None))


def _add_a_promotion(world: World, connection: Connection) -> None:
    row = connection.execute(select(promotions)).first()
    assert row is not None
    connection.execute(insert(promotions).values({**row._mapping, "seq": 9999}))


def _statement(make: Callable[[World], object]) -> Attack:
    return lambda world, connection: connection.execute(make(world))  # type: ignore[call-overload]


ANCHORED: dict[str, tuple[Attack, str]] = {
    "a row changed, its chain made anew": (_change_a_row_and_all_links, "made anew"),
    "the tail cut, the head moved back": (_cut_the_tail_and_move_the_head, "is gone"),
    "an old backup restored": (lambda world, connection: restored(connection, world.backup), "is gone"),
    "a chain removed with its birth": (_remove_a_chain, "is gone"),
    "an entry changed, the log made anew": (
        lambda _, connection: log_anew(connection, eve=2),
        "made anew",
    ),
    "the log emptied": (lambda _, connection: log_anew(connection, lambda _: False), "is gone"),
    "two chains swapped": (lambda _, connection: swapped(connection, ONE, OTHER), "made anew"),
}
"""Contradicted by anchors: found, and no anchor is written on top."""

IN_PLACE: dict[str, tuple[Attack, str]] = {
    "two chains swapped, by their names": (
        lambda _, connection: swapped(connection, ONE, OTHER),
        "is not what was written",
    ),
    "a chain added without its birth or head": (_add_a_chain, "head is gone"),
    "all predictions erased by an entry of the future": (_erase_all_in_the_future, "has not come yet"),
    "predictions erased that are later than the entry": (
        _erase_what_is_later_than_the_entry,
        "which is later than itself",
    ),
    "labelled predictions erased as if by retention": (_erase_labelled_answers, "which retention never removes"),
    "more erased than retention says": (_erase_more_than_is_said, "4 old predictions are gone"),
    "erased by an entry as older versions wrote it": (_erase_without_a_count, "does not tell how many"),
    "a prediction added": (_add_a_batch_without_its_row, "recorded by no server"),
    "a prediction's role changed": (
        _statement(lambda w: update(predictions).where(predictions.c.id == w.ids[3]).values(role="canary")),
        "is not what was recorded",
    ),
    "a label changed": (_statement(lambda _: update(feedback).values(label="7")), "is not what was written"),
    "a label's source changed": (_statement(lambda _: update(feedback).values(source="delayed")), "is not what was"),
    "a label removed": (
        _statement(lambda _: delete(feedback).where(feedback.c.superseded_by.is_(None))),
        "was removed",
    ),
    "a label added": (_add_a_label, "written by no act"),
    "a superseded label made current": (_turn_a_label_back, "is not what was written"),
    "a promotion's version changed": (_statement(lambda _: update(promotions).values(to_version=9)), "promotions/"),
    "a promotion's verdict changed": (_statement(lambda _: update(promotions).values(verdict={})), "promotions/"),
    "a promotion added": (_add_a_promotion, "promotions/9999 was written by no act"),
    "a promotion removed": (
        _statement(lambda _: delete(promotions).where(promotions.c.to_version == 3)),
        "was removed",
    ),
    "a key's scopes widened": (_statement(lambda _: update(api_keys).values(scopes=["admin"])), "api_keys/"),
    "a key's secret replaced": (_statement(lambda _: update(api_keys).values(digest="0" * 64)), "api_keys/"),
    "a key brought back": (_statement(lambda _: update(api_keys).values(revoked_at=None)), "api_keys/"),
    "a key removed": (_statement(lambda _: delete(api_keys)), "was removed"),
    "a quarantine lifted": (_statement(lambda _: update(quarantines).values(lifted=True)), "quarantines/"),
    "an entry's details are no object": (
        lambda _, connection: added(connection, "x", START, [1]),  # type: ignore[arg-type]
        "details that this product does not write",
    ),
}
"""Found without anchors, which may be written on."""


IN_EACH_DATABASE = (
    "an old backup restored",
    "a chain removed with its birth",
    "all predictions erased by an entry of the future",
    "a label removed",
    "an entry's details are no object",
)
"""Attacks of the kinds a database carries out in its own way: restoring, deleting rows and tables' heads, JSON."""


@pytest.mark.both_databases
@pytest.mark.parametrize("attack", IN_EACH_DATABASE)
def test_an_attack_on_either_database_is_named(world: World, attack: str) -> None:
    test_an_attack_on_the_database_is_named(world, attack)


@pytest.mark.parametrize("attack", [name for name in (*ANCHORED, *IN_PLACE) if name not in IN_EACH_DATABASE])
def test_an_attack_on_the_database_is_named(world: World, attack: str) -> None:
    act, fragment = (ANCHORED | IN_PLACE)[attack]
    world.meddle(lambda connection: act(world, connection))
    assert any(fragment in fault for fault in world.faults()), world.faults()


@pytest.mark.parametrize("attack", ANCHORED)
def test_no_anchor_is_written_over_a_contradicting_chain_and_people_are_told(world: World, attack: str) -> None:
    with_rules(world.context)
    with world.context.database.write() as connection:
        lease = leases.acquire(connection, "test", "me", timedelta(days=9), world.clock())
    assert lease is not None
    fresh, running = checkpoints.checkpoint_writer(world.context), checkpoints.checkpoint_writer(world.context)
    assert running.write(world.clock()) is None
    before = world.file.read_bytes()
    kept = {row["name"]: row for row in _leases(world)}
    world.meddle(lambda connection: ANCHORED[attack][0](world, connection))
    world.meddle(lambda connection: _keep_lease(connection, kept))
    for anchoring in (fresh, running):
        for _ in range(3):
            with pytest.raises(AuditError, match="contradicts its anchors"):
                write_checkpoint_or_notify(world.context, anchoring, lease)
    assert world.file.read_bytes() == before
    with world.context.database.read() as connection:
        [first, *_] = outbox.list_undelivered(connection)
    assert first.payload["kind"] == "audit-contradiction"
    assert ("problem", True) in [(mark, "chain" in words) for mark, words in checkpoint_findings(world.context)]


def _leases(world: World) -> list[dict[str, Any]]:
    from mlplatform.store.tables.coordination import leases as table

    with world.context.database.read() as connection:
        return [dict(row._mapping) for row in connection.execute(select(table))]


def _keep_lease(connection: Connection, kept: dict[str, dict[str, Any]]) -> None:
    from mlplatform.store.tables.coordination import leases as table

    connection.execute(delete(table))
    connection.execute(insert(table), list(kept.values()))


@pytest.mark.parametrize("attack", ANCHORED)
def test_a_head_that_an_older_version_wrote_over_an_attack_hides_nothing(world: World, attack: str) -> None:
    act, fragment = ANCHORED[attack]
    world.meddle(lambda connection: act(world, connection))
    line(world.file, heads(world.context), world.clock())
    assert any(fragment in fault for fault in world.faults())
    with pytest.raises(AuditError):
        world.anchor()


def test_an_entry_dated_later_than_the_anchor_that_holds_it_proves_no_erasure(world: World) -> None:
    without_labels = world.ids[16:20]
    moment = world.clock() + timedelta(days=30)
    world.meddle(lambda connection: without(connection, without_labels))
    details = {"before": hash_chain.canonical_time(moment), "ids": [], "answers": 4}
    world.meddle(lambda connection: added(connection, audit_entries.ERASE_ACTION, moment, details))
    world.anchor()
    world.clock.tick(days=60)
    told = " ".join(world.faults())
    assert "anchored before that" in told
    assert sum("was removed" in fault for fault in world.faults()) == 4


def test_a_label_that_came_after_an_erasure_by_name_contradicts_it(world: World) -> None:
    key = world.ids[9]
    details = {"before": None, "ids": [key]}
    world.meddle(lambda connection: added(connection, audit_entries.ERASE_ACTION, world.clock(), details))
    label(world, key, "4")
    world.meddle(lambda connection: without(connection, [key]))
    assert any("got a label after erasure" in fault for fault in world.faults())


# The file


def test_a_file_that_was_cut_short_is_named_and_not_written_on(world: World) -> None:
    lines = world.file.read_bytes().splitlines(keepends=True)
    running = checkpoints.checkpoint_writer(world.context)
    running.write(world.clock())
    for rest in (lines[:-1], lines[:1], []):
        world.file.write_bytes(b"".join(rest))
        assert any("ends after line" in fault or "is gone" in fault for fault in world.faults())
        for take in (world.anchor, lambda: running.write(world.clock())):
            with pytest.raises(AuditError):
                take()
    world.file.unlink()
    assert any("is gone" in fault for fault in world.faults())
    with pytest.raises(AuditError, match="is gone"):
        world.anchor()
    assert not world.file.exists()


def test_a_file_whose_lines_were_changed_is_named(world: World) -> None:
    whole = world.file.read_bytes()
    lines = whole.splitlines(keepends=True)
    swapped_lines = [lines[1], lines[0], *lines[2:]]
    removed = [*lines[:1], *lines[2:]]
    for forged in (swapped_lines, removed, [lines[0].replace(b"heads", b"hands"), *lines[1:]]):
        world.file.write_bytes(b"".join(forged))
        assert world.faults() != []
        with pytest.raises(AuditError):
            world.anchor()
    other = json.loads(lines[0]) | {"file": "another", "before": EMPTY_DIGEST}
    world.file.write_text(json.dumps(other) + "\n")
    assert any("is not the file" in fault for fault in world.faults())
    world.file.write_bytes(whole)
    assert world.faults() == []


def test_a_copy_of_the_file_may_be_older_and_must_be_there(world: World, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(b"".join(world.file.read_bytes().splitlines(keepends=True)[:2]))
    assert world.report(copy).faults == []
    world.file.unlink()
    assert world.report(copy).faults == []
    assert world.report(tmp_path / "nothing").faults == [f"anchors: {tmp_path / 'nothing'} is not there"]


def test_a_file_of_ones_own_may_be_put_elsewhere_and_begun_again(world: World, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    for _ in range(2):
        assert checkpoints.write_checkpoint(world.context, mine, world.clock.tick(minutes=1)) is not None
        assert world.report(mine).faults == []
        mine.rename(tmp_path / "elsewhere.jsonl")
    assert world.faults() == []


def test_a_line_that_a_crash_left_unfinished_is_ended_and_no_fault(world: World) -> None:
    running = checkpoints.checkpoint_writer(world.context)
    running.write(world.clock())
    for unfinished in (b'{"at": "2026', b"{", b""):
        with world.file.open("ab") as file:
            file.write(unfinished)
        assert world.faults() == []
        label(world, world.ids[11], str(len(unfinished) % 10))
        assert running.write(world.clock()) is not None
        assert world.faults() == []
    assert checkpoints.write_checkpoint(world.context, world.file, world.clock()) is None


def test_a_full_disk_is_no_contradiction(world: World) -> None:
    full = checkpoints.checkpoint_writer(world.context, Path("/dev/full"))
    with pytest.raises(AuditError, match="cannot be kept in /dev/full") as failed:
        full.write(world.clock())
    assert failed.value.faults == ()
    assert world.faults() == []


@pytest.mark.both_databases
def test_watchers_that_share_a_file_write_what_holds_together(world: World) -> None:
    mine, yours = checkpoints.checkpoint_writer(world.context), checkpoints.checkpoint_writer(world.context)
    for turn, anchoring in enumerate((mine, yours, yours, mine, mine, yours)):
        label(world, world.ids[12], str(turn))
        assert anchoring.write(world.clock.tick(minutes=1)) is not None

    def work(anchoring: checkpoints.CheckpointWriter) -> Callable[[], None]:
        def take_ten() -> None:
            for _ in range(10):
                with world.context.database.write() as connection:
                    audit_entries.append(connection, "ada", "look", "clock", world.clock())
                anchoring.write(world.clock())

        return take_ten

    assert together(work(mine), work(yours)) == [None, None]
    assert world.faults() == []


def test_a_round_reads_only_what_was_added(world: World) -> None:
    running = checkpoints.checkpoint_writer(world.context)
    running.write(world.clock())
    offset = running._progress.offset
    assert offset == world.file.stat().st_size
    label(world, world.ids[13], "4")
    before = world.file.read_bytes()
    world.file.write_bytes(b"x" * len(before))  # what was read is not read again: a full verification finds this
    assert running.write(world.clock.tick(minutes=1)) is not None
    assert running._progress.offset > offset
    assert world.faults() != []


def test_a_person_may_begin_anew_where_a_backup_was_restored(world: World) -> None:
    world.meddle(lambda connection: restored(connection, world.backup))
    with pytest.raises(AuditError):
        world.anchor()
    aside = checkpoints.replace_checkpoint_file(world.context, world.file, "restored the backup of noon", "ada")
    assert aside is not None
    assert aside.exists()
    assert world.anchor() is not None
    assert world.faults() == []
    with world.context.database.read() as connection:
        [entry] = audit_entries.recent_entries(connection, 1)
    assert (entry["action"], entry["details"]["reason"]) == ("accept-anchors", "restored the backup of noon")
    assert entry["details"]["faults"] != []
    assert world.report(aside).faults != []


# Keys


def signed(world: World, *keys: str) -> World:
    file = world.context.settings.home / "audit.key"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(keys) + "\n")
    made = world.context.replace(settings=world.context.settings.model_copy(update={"audit_key_file": file}))
    return World(made, world.clock, world.ids, world.backup)


OLD_KEY, NEW_KEY = "0123456789abcdef" * 4, "fedcba9876543210" * 4


def test_a_key_may_come_later_and_be_replaced_and_unsigned_lines_may_not_follow(world: World) -> None:
    keyed = signed(world, OLD_KEY)
    label(world, world.ids[14], "1")
    keyed.anchor()
    assert keyed.faults() == []
    rotated = signed(world, NEW_KEY, OLD_KEY)
    label(world, world.ids[14], "2")
    rotated.anchor()
    assert rotated.faults() == []
    assert any("a key that was replaced" in fault for fault in signed(world, NEW_KEY).faults())
    rotated = signed(world, NEW_KEY, OLD_KEY)
    line(world.file, heads(world.context), world.clock())
    assert any("must be signed" in fault for fault in rotated.faults())
    with pytest.raises(AuditError):
        rotated.anchor()


def test_a_file_that_was_wholly_replaced_by_unsigned_lines_is_named(world: World) -> None:
    keyed = signed(world, OLD_KEY)
    label(world, world.ids[14], "1")
    keyed.anchor()
    world.file.write_text("")
    line(world.file, heads(world.context), world.clock())
    assert keyed.faults() != []
    with pytest.raises(AuditError):
        keyed.anchor()


# What the platform does itself


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"retain_answers_days": 30, "retain_personal_days": 10})


@pytest.mark.both_databases
def test_retention_erasure_and_blotting_leave_everything_sound(world: World) -> None:
    running = checkpoints.checkpoint_writer(world.context)
    label(world, world.ids[15], "2", "correction")
    label(world, world.ids[15], "2", "correction")
    for days in (5, 15, 20, 25):
        world.clock.tick(days=days)
        recorded(world.context.database, *(prediction(world.clock(), seed=seed) for seed in range(3)))
        apply_retention(world.context, "me")
        assert running.write(world.clock()) is not None
        assert world.faults() == []
    assert world.report().erased > 12
    [key] = recorded(world.context.database, prediction(world.clock(), seed=7))
    label(world, key, "6")
    done = erase_client(world.context, "client", "ada")
    assert (done.labelled, done.answers > 1) == (1, True)
    running.write(world.clock())
    assert world.faults() == []
    assert erase_client(world.context, "client", "ada").answers == 0


def test_a_database_of_an_older_version_goes_on_sound_and_covered(tmp_path: Path) -> None:
    old = Database(f"sqlite:///{tmp_path / 'old.db'}")
    now = hash_chain.canonical_time(START).replace("T", " ").removesuffix("+00:00")
    with old.write() as connection:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0015")
        promotion = (
            "INSERT INTO promotions (seq, model_name, to_version, kind, at, actor, reason, verdict, fence) VALUES "
            f"(1, 'digits', 1, 'first', '{now}', 'a', 'ü', '{{\"b\": 0.1, \"a\": [null]}}', 1)"
        )
        answer = (
            "INSERT INTO predictions (id, at, model_name, model_version, image_hash, label, probabilities, confidence, "
            f"latency_ms, request_id) VALUES ('p', '{now}', 'digits', 1, 'h', '3', '[]', 0.5, 1.5, 'r')"
        )
        for statement in (
            f"INSERT INTO images VALUES ('h', x'00', '{now}')",
            answer,
            f"INSERT INTO feedback VALUES ('f1', 'p', '4', 'audit', 'ann', '{now}', '{now}', 'f2')",
            f"INSERT INTO feedback VALUES ('f2', 'p', '5', 'audit', 'ann', '{now}', '{now}', NULL)",
            promotion,
            f"INSERT INTO api_keys VALUES ('k', 'n', 'd', '[\"admin\"]', '{now}', 'ada', NULL, NULL, NULL)",
            f"INSERT INTO quarantines VALUES (1, 'digits', 1, 1, '{now}', 'a', 'r', NULL)",
        ):
            connection.execute(text(statement.replace(":", r"\:")))
    old.upgrade()
    assert [fault for fault in verify_audit_log(old).faults if "p was recorded by no server" not in fault] == []
    assert verify_audit_log(old).rows == 5
    for statement, named in (
        ("UPDATE feedback SET label = '9' WHERE id = 'f2'", "feedback/p/f2 is not what was written"),
        ("DELETE FROM feedback WHERE id = 'f1'", "feedback/p/f1 was removed"),
        ("UPDATE api_keys SET scopes = '[]'", "api_keys/k is not what was written"),
        ("DELETE FROM promotions", "promotions/1 was removed"),
        ("UPDATE quarantines SET lifted = 0", "quarantines/1 is not what was written"),
    ):
        with old.write() as connection:
            connection.execute(text(statement))
        assert named in verify_audit_log(old).faults
    old.close()


def test_a_file_of_an_older_version_keeps_verifying_and_is_written_on(world: World) -> None:
    world.file.unlink()
    world.meddle(lambda connection: connection.execute(delete(audit_checkpoint_files)))
    line(world.file, heads(world.context), world.clock())
    assert world.faults() == []
    label(world, world.ids[10], "4")
    assert world.anchor() is not None
    assert world.faults() == []
    assert world.file.stat().st_size > 0


@pytest.mark.parametrize("number", [10**30, -(2**63), True, 0])
def test_a_line_of_a_number_that_no_link_has_is_passed_over_and_stops_no_verification(
    world: World, number: int
) -> None:
    line(world.file, {hash_chain.LOG_CHAIN: (number, "x")}, world.clock())
    assert world.report().ok
    label(world, world.ids[5], "4")
    assert world.anchor() is not None


@pytest.mark.parametrize("count", [100, "many", None, [1], 1e300])
def test_an_entry_that_begins_the_log_anew_excuses_no_prediction_and_stops_no_verification(
    world: World, count: object
) -> None:
    forged = prediction(START - timedelta(days=9), seed=7, prediction_id="forged").prediction

    def forge(connection: Connection) -> None:
        known = connection.execute(select(predictions)).mappings().first()
        assert known is not None
        connection.execute(insert(predictions).values({**known, "id": forged.id, "at": forged.at}))
        added(connection, "begin-chain", world.clock(), {"predictions": count})

    world.meddle(forge)
    faults = world.faults()
    assert any("begins a log that had begun" in fault for fault in faults), faults
    assert any("prediction forged was recorded by no server" in fault for fault in faults), faults
