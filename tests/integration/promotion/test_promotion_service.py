"""The champion: one winner among promotions, crashes put right, the paused fenced off, rollbacks that undo."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from mlplatform.alerting import evaluations
from mlplatform.audit import audit_entries
from mlplatform.errors import ConflictError, FencedError, NotFoundError
from mlplatform.promotion import promotion_history, quarantines
from mlplatform.promotion.promotion_history import Promotion, rollback_target
from mlplatform.promotion.promotion_service import PromotionRequest, PromotionService, set_quarantine
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.store import leases
from mlplatform.store.database import Database
from registry.catalog import CHALLENGER, CHAMPION, GOLDEN_DIGEST_TAG, QUARANTINE_TAG, RegisteredVersion
from registry.errors import GateError, RegistryUnavailableError, UnknownVersionError
from tests.support.platform_world import START, FakeCatalog, FakeClock
from tests.support.store_rows import running, together
from tests.support.version_folder import DIGITS

pytestmark = pytest.mark.both_databases

HOUR = timedelta(hours=1)


@pytest.fixture
def catalog() -> FakeCatalog:
    made = FakeCatalog()
    for version in range(1, 6):
        made.add("digits", version, {"golden_correct": str(90 + version), "golden_total": "100"})
    return made


@pytest.fixture
def champions(database: Database, catalog: FakeCatalog, clock: FakeClock) -> PromotionService:
    return PromotionService(database, catalog, clock, "host:1", lease_timeout_seconds=0.0)


def change(to: int, expected: int | None, retraining: tuple[str, str] | None = None) -> PromotionRequest:
    kind: promotion_history.PromotionKind = "first" if expected is None else "promote"
    request = PromotionRequest("digits", to, expected, kind, "ada", "better", {"outcome": "promote"})
    if retraining is None:
        return request
    return replace(request, retraining_id=retraining[0], precondition=retraining_queue.ownership_check(*retraining))


def history(database: Database) -> list[int]:
    with database.read() as connection:
        return [row.to_version for row in promotion_history.promotion_history(connection, "digits")]


def lease_holder(database: Database, clock: FakeClock) -> str | None:
    with database.read() as connection:
        return leases.current_holder(connection, "promotion:digits", clock())


class Overtaken(Database):
    """The store of a process that is paused before its n-th transaction, while `meanwhile` happens."""

    def __init__(self, database: Database, pause_before: int, meanwhile: Callable[[], object]) -> None:
        self._inner, self._left, self._meanwhile = database, pause_before, meanwhile

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._inner.read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._left -= 1
        if self._left == 0:
            self._meanwhile()
        with self._inner.write() as connection:
            yield connection


class Leaving(FakeCatalog):
    """A registry that goes away, or ends the process, after it was asked for the versions."""

    leaves_with: BaseException | None = None

    def versions(self, name: str) -> tuple[RegisteredVersion, ...]:
        found = super().versions(name)
        if isinstance(self.leaves_with, Exception):
            self.away = self.leaves_with
        return found

    def set_alias(self, name: str, alias: str, version: int) -> None:
        if self.leaves_with is not None and not isinstance(self.leaves_with, Exception):
            raise self.leaves_with
        super().set_alias(name, alias, version)


@pytest.fixture
def leaving(catalog: FakeCatalog) -> Leaving:
    made = Leaving()
    made.held = catalog.held
    return made


# --- promotions


def test_a_promotion_writes_history_alias_tag_baseline_and_audit(
    champions: PromotionService, database: Database, catalog: FakeCatalog, clock: FakeClock
) -> None:
    catalog.set_alias("digits", CHALLENGER, 1)
    made = champions.promote(change(1, None))
    assert champions.current("digits") == made
    assert (made.to_version, made.kind, made.actor, made.at, made.fence) == (1, "first", "ada", START, 1)
    assert catalog.pointers == {("digits", CHAMPION): 1}
    assert catalog.version("digits", 1).tags["mlplatform.promotion"] == str(made.seq)
    assert lease_holder(database, clock) is None
    with database.read() as connection:
        pinned = evaluations.load_baselines(connection, "digits", 1)
        assert pinned.pop("contract") == {"": DIGITS.to_dict()}
        assert pinned == {"accuracy": {"": {"correct": 91, "total": 100, "versions": 5}}}
        [entry] = audit_entries.recent_entries(connection)
    assert (entry["action"], entry["subject"], entry["details"]["fence"]) == ("first", "digits/1", 1)


def test_a_promotion_pins_how_far_the_versions_confidence_may_be_believed(
    champions: PromotionService, database: Database, catalog: FakeCatalog
) -> None:
    kept = '{"offset":0.1,"slope":0.9,"rows":160,"golden":{"49":3,"60":7}}'
    catalog.add("digits", 1, {"calibration": kept})
    champions.promote(change(1, None))
    with database.read() as connection:
        pinned = evaluations.load_baselines(connection, "digits", 1)
    del pinned["contract"]
    assert pinned == {"calibration": {"": json.loads(kept)}}


def test_a_calibration_that_cannot_be_read_is_named_and_nothing_is_promoted(
    champions: PromotionService, database: Database, catalog: FakeCatalog
) -> None:
    catalog.add("digits", 1, {"calibration": "0.9"})
    with pytest.raises(GateError, match=r"'0\.9' is no calibration"):
        champions.promote(change(1, None))
    assert history(database) == []


def test_a_challenger_that_is_another_version_stays(champions: PromotionService, catalog: FakeCatalog) -> None:
    catalog.set_alias("digits", CHALLENGER, 3)
    champions.promote(change(1, None))
    assert catalog.pointers == {("digits", CHAMPION): 1, ("digits", CHALLENGER): 3}


def test_a_version_that_does_not_exist_changes_nothing(champions: PromotionService, database: Database) -> None:
    with pytest.raises(UnknownVersionError):
        champions.promote(change(9, None))
    assert history(database) == []


def test_a_stale_expectation_is_a_conflict_that_gives_the_lease_back(
    champions: PromotionService, database: Database, catalog: FakeCatalog, clock: FakeClock
) -> None:
    champions.promote(change(1, None))
    with pytest.raises(ConflictError, match="is version 1, not None"):
        champions.promote(change(2, None))
    assert (history(database), catalog.alias("digits", CHAMPION)) == ([1], 1)
    assert lease_holder(database, clock) is None
    with database.read() as connection:
        assert evaluations.load_baselines(connection, "digits", 2) == {}


def test_of_promotions_with_one_expectation_at_once_one_wins(
    champions: PromotionService, database: Database, catalog: FakeCatalog
) -> None:
    champions.promote(change(1, None))
    patient = [replace(champions, holder=f"host:{n}", lease_timeout_seconds=20.0) for n in (2, 3, 4)]
    results = together(*(lambda n=n, one=one: one.promote(change(n, 1)) for n, one in enumerate(patient, 2)))
    [winner] = [result for result in results if isinstance(result, Promotion)]
    assert sorted(type(result).__name__ for result in results) == ["ConflictError", "ConflictError", "Promotion"]
    assert history(database) == [winner.to_version, 1]
    assert catalog.alias("digits", CHAMPION) == winner.to_version


# --- crashes and pauses


def test_a_registry_that_leaves_before_the_alias_does_not_undo_the_promotion(
    champions: PromotionService, leaving: Leaving, database: Database
) -> None:
    process = replace(champions, catalog=leaving)
    leaving.set_alias("digits", CHALLENGER, 1)
    leaving.leaves_with = RegistryUnavailableError("away")
    process.promote(change(1, None))
    with pytest.raises(RegistryUnavailableError):
        process.reconcile("digits")
    leaving.leaves_with = leaving.away = None
    assert (history(database), leaving.alias("digits", CHAMPION)) == ([1], None)
    assert process.reconcile("digits")
    assert leaving.pointers == {("digits", CHAMPION): 1}
    assert not process.reconcile("digits")


def test_a_process_killed_before_the_alias_is_finished_by_another(
    champions: PromotionService, leaving: Leaving, database: Database
) -> None:
    champions.promote(change(1, None))
    leaving.pointers[("digits", CHAMPION)] = 1
    leaving.leaves_with = SystemExit()
    with pytest.raises(SystemExit):
        replace(champions, catalog=leaving).promote(change(2, 1))
    leaving.leaves_with = None
    assert (history(database), leaving.alias("digits", CHAMPION)) == ([2, 1], 1)
    assert replace(champions, catalog=leaving).reconcile("digits")
    assert leaving.alias("digits", CHAMPION) == 2


def test_an_alias_somebody_moved_by_hand_is_put_back(champions: PromotionService, catalog: FakeCatalog) -> None:
    assert not champions.reconcile("digits")
    champions.promote(change(1, None))
    catalog.set_alias("digits", CHAMPION, 5)
    assert champions.reconcile("digits")
    assert catalog.alias("digits", CHAMPION) == 1
    catalog.delete_alias("digits", CHAMPION)
    assert champions.reconcile("digits")
    assert catalog.alias("digits", CHAMPION) == 1


def test_the_lease_of_a_process_killed_with_it_holds_others_off_until_it_ends(
    champions: PromotionService, database: Database, clock: FakeClock
) -> None:
    with database.write() as connection:
        leases.acquire(connection, "promotion:digits", "killed", timedelta(seconds=30), clock())
    with pytest.raises(ConflictError, match="another process is promoting digits"):
        champions.promote(change(1, None))
    clock.tick(seconds=30)
    assert champions.promote(change(1, None)).fence == 2


def test_a_process_paused_past_its_lease_writes_nothing(
    champions: PromotionService, database: Database, catalog: FakeCatalog, clock: FakeClock
) -> None:
    champions.promote(change(1, None))

    def meanwhile() -> None:
        clock.tick(seconds=31)
        champions.promote(change(2, 1))

    paused = replace(champions, database=Overtaken(database, 2, meanwhile), holder="paused")
    with pytest.raises(FencedError):
        paused.promote(change(3, 1))
    assert (history(database), catalog.alias("digits", CHAMPION)) == ([2, 1], 2)


def test_a_process_paused_before_the_alias_does_not_move_it_back(
    champions: PromotionService, database: Database, catalog: FakeCatalog, clock: FakeClock
) -> None:
    class Slow(FakeCatalog):
        def set_tag(self, name: str, version: int, key: str, value: str) -> None:
            clock.tick(seconds=31)
            champions.promote(change(2, 1))

    slow = Slow()
    slow.held, slow.pointers = catalog.held, catalog.pointers
    replace(champions, catalog=slow, holder="paused").promote(change(1, None))
    assert (history(database), catalog.alias("digits", CHAMPION)) == ([2, 1], 2)


def test_a_retraining_closed_meanwhile_promotes_nothing(champions: PromotionService, database: Database) -> None:
    key = running(database, "owner")
    with database.write() as connection:
        retraining_endings.close_abandoned(connection, START + HOUR, timedelta(seconds=30))
    with pytest.raises(FencedError, match="it must not write"):
        champions.promote(change(1, None, (key, "owner")))
    assert history(database) == []


def test_a_retraining_killed_after_its_promotion_succeeded_and_is_not_run_again(
    champions: PromotionService, database: Database
) -> None:
    key = running(database, "owner")
    made = champions.promote(change(1, None, (key, "owner")))
    with database.write() as connection:
        [(_, rerun)] = retraining_endings.close_abandoned(connection, START + HOUR, timedelta(seconds=30))
        row = retraining_queue.find(connection, key)
    assert (made.retraining_id, rerun) == (key, None)
    assert (row.state, row.promoted, row.candidate_version) == ("succeeded", True, 1)


# --- rollbacks


def test_rollbacks_undo_one_promotion_after_another(
    champions: PromotionService, database: Database, catalog: FakeCatalog
) -> None:
    for version, expected in ((1, None), (2, 1), (3, 2)):
        champions.promote(change(version, expected))
    for target in (2, 1):
        made = champions.rollback("digits", "ada", "worse in the field")
        assert (made.kind, made.to_version, made.reason) == ("rollback", target, "worse in the field")
        assert catalog.alias("digits", CHAMPION) == target
    with pytest.raises(NotFoundError, match="no earlier champion"):
        champions.rollback("digits", "ada", "again")
    champions.promote(change(4, 1))
    assert champions.rollback("digits", "ada", "again").to_version == 1
    assert history(database) == [1, 4, 1, 2, 3, 2, 1]


def test_without_an_earlier_champion_there_is_nothing_to_roll_back_to(
    champions: PromotionService, database: Database
) -> None:
    with pytest.raises(NotFoundError):
        champions.rollback("digits", "ada", "")
    champions.promote(change(1, None))
    with pytest.raises(NotFoundError):
        champions.rollback("digits", "ada", "")
    assert history(database) == [1]


def test_a_version_deleted_from_the_registry_cannot_be_restored(
    champions: PromotionService, database: Database, catalog: FakeCatalog
) -> None:
    champions.promote(change(1, None))
    champions.promote(change(2, 1))
    del catalog.held["digits", 1]
    with pytest.raises(UnknownVersionError):
        champions.rollback("digits", "ada", "")
    assert history(database) == [2, 1]


def test_two_rollbacks_at_once_undo_one_promotion_each_or_conflict(
    champions: PromotionService, database: Database
) -> None:
    for version, expected in ((1, None), (2, 1), (3, 2)):
        champions.promote(change(version, expected))
    patient = [replace(champions, holder=f"host:{n}", lease_timeout_seconds=20.0) for n in (2, 3)]
    results = together(*(lambda one=one: one.rollback("digits", "ada", "") for one in patient))
    done = [result for result in results if isinstance(result, Promotion)]
    assert {type(result) for result in results} <= {Promotion, ConflictError}
    assert history(database)[: len(done)] == [[2], [1, 2]][len(done) - 1]


def barred(database: Database) -> dict[int, str]:
    with database.read() as connection:
        return {
            version: entry.reason for version, entry in quarantines.quarantined_versions(connection, "digits").items()
        }


def test_a_version_that_is_rolled_back_goes_into_quarantine_and_the_registry_shows_it(
    champions: PromotionService, database: Database, catalog: FakeCatalog
) -> None:
    champions.promote(change(1, None))
    champions.promote(change(2, 1))
    champions.rollback("digits", "ada", "it misreads sevens")
    assert barred(database) == {2: "it misreads sevens"}
    assert catalog.version("digits", 2).tags[QUARANTINE_TAG] == "it misreads sevens"
    with pytest.raises(ConflictError, match=r"in quarantine since .* by ada \(it misreads sevens\); lift that"):
        champions.promote(change(2, 1))
    assert history(database) == [1, 2, 1]


def test_force_promotes_out_of_quarantine(
    champions: PromotionService, database: Database, catalog: FakeCatalog
) -> None:
    champions.promote(change(1, None))
    champions.promote(change(2, 1))
    champions.rollback("digits", "ada", "no")
    champions.promote(replace(change(2, 1), force=True))
    assert (history(database)[0], barred(database)) == (2, {})
    assert QUARANTINE_TAG not in catalog.version("digits", 2).tags


def test_a_rollback_passes_over_versions_in_quarantine(champions: PromotionService, database: Database) -> None:
    for version, expected in ((1, None), (2, 1), (3, 2), (4, 3)):
        champions.promote(change(version, expected))
    with database.write() as connection:
        for version in (2, 3):
            set_quarantine(connection, "digits", version, "ada", "bad", START)
    assert champions.rollback("digits", "ada", "").to_version == 1
    with pytest.raises(NotFoundError, match="in quarantine"):
        champions.rollback("digits", "ada", "")
    champions.promote(change(5, 1))
    assert champions.rollback("digits", "ada", "").to_version == 1


def test_tags_that_say_otherwise_than_the_quarantines_are_put_right(
    champions: PromotionService, database: Database, catalog: FakeCatalog
) -> None:
    champions.promote(change(1, None))
    catalog.away = RegistryUnavailableError("away")
    with database.write() as connection:
        assert set_quarantine(connection, "digits", 2, "ada", "bad", START)
        assert not set_quarantine(connection, "digits", 2, "ada", "again", START), "it is set apart already"
        set_quarantine(connection, "digits", 9, "ada", "deleted from the registry since", START)
    with pytest.raises(RegistryUnavailableError):
        champions.reconcile("digits")
    catalog.away = None
    champions.reconcile("digits")
    assert catalog.version("digits", 2).tags[QUARANTINE_TAG] == "bad"
    catalog.delete_tag("digits", 2, QUARANTINE_TAG)
    champions.sync_quarantine_tags("digits", all_versions=True)
    assert catalog.version("digits", 2).tags[QUARANTINE_TAG] == "bad"
    with database.write() as connection:
        set_quarantine(connection, "digits", 2, "ada", "good again", START, lifted=True)
    champions.reconcile("digits")
    assert QUARANTINE_TAG not in catalog.version("digits", 2).tags
    with database.read() as connection:
        assert all(entry.projected_at for entry in quarantines.latest_entries(connection, "digits"))
        actions = [entry["action"] for entry in audit_entries.recent_entries(connection)]
    assert actions[:3] == ["lift-quarantine", "quarantine", "quarantine"]


def test_a_promotion_that_anything_followed_is_not_changed(champions: PromotionService, database: Database) -> None:
    champions.promote(change(1, None))
    made = champions.promote(change(2, 1))
    champions.rollback("digits", "ada", "")
    champions.promote(replace(change(2, 1), force=True))
    with pytest.raises(ConflictError, match="nothing is undone"):
        champions.promote(replace(change(3, 2), expected_seq=made.seq))
    assert history(database) == [2, 1, 2, 1]


def test_what_belongs_to_a_change_stands_or_falls_with_it(champions: PromotionService, database: Database) -> None:
    def fail(connection: Connection, promotion: Promotion) -> None:
        audit_entries.append(connection, "ada", "look", "nothing", START)
        raise RuntimeError(f"no {promotion.to_version}")

    with pytest.raises(RuntimeError, match="no 1"):
        champions.promote(replace(change(1, None), in_transaction=fail))
    with database.read() as connection:
        assert audit_entries.recent_entries(connection) == []
    assert history(database) == []


@given(st.lists(st.booleans(), max_size=30))
def test_a_history_of_any_promotions_and_rollbacks_is_a_stack(steps: list[bool]) -> None:
    stack: list[int] = []
    rows: list[Promotion] = []
    for seq, up in enumerate(steps, 1):
        if not up and len(stack) < 2:
            continue
        stack = [*stack, seq] if up else stack[:-1]
        kind: promotion_history.PromotionKind = "promote" if up else "rollback"
        rows.insert(0, Promotion(seq, "digits", None, stack[-1], kind, START, "ada", "", None, None, seq))
        assert rollback_target(rows) == (stack[-2] if len(stack) > 1 else None)
    assert rollback_target([]) is None


def test_an_alias_that_was_moved_by_hand_is_set_right_and_noted_and_one_about_to_be_written_is_not(
    champions: PromotionService, catalog: FakeCatalog, database: Database, clock: FakeClock
) -> None:
    def noted() -> list[object]:
        with database.read() as connection:
            return [
                each["details"]
                for each in audit_entries.recent_entries(connection)
                if each["action"] == "alias-deviation"
            ]

    promotion = champions.promote(change(1, None))
    catalog.delete_alias("digits", CHAMPION)
    assert champions.reconcile("digits")
    assert noted() == []
    clock.tick(minutes=5)
    catalog.set_alias("digits", CHAMPION, 3)
    assert champions.reconcile("digits")
    assert catalog.alias("digits", CHAMPION) == 1
    assert noted() == [{"alias": 3, "champion": 1, "promotion": promotion.seq}]


def test_what_a_versions_files_are_is_pinned_when_it_is_promoted(
    champions: PromotionService, catalog: FakeCatalog, database: Database
) -> None:
    noted = {"model_sha256": "a" * 64, "onnx_sha256": "b" * 64}
    catalog.add("digits", 2, {**noted, "gate": "promote"})
    champions.promote(change(2, None))
    catalog.add("digits", 2, {"model_sha256": "c" * 64})
    champions.promote(change(3, 2))
    champions.promote(change(2, 3))
    with database.read() as connection:
        assert evaluations.load_baselines(connection, "digits", 2)[evaluations.ARTIFACT_DIGESTS] == {"": noted}


def test_the_baseline_notes_among_how_many_versions_on_the_same_golden_rows_one_was_chosen(
    champions: PromotionService, catalog: FakeCatalog, database: Database
) -> None:
    for version, digest in ((6, "old rows"), (7, "new rows"), (8, "new rows"), (9, "new rows")):
        catalog.add("digits", version, {"golden_correct": "99", "golden_total": "100", GOLDEN_DIGEST_TAG: digest})
    champions.promote(change(8, None))
    with database.read() as connection:
        pinned = evaluations.load_baselines(connection, "digits", 8)["accuracy"][""]
    assert pinned == {"correct": 99, "total": 100, "versions": 8}, "three of its rows, five that noted no digest"
