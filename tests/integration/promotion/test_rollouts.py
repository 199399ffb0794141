"""Trials: begun and stopped by people, ended by what labels, latencies, promotions and quarantines say."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.feedback import label_records
from mlplatform.ids import uuid7
from mlplatform.operations.operator_actions import quarantine_version
from mlplatform.operations.queries import load_prediction as shown
from mlplatform.operations.queries import model_overview
from mlplatform.predictions import review_samples, sampling_plans, shadow_predictions
from mlplatform.promotion import approvals, rollouts
from mlplatform.promotion.rollout_analysis import describe_rollout, rollout_analysis
from mlplatform.promotion.rollout_service import begin_rollout, stop_rollout
from mlplatform.promotion.rollouts import Rollout
from mlplatform.serialization import to_jsonable
from mlplatform.store.tables.predictions import predictions
from monitors.decisions.version_comparison import VersionComparison
from monitors.rules.alerts_config import Source
from monitors.statistics.review_sampling import SamplingPlan
from registry.errors import UnknownVersionError
from registry.model_contract import Column, ModelContract, TableInputs
from tests.support.monitoring_world import lease_of, promote, tick, with_rules
from tests.support.platform_world import FakeCatalog, FakeClock, prediction, recorded
from tests.support.table_model import NUMBERS


@pytest.fixture
def world(context: AppContext, catalog: FakeCatalog) -> AppContext:
    """Version 1 is champion; versions 2 and 3 are registered."""
    for version in (1, 2, 3):
        catalog.add("digits", version, {"gate": "promote"})
    made = with_rules(context)
    promote(made, 1)
    return made


def begin(world: AppContext, role: rollouts.RolloutRole = "shadow", version: int = 2, share: float = 0.2) -> Rollout:
    return begin_rollout(world, version, role, share, "ann", "to see")


def running(world: AppContext) -> Rollout | None:
    with world.database.read() as connection:
        return rollouts.running_rollout(connection, "digits")


def newest(world: AppContext) -> Rollout:
    with world.database.read() as connection:
        found = rollouts.latest_rollout(connection, "digits")
    assert found is not None
    return found


def look(world: AppContext) -> Rollout:
    tick(world, minutes=1)
    rollout_analysis(world).tick(lease_of(world))
    return newest(world)


_SEED = iter(range(10_000, 10_000_000))


def labelled(
    world: AppContext,
    trial: Rollout,
    served: str,
    other: str,
    truth: str,
    *,
    version: int = 1,
    seed: int | None = None,
    source: Source = "audit",
) -> str:
    """One answer by a version, what the other one says of it, and its label."""
    key = uuid7()
    row = prediction(
        world.clock(), seed=next(_SEED) if seed is None else seed, label=served, version=version, prediction_id=key
    )
    recorded(world.database, row)
    asked = trial.version if version == trial.beside else trial.beside
    beside = shadow_predictions.ShadowPrediction(key, asked, trial.id, world.clock(), other, [0.1] * 10, 0.1, 1)
    with world.database.write() as connection:
        assert shadow_predictions.insert_shadow_predictions(connection, [beside]) == 1
        label_records.insert_labels(
            connection, [label_records.SubmittedLabel(key, truth, source, "ann", world.clock())], world.clock()
        )
    return key


def actions(world: AppContext) -> list[tuple[str, str, str]]:
    with world.database.read() as connection:
        return [(row["actor"], row["action"], row["subject"]) for row in audit_entries.recent_entries(connection, 2)][
            ::-1
        ]


def ask_for_approval(world: AppContext, version: int) -> None:
    asked = approvals.Approval(
        id=uuid7(),
        model_name="digits",
        version=version,
        champion=1,
        state="waiting",
        reason="better",
        requested_by="retraining/r",
        requested_at=world.clock(),
        expires_at=world.clock() + timedelta(days=7),
        retraining_id=None,
        verdict=None,
    )
    with world.database.write() as connection:
        approvals.request(connection, asked)


@pytest.mark.parametrize(("gate", "waits"), [("keep", False), (None, False), ("promote", True), ("inconclusive", True)])
def test_a_canary_that_the_gate_or_an_approval_stands_against_must_be_forced(
    world: AppContext, catalog: FakeCatalog, gate: str | None, waits: bool
) -> None:
    catalog.add("digits", 2, {} if gate is None else {"gate": gate})
    if waits:
        ask_for_approval(world, 2)
    told = "waits for approval" if gate == "promote" else "the gate's verdict on version 2"
    with pytest.raises(ConflictError, match=f"{told}.*--force"):
        begin(world, "canary")
    assert running(world) is None
    assert begin(world, "shadow").role == "shadow"
    stop_rollout(world, 2, "shadow", "ann", "seen")
    forced = begin_rollout(world, 2, "canary", 0.2, "ann", "I know it", force=True)
    assert running(world) == forced
    with world.database.read() as connection:
        said = audit_entries.recent_entries(connection, 1)[0]["details"]["forced_although"]
    assert [("approval" in each, "gate" in each) for each in said] == [(False, True)] * (gate != "promote") + [
        (True, False)
    ] * waits


def test_force_that_was_not_needed_leaves_no_mark_and_lifts_no_quarantine(world: AppContext) -> None:
    ask_for_approval(world, 3)
    begin_rollout(world, 2, "canary", 0.2, "ann", "to see", force=True)
    with world.database.read() as connection:
        assert "forced_although" not in audit_entries.recent_entries(connection, 1)[0]["details"]
    stop_rollout(world, 2, "canary", "ann", "seen")
    quarantine_version(world, 2, "odd", "ann", lift=False)
    with pytest.raises(ConflictError, match="quarantine"):
        begin_rollout(world, 2, "canary", 0.2, "ann", "to see", force=True)


def test_a_trial_is_begun_and_stopped_with_both_in_the_audit_log(world: AppContext) -> None:
    made = begin(world, "canary")
    assert running(world) == made
    assert (made.version, made.beside, made.role, made.share, made.state) == (2, 1, "canary", 0.2, "running")
    over = stop_rollout(world, 2, "canary", "ben", "seen enough")
    assert (running(world), over.state, over.ended_by, over.ended_reason) == (None, "stopped", "ben", "seen enough")
    assert actions(world) == [("ann", "begin-canary", "digits/2"), ("ben", "end-canary", "digits/2")]


def test_one_version_is_tried_at_a_time_and_another_after_it(world: AppContext) -> None:
    begin(world)
    with pytest.raises(ConflictError, match=r"version 2 is tried already \(shadow.*models shadow 2 --stop"):
        begin(world, "canary", 3)
    stop_rollout(world, 2, "shadow", "ann", "enough")
    assert begin(world, "canary", 3).version == 3


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_canary_needs_a_share_between_none_and_all(world: AppContext, share: float) -> None:
    with pytest.raises(InvalidInputError, match="does not fit"):
        begin(world, "canary", share=share)


def test_the_champion_unknown_and_quarantined_versions_are_not_tried(world: AppContext) -> None:
    with pytest.raises(ConflictError, match="is champion itself"):
        begin(world, version=1)
    with pytest.raises(UnknownVersionError):
        begin(world, version=9)
    quarantine_version(world, 2, "bad", "ann", lift=False)
    with pytest.raises(ConflictError, match="quarantine 2 --lift"):
        begin(world)
    assert running(world) is None


def test_without_a_champion_there_is_nothing_to_try_beside(context: AppContext, catalog: FakeCatalog) -> None:
    catalog.add("digits", 1)
    with pytest.raises(ConflictError, match="no version is champion yet"):
        begin(context, version=1)


def test_stopping_what_is_not_tried_is_not_found(world: AppContext) -> None:
    begin(world)
    for version, role in ((3, "shadow"), (2, "canary")):
        with pytest.raises(NotFoundError, match="models list"):
            stop_rollout(world, version, role, "ann", "")  # type: ignore[arg-type]
    assert running(world) is not None


@pytest.mark.both_databases
def test_labels_that_prove_the_challenger_worse_end_its_trial_with_the_counts(world: AppContext) -> None:
    trial = begin(world)
    for _ in range(40):
        labelled(world, trial, "3", "5", "3")
    over = look(world)
    assert (over.state, over.ended_by) == ("failed", "watcher/trial")
    assert "that version 2 read wrong are read right by version 1" in over.ended_reason
    assert running(world) is None


def test_a_challenger_that_is_as_good_or_better_is_tried_on(world: AppContext) -> None:
    trial = begin(world)
    for number in range(60):
        labelled(world, trial, "3", "5", "5" if number % 3 else "3")
    after = look(world)
    assert after.state == "running"
    comparison = VersionComparison.from_json(after.duel)
    assert (comparison.labelled, comparison.lost, comparison.won) == (60, 20, 40)
    assert VersionComparison.from_json(look(world).duel) == comparison, "each label counts once"


def test_answers_of_a_canary_are_compared_the_other_way_round(world: AppContext) -> None:
    trial = begin(world, "canary")
    for _ in range(40):
        labelled(world, trial, "5", "3", "3", version=2)
    over = look(world)
    assert over.state == "failed"


def test_corrections_and_pictures_sent_again_prove_nothing(world: AppContext) -> None:
    trial = begin(world)
    for _ in range(40):
        labelled(world, trial, "3", "5", "3", seed=7)
        labelled(world, trial, "3", "5", "3", source="correction")
    assert VersionComparison.from_json(look(world).duel).labelled == 1
    labelled(world, trial, "3", "5", "3", seed=7)
    after = look(world)
    assert (after.state, VersionComparison.from_json(after.duel).labelled) == ("running", 1)


def test_labels_of_another_trial_do_not_count(world: AppContext) -> None:
    first = begin(world)
    for _ in range(40):
        labelled(world, first, "3", "5", "3")
    stop_rollout(world, 2, "shadow", "ann", "enough")
    begin(world, version=3)
    assert look(world).state == "running"


def test_a_canary_that_is_surely_twice_as_slow_is_stopped_and_a_shadow_is_not(world: AppContext) -> None:
    begin(world, "canary")
    for version, spent in ((1, 2.0), (2, 9.0)):
        rows = [
            prediction(world.clock(), version=version, latency_ms=spent, seed=1, prediction_id=uuid7())
            for _ in range(400)
        ]
        recorded(world.database, *rows)
    over = look(world)
    assert over.state == "failed"
    assert "95th percentile" in over.ended_reason
    begin(world, "shadow")
    assert look(world).state == "running"


def test_another_champion_or_a_quarantine_stops_the_trial(world: AppContext) -> None:
    begin(world, version=3)
    promote(world, 2)
    assert look(world).ended_reason == "another version is champion now"
    begin(world, version=3)
    quarantine_version(world, 3, "bad", "ann", lift=False)
    over = look(world)
    assert (over.state, over.ended_reason) == ("stopped", "the version went into quarantine")


def test_nothing_tried_is_nothing_to_look_at(world: AppContext) -> None:
    assert rollout_analysis(world).tick(lease_of(world)) is None


@pytest.mark.both_databases
def test_people_see_the_score_and_both_answers_to_a_picture(world: AppContext) -> None:
    trial = begin(world)
    key = labelled(world, trial, "3", "5", "3")
    labelled(world, trial, "3", "3", "3")
    trial = look(world)
    with world.database.read() as connection:
        text = describe_rollout(connection, trial)
    assert "version 2, shadow beside version 1 since" in text
    assert "2 pictures answered by both, 50.0% alike" in text
    assert to_jsonable(model_overview(world))["trial"]["text"] == text
    detail = shown(world, key)
    assert detail.role == "champion"
    assert [(each.label, each.model.version) for each in detail.shadows] == [("5", 2)]


def test_shadow_answers_are_no_predictions_and_old_ones_can_be_removed(world: AppContext, clock: FakeClock) -> None:
    trial = begin(world)
    labelled(world, trial, "3", "5", "3")
    with world.database.write() as connection:
        assert len(connection.execute(select(predictions)).all()) == 1
        assert shadow_predictions.count_agreement(connection, trial.id) == (1, 0)
        assert shadow_predictions.delete_before(connection, world.clock() - timedelta(days=1)) == 0
        assert shadow_predictions.delete_before(connection, world.clock() + timedelta(seconds=1)) == 1


@pytest.mark.both_databases
def test_of_two_trials_begun_at_once_one_is_refused(world: AppContext) -> None:
    refused: list[BaseException] = []

    def start(version: int) -> None:
        try:
            begin(world, version=version)
        except ConflictError as error:
            refused.append(error)

    threads = [threading.Thread(target=start, args=(version,)) for version in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert running(world) is not None


@pytest.mark.both_databases
def test_beside_a_rollout_the_champions_answers_that_differ_are_drawn_for_review(world: AppContext) -> None:
    """Each with the chance that the plan gives to such answers; those of a canary are not, for they have no plan."""
    trial = begin(world, "canary")
    with world.database.write() as connection:
        sampling_plans.publish(connection, "digits", 1, SamplingPlan(0.001, {}, 1.0).to_json(), world.clock())
    drawn = [labelled(world, trial, "3", "5", "3", source="correction") for _ in range(5)]
    alike = [labelled(world, trial, "3", "3", "3", source="correction") for _ in range(5)]
    served = [labelled(world, trial, "5", "3", "3", version=2, source="correction") for _ in range(5)]
    look(world)
    with world.database.read() as connection:
        weights = review_samples.inclusion_weights(connection, [*drawn, *alike, *served])
    assert {key: weight.weight for key, weight in weights.items() if key in drawn} == dict.fromkeys(drawn, 1.0)
    assert len(weights) <= 6


def test_a_table_that_saw_other_ranges_is_tried_and_one_of_other_columns_is_not(context: AppContext) -> None:
    catalog = context.catalog
    assert isinstance(catalog, FakeCatalog)
    wider = (Column("a", "number", low=0, high=9), Column("b", "number"))
    other = (Column("a", "number"), Column("b", "category"))
    for version, columns in ((1, None), (2, wider), (3, other)):
        catalog.add("digits", version)
        inputs = NUMBERS.inputs if columns is None else TableInputs(columns)
        catalog.contracts["digits", version] = ModelContract(inputs, NUMBERS.task, truth="event")
    promote(with_rules(context), 1)
    with pytest.raises(ConflictError, match="version 3 takes other inputs than champion 1"):
        begin(context, version=3)
    assert begin(context, version=2).beside == 1
