"""Trainings carried out for the shell, on tiny bars with a registry in memory."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.ids import uuid7
from mlplatform.operations.approval_actions import approve_version
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.promotion import approvals, rollouts
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.retraining.heartbeat import RetrainingHeartbeat
from mlplatform.retraining.training_provenance import code_revision
from mlplatform.retraining.worker import training_worker
from mlplatform.settings import Settings
from mlplatform.store import tasks
from mlplatform.store.database import Database
from pipelines.data import Examples, Split, content_hash, image_row, images_of
from pipelines.errors import MissingDataError
from pipelines.pipeline import Pipeline
from pipelines.recipe import network_recipe
from pipelines.trainer import EpochMetrics
from tests.support.bars import draw_bars
from tests.support.fake_registry import FakeTracking, MemoryCatalog, bars_family, bars_split, make_plain_candidate
from tests.support.platform_world import START, FakeClock, prediction, recorded
from tests.support.training_context import NO_LIMITS, claimed, now_of
from tests.support.waiting import eventually

RULES = """\
version: 1
model: bars
retraining: RETRAINING
rules:
  - {name: drop, metric: accuracy_drop, above: 0.5 points, window: 24h, min_samples: 30}
"""


@pytest.fixture(scope="module")
def family() -> Pipeline:
    return bars_family(bars_split(32))


@pytest.fixture
def training_context(tmp_path: Path, sqlite_template: Path) -> Iterator[AppContext]:
    """A platform that trains into a registry in memory; which database it has does not matter here."""
    shutil.copy(sqlite_template, tmp_path / "platform.db")
    settings = Settings(_env_file=None, home=tmp_path, heartbeat_seconds=0.05)
    tracking = FakeTracking()
    database = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    yield AppContext(settings, FakeClock(), database=database, tracking=tracking, catalog=MemoryCatalog(tracking))
    database.close()


@pytest.mark.slow
def test_a_queued_retraining_is_carried_out_and_the_next_training_is_compared_with_its_champion(
    training_context: AppContext, family: Pipeline
) -> None:
    row = claimed(training_context)
    assert training_worker(training_context).run_retraining(row.id, "me", lambda _name: family) == "succeeded"
    check_first_champion(training_context, row)
    again = training_worker(training_context, make_plain_candidate).train(family, "the same again", "ada")
    assert again.promotion is None
    assert again.candidate.verdict.outcome != "promote"
    assert (
        training_context.catalog.alias("bars", "champion"),
        training_context.catalog.alias("bars", "challenger"),
    ) == (1, 2)
    assert isinstance(training_context.tracking, FakeTracking)
    assert training_context.tracking.runs[1].tags["mlplatform.trigger"] == "manual"


def check_first_champion(training_context: AppContext, row: retraining_queue.Retraining) -> None:
    """Row, run and promotion name each other."""
    done, current = now_of(training_context, row), promotion_service(training_context).current("bars")
    assert (done.state, done.candidate_version, done.promoted, done.error) == ("succeeded", 1, True, None)
    assert done.verdict is not None
    assert done.verdict["outcome"] == "promote"
    assert isinstance(training_context.tracking, FakeTracking)
    [run] = training_context.tracking.runs
    assert done.run_id == run.id
    assert {"mlplatform.retraining": row.id, "mlplatform.trigger": "manual"}.items() <= run.tags.items()
    assert current is not None
    assert (current.kind, current.retraining_id, current.actor) == ("first", row.id, f"retraining/{row.id}")


def test_a_retraining_that_cannot_be_done_is_closed_with_the_reason(
    training_context: AppContext, family: Pipeline
) -> None:
    def gone(_folder: Path | None) -> object:
        raise MissingDataError("/data is not there")

    row, without_data = claimed(training_context), replace(family, load=gone)  # type: ignore[arg-type]
    assert (
        training_worker(training_context, make_plain_candidate).run_retraining(row.id, "me", lambda _name: without_data)
        == "failed"
    )
    done = now_of(training_context, row)
    assert (done.state, done.error) == ("failed", "MissingDataError: /data is not there")


def test_a_pipeline_that_is_not_known_is_closed_with_the_reason(training_context: AppContext) -> None:
    row = claimed(training_context, "letters")
    settings = training_context.settings.model_copy(update={"pipeline": "letters"})
    worker = training_worker(training_context.replace(settings=settings), make_plain_candidate)
    assert worker.run_retraining(row.id, "me") == "failed"
    assert (now_of(training_context, row).error or "").startswith("UnknownPipelineError: unknown pipeline 'letters'")


def test_a_retraining_that_was_closed_meanwhile_registers_nothing(
    training_context: AppContext, family: Pipeline
) -> None:
    row = claimed(training_context)

    def cancelled(_settings: Settings) -> Pipeline:
        with training_context.database.write() as connection:
            retraining_endings.cancel(connection, row.id, "tester", training_context.clock())
        return family

    assert (
        training_worker(training_context, make_plain_candidate).run_retraining(row.id, "me", cancelled) == "cancelled"
    )
    assert now_of(training_context, row).state == "cancelled"
    assert training_context.catalog.versions("bars") == ()
    assert isinstance(training_context.tracking, FakeTracking)
    assert training_context.tracking.runs == []


def test_a_retraining_cancelled_while_it_trains_stops_and_registers_nothing(
    training_context: AppContext, family: Pipeline
) -> None:
    row, cancelled = claimed(training_context), threading.Event()

    def load(folder: Path | None) -> Split:
        threading.Thread(target=cancel_when_training).start()
        return family.load(folder)

    def cancel_when_training() -> None:
        eventually(lambda: now_of(training_context, row).run_id is not None)
        with training_context.database.write() as connection:
            retraining_endings.cancel(connection, row.id, "tester", training_context.clock())
        cancelled.set()

    long = replace(network_recipe(family.recipes["easy"]), epochs=10_000, patience=10_000)
    endless = replace(family, load=load, recipes={"easy": long})
    assert (
        training_worker(training_context, make_plain_candidate).run_retraining(row.id, "me", lambda _name: endless)
        == "cancelled"
    )
    assert cancelled.is_set()
    done = now_of(training_context, row)
    assert (done.state, done.error) == ("cancelled", "cancelled by tester")
    assert training_context.catalog.versions("bars") == ()
    assert isinstance(training_context.tracking, FakeTracking)
    assert [run.status for run in training_context.tracking.runs] == ["KILLED"]


class OvertakingCatalog(MemoryCatalog):
    """A registry in which somebody promotes another version while a candidate is registered."""

    context: AppContext

    def register(
        self,
        name: str,
        model_uri: str,
        run_id: str,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> int:
        rival = super().register(name, "", "run-0")
        promotion_service(self.context).promote(PromotionRequest(name, rival, None, "first", "somebody", "meanwhile"))
        return super().register(name, model_uri, run_id, tags, description)


def answered(context: AppContext, images: Examples) -> list[str]:
    """Answers on these images."""
    one = prediction()
    rows = [
        replace(one.prediction, id=uuid7(), model_name="bars", image_hash=content_hash(image))
        for image in images_of(images.batch)
    ]
    return recorded(
        context.database,
        *(PredictionWithInput(row, image_row(image)) for row, image in zip(rows, images_of(images.batch), strict=True)),
    )


def test_a_retraining_keeps_the_lineage_of_every_label_and_asks_people_about_those_in_doubt(
    training_context: AppContext, family: Pipeline
) -> None:
    images = draw_bars(30, 9)
    keys = answered(training_context, images)
    names = [family.classes[label] for label in images.labels]
    given = [
        label_records.SubmittedLabel(key, name, "audit", "ada", START) for key, name in zip(keys, names, strict=True)
    ]
    given += [
        label_records.SubmittedLabel(keys[0], name, "delayed", "", START) for name in family.classes if name != names[0]
    ]
    with training_context.database.write() as connection:
        ids = {each.id for each in label_records.insert_labels(connection, given, START)}
    row = claimed(training_context)
    assert (
        training_worker(training_context, make_plain_candidate).run_retraining(row.id, "me", lambda _name: family)
        == "succeeded"
    )
    assert isinstance(training_context.tracking, FakeTracking)
    told = json.loads(training_context.tracking.runs[0].texts["lineage.json"])
    named = [each["feedback_id"] for each in (*told["trained"], *told["set_aside"])] + told["judged"]
    assert sorted(named) == sorted(ids)
    with training_context.database.read() as connection:
        [task] = tasks.open_tasks(connection, "bars", "label-review")
    assert task.key == f"label-review/{row.id}"
    assert [item["id"] for item in task.details["predictions"]] == [keys[0]]


def test_a_champion_changed_meanwhile_is_not_overwritten(training_context: AppContext, family: Pipeline) -> None:
    assert isinstance(training_context.tracking, FakeTracking)
    catalog = OvertakingCatalog(training_context.tracking)
    training_context = catalog.context = training_context.replace(catalog=catalog)
    row = claimed(training_context)
    assert (
        training_worker(training_context, make_plain_candidate).run_retraining(row.id, "me", lambda _name: family)
        == "failed"
    )
    assert "the champion is version 1, not None" in (now_of(training_context, row).error or "")
    current = promotion_service(training_context).current("bars")
    assert current is not None
    assert current.actor == "somebody"


@contextmanager
def running_heartbeat(context: AppContext, row: retraining_queue.Retraining) -> Iterator[RetrainingHeartbeat]:
    heartbeat = RetrainingHeartbeat(context.database, context.clock, context.settings.heartbeat_seconds, row.id, "me")
    heartbeat.start()
    try:
        yield heartbeat
    finally:
        heartbeat.close()


def test_the_pulse_beats_and_carries_the_progress(training_context: AppContext) -> None:
    row = claimed(training_context)
    with running_heartbeat(training_context, row) as heartbeat:
        heartbeat.report_epoch(EpochMetrics(2, 5, 0.1, 0.9, 0.1, 0.87654, 0.01, 1.0))
        assert isinstance(training_context.clock, FakeClock)
        later = training_context.clock.tick(seconds=10)
        eventually(lambda: now_of(training_context, row).heartbeat_at == later)
        eventually(lambda: now_of(training_context, row).progress is not None)
        assert not heartbeat.ownership_lost.is_set()
    assert now_of(training_context, row).progress == {
        "step": "training",
        "epoch": 2,
        "epochs": 5,
        "validation_accuracy": 0.8765,
    }


def test_before_the_first_epoch_the_progress_names_the_step(training_context: AppContext) -> None:
    row = claimed(training_context)
    with running_heartbeat(training_context, row) as heartbeat:
        heartbeat.set_step("choosing rows")
        eventually(lambda: now_of(training_context, row).progress == {"step": "choosing rows"})
        heartbeat.report_epoch(EpochMetrics(5, 5, 0.1, 0.9, 0.1, 0.9, 0.01, 1.0))
        eventually(lambda: (now_of(training_context, row).progress or {}).get("step") == "judging")


def test_what_became_of_the_labels_stays_with_every_beat_to_come(training_context: AppContext) -> None:
    row = claimed(training_context)
    with running_heartbeat(training_context, row) as heartbeat:
        heartbeat.set_label_use({"given": 3})
        heartbeat.set_step("training")
        step = {"step": "training", "label_use": {"given": 3}}
        eventually(lambda: now_of(training_context, row).progress == step)
        heartbeat.report_epoch(EpochMetrics(1, 5, 0.1, 0.9, 0.1, 0.9, 0.01, 1.0))
        eventually(lambda: (now_of(training_context, row).progress or {}).get("epoch") == 1)
    assert (now_of(training_context, row).progress or {})["label_use"] == {"given": 3}


def test_memory_that_runs_out_closes_the_row_with_the_limit_and_the_remedy(
    training_context: AppContext, family: Pipeline
) -> None:
    def too_much(_folder: Path | None) -> Split:
        raise MemoryError

    training_context = training_context.replace(
        settings=training_context.settings.model_copy(update={"training_memory_mb": 600})
    )
    row = claimed(training_context)
    assert (
        training_worker(training_context, make_plain_candidate).run_retraining(
            row.id, "me", lambda _name: replace(family, load=too_much)
        )
        == "failed"
    )
    assert (now_of(training_context, row).error or "").startswith(
        "memory ran out (its limit is 600 MiB, PLATFORM_TRAINING_MEMORY_MB)"
    )


def test_the_pulse_notices_that_the_row_was_taken_away(training_context: AppContext) -> None:
    row = claimed(training_context)
    with running_heartbeat(training_context, row) as heartbeat:
        with training_context.database.write() as connection:
            retraining_endings.cancel(connection, row.id, "tester", training_context.clock())
        assert heartbeat.ownership_lost.wait(20)


def test_a_retraining_ends_with_the_watcher_that_started_it(training_context: AppContext) -> None:
    row = claimed(training_context)
    script = (
        "import time; from mlplatform.clock import utc_now; from mlplatform.store.database import Database\n"
        "from mlplatform.retraining.heartbeat import RetrainingHeartbeat\n"
        f"database = Database({training_context.settings.store_url!r})\n"
        f"RetrainingHeartbeat(database, utc_now, 0.05, {row.id!r}, 'me', _parent=1).start(); time.sleep(60)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert ended.returncode == 75, ended.stderr.decode()
    assert b"the watcher that started this retraining died" in ended.stderr
    assert now_of(training_context, row).state == "running"  # for the next watcher to close


def test_the_revision_is_that_of_the_checkout() -> None:
    found = code_revision()
    assert found is None or len(found.removesuffix("-dirty")) == 40


def ruled(context: AppContext, retraining: str) -> AppContext:
    """The same platform, whose alerts.yaml says this about retraining."""
    file = context.settings.home / "alerts.yaml"
    file.write_text(RULES.replace("RETRAINING", retraining), encoding="utf-8")
    settings = context.settings.model_copy(update={"alerts_file": file, "pipeline": "bars"})
    places = {"database": context.database, "tracking": context.tracking, "catalog": context.catalog}
    return AppContext(settings, context.clock, **places)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_winner_waits_for_a_person_where_that_is_asked_for(training_context: AppContext, family: Pipeline) -> None:
    training_context = ruled(training_context, "{promote: approval, approval_timeout: 2d}")
    row = claimed(training_context)
    worker = training_worker(training_context, make_plain_candidate)
    assert worker.run_retraining(row.id, "me", lambda _name: family) == "succeeded"
    assert promotion_service(training_context).current("bars") is None
    ended = now_of(training_context, row)
    assert (ended.candidate_version, ended.promoted) == (1, False)
    with training_context.database.read() as connection:
        approval = approvals.find_waiting(connection, "bars")
    assert approval is not None
    assert (approval.version, approval.champion, approval.retraining_id) == (1, None, row.id)
    assert (approval.expires_at - approval.requested_at).days == 2
    promotion = approve_version(training_context, 1, "ann")
    assert (promotion.kind, promotion.actor, promotion.verdict) == ("first", "ann", ended.verdict)
    by_hand = worker.train(family, "more data", "cli")
    assert (by_hand.promotion, by_hand.candidate.verdict.outcome, by_hand.approval) == (None, "inconclusive", None)


def test_a_dry_run_asks_nobody(training_context: AppContext, family: Pipeline) -> None:
    training_context = ruled(training_context, "{promote: approval, dry_run: true}")
    with training_context.database.write() as connection:
        retraining_queue.request(
            connection, pipeline="bars", reason="r", trigger="alert", requested_by="me", now=training_context.clock()
        )
        row = retraining_queue.claim(connection, "bars", "me", NO_LIMITS, training_context.clock())
    assert row is not None
    worker = training_worker(training_context, make_plain_candidate)
    assert worker.run_retraining(row.id, "me", lambda _name: family) == "succeeded"
    with training_context.database.read() as connection:
        assert approvals.latest_approvals(connection, "bars") == []


@pytest.mark.slow
def test_a_candidate_that_the_gate_cannot_judge_is_tried_in_the_shadow_where_that_is_asked_for(
    training_context: AppContext, family: Pipeline
) -> None:
    training_context = ruled(training_context, "{shadow_inconclusive: true}")
    for number in range(3):
        row = claimed(training_context)
        assert (
            training_worker(training_context, make_plain_candidate).run_retraining(row.id, "me", lambda _name: family)
            == "succeeded"
        )
        with training_context.database.read() as connection:
            running = rollouts.running_rollout(connection, "bars")
        if number == 0:
            assert running is None, "the first version is promoted"
            continue
        assert now_of(training_context, row).verdict["outcome"] == "inconclusive"  # type: ignore[index]
        assert running is not None
        assert (running.version, running.role, running.actor) == (number + 1, "shadow", f"retraining/{row.id}")
