"""Plays the stories behind a served model for `benchmarks.files_visited`: label → alarm, slot → notice, alert → swap.

The pipeline is that of small bars which the tests train; database and MLflow's store are files of a temporary folder.
The supervisor starts its child as always, and what the child does is done on this thread, where it is followed.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from benchmarks.files_visited import FileTracer
from mlplatform.alerting import alert_records, outbox
from mlplatform.context import AppContext
from mlplatform.feedback.label_ingestion import record_labels
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.ids import uuid7
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.predictions.prediction_records import PredictionWithInput, insert_predictions
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.supervisor import retraining_supervisor
from mlplatform.retraining.worker import training_worker
from mlplatform.serve.inference.model_reloader import ModelReloader
from mlplatform.serve.inference.model_slot import ModelSlot
from mlplatform.settings import Settings
from mlplatform.store import leases
from mlplatform.store.leadership import leader_lease_name
from mlplatform.store.prediction import PredictionRecord
from monitors.rules.alerts_config import Rule
from pipelines.data import Split, content_hash, image_row, images_of
from pipelines.image.image_examples import image_examples
from pipelines.pipeline import Pipeline
from tests.support.bars import draw_bars
from tests.support.fake_registry import bars_family, bars_split
from tests.support.platform_world import FakeClock

RULES = """\
version: 1
model: bars
schedule: {every: 1m}
retraining: {cooldown: 1h, daily_cap: 2, min_feedback: 10}
channels:
  team-slack: {type: slack, url: "http://slack.test/hook"}
rules:
  - {name: quiet, metric: accuracy_drop, above: 0.5 points, window: 1h, min_samples: 20, severity: critical,
      false_alarms: 1 per 90d, action: none}
  - {name: notified, metric: accuracy_drop, above: 0.5 points, window: 1h, min_samples: 20, severity: critical,
      false_alarms: 1 per 90d, action: none, notify: [team-slack]}
  - {name: repaired, metric: accuracy_drop, above: 0.5 points, window: 1h, min_samples: 20, severity: critical,
      false_alarms: 1 per 90d, action: retrain}
"""
LABELS = 60


def label_to_alarm(tracer: FileTracer, home: Path) -> None:
    """Labels arrive and the rule's next evaluation fires its alert; nobody is notified."""
    context = _world(home)
    labels = _wrong_predictions(context, _pipeline())
    tracer.install()
    with tracer.recording():
        record_labels(context, labels)
        _fire(context, "quiet")


def slot_to_notice(tracer: FileTracer, home: Path) -> None:
    """A schedule slot is evaluated, its alert fires and the notice is in the outbox."""
    context = _world(home)
    record_labels(context, _wrong_predictions(context, _pipeline()))
    lease = _leader_lease(context)
    tracer.install()
    with tracer.recording():
        _fire(context, "notified", lease)
    with context.database.read() as connection:
        assert outbox.recent_messages(connection)


def alert_to_swap(tracer: FileTracer, home: Path) -> None:
    """An alert has asked for a retraining: it is claimed, trained, compared, promoted, and a server swaps it in."""
    context, slot = _world(home), ModelSlot()
    reloader = ModelReloader(context, slot, lambda _: None)
    assert reloader.poll()
    record_labels(context, _wrong_predictions(context, _pipeline()))
    lease = _leader_lease(context)
    _fire(context, "repaired", lease)
    supervisor = retraining_supervisor(context, lambda _id, _owner: [sys.executable, "-c", ""])
    worker = training_worker(context)
    tracer.install()
    with tracer.recording():
        supervisor.tick(lease)
        with context.database.read() as connection:
            [row] = retraining_queue.recent(connection)
        state = worker.run_retraining(row.id, str(row.owner), lambda _settings: _pipeline())
        is_swapped = reloader.poll()
    supervisor.close()
    assert (state, is_swapped) == ("succeeded", True), (state, is_swapped, reloader.error)


def _pipeline() -> Pipeline:
    return bars_family(bars_split(200))


def _world(home: Path) -> AppContext:
    """A platform whose champion, of unlucky labels, is wrong about every other bar."""
    settings = Settings(_env_file=None, home=home, alerts_file=home / "alerts.yaml", pipeline="bars")
    settings.alerts_file.write_text(RULES, encoding="utf-8")
    context, pipeline = AppContext(settings, FakeClock()), _pipeline()
    worker = training_worker(context)
    outcome = worker.train(replace(pipeline, load=lambda _folder: _mislabelled_split()), "the first", "benchmark")
    version = outcome.candidate.version
    promotion_service(context).promote(
        PromotionRequest(pipeline.name, version, None, "first", "benchmark", "a bad one")
    )
    return context


def _mislabelled_split() -> Split:
    split = bars_split(200)
    train = split.train
    labels = np.random.default_rng(1).permutation(train.labels)
    return replace(split, train=image_examples(images_of(train.batch), labels, train.name))


def _wrong_predictions(context: AppContext, pipeline: Pipeline) -> Sequence[SubmittedLabel]:
    """Recorded predictions of the champion, each wrong, and the labels that say so."""
    images, now = draw_bars(LABELS, 9), context.clock()
    rows, labels = [], []
    for image, truth in zip(images_of(images.batch), images.labels, strict=True):
        wrong = pipeline.classes[1 - int(truth)]
        record = PredictionRecord(
            id=uuid7(), at=now, model_name=pipeline.name, model_version=1, image_hash=content_hash(image), label=wrong,
            probabilities=[0.5, 0.5], confidence=0.5, latency_ms=1.0, request_id=uuid7(), client_id="client",
        )  # fmt: skip
        rows.append(PredictionWithInput(record, image_row(image)))
        labels.append(SubmittedLabel(record.id, pipeline.classes[int(truth)], "audit", "ada", now))
    with context.database.write() as connection:
        insert_predictions(connection, rows)
    assert isinstance(context.clock, FakeClock)
    context.clock.tick(minutes=1)
    return labels


def _rule(context: AppContext, name: str) -> Rule:
    return next(rule for rule in context.rules.rules if rule.name == name)


def _leader_lease(context: AppContext) -> leases.Lease:
    with context.database.write() as connection:
        lease = leases.acquire(
            connection, leader_lease_name(context.rules.model), "me", timedelta(hours=1), context.clock()
        )
    assert lease is not None
    return lease


def _fire(context: AppContext, name: str, lease: leases.Lease | None = None) -> None:
    """Evaluate the rule now; its alert fires."""
    evaluation = evaluate(context, _rule(context, name), context.clock(), lease)
    assert evaluation is not None
    with context.database.read() as connection:
        assert alert_records.list_alerts(connection), evaluation.findings
