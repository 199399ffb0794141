"""The gym's stage: the real store, loop, supervisor and training under a clock of its own; it judges nothing."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, text, update

from benchmarks.gym.worlds import Atlas
from mlplatform.alerting import alert_records, evaluations
from mlplatform.clock import EPOCH
from mlplatform.context import AppContext
from mlplatform.feedback.label_ingestion import record_labels
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.host.clock_steps import slot_at
from mlplatform.ids import uuid7
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.monitoring.rule_inputs import load_baseline
from mlplatform.monitoring.sampling_plan import update_sampling_plan
from mlplatform.predictions.prediction_records import PredictionWithInput, insert_predictions
from mlplatform.promotion import promotion_history
from mlplatform.promotion.probation_monitor import ProbationMonitor, probation_monitor
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.supervisor import claim_next
from mlplatform.retraining.worker import training_worker
from mlplatform.settings import Settings
from mlplatform.store import leases
from mlplatform.store.leadership import leader_lease_name
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.tables.predictions import review_samples, sampling_plans
from monitors.alerts import Alert
from monitors.statistics.intervals import clopper_pearson
from pipelines.builtin.digits import BEST, COMPACT, PIPELINE
from pipelines.candidate.training_spec import load_champion
from pipelines.data import image_row, images_of
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.pipeline import Pipeline

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
HOST: Final = "gym"
BASELINE_MS: Final = 2.0
MANY: Final = replace(BEST, name="gym", channels=(16, 48, 64), epochs=8, feedback_repeats=6, threads=1)
"""A smaller `best`: a retraining takes about a minute of one core."""
FEW: Final = replace(
    COMPACT, name="gym", channels=(16, 32), hidden=96, epochs=8, batch_size=64, max_train_rows=None, feedback_repeats=6
)
"""For the bundled digits, whose rows are too few for eight epochs of `best` to settle."""
FEW_ROWS: Final = 3_000
CLASS_LIMIT: Final = 0.1
"""The share of a class's answers that may be wrong."""
RULES: Final = """\
version: 1
model: digits
schedule: {{every: 1h}}
retraining: {{cooldown: 12h, daily_cap: 2, min_feedback: 100, breaker: 5}}
audit: {{per_day: {per_day}, uniform: {uniform}, boost: {boost}}}
rules:
  - {{name: accuracy-drop, metric: accuracy_drop, above: 0.5 points, window: 7d, min_samples: 30,
      false_alarms: 1 per 90d, clear: 0.2 points, severity: critical, action: retrain, repeat: 12h, no_data: 4d}}
  - {{name: class-error, metric: class_error, above: {class_limit}, window: 14d, min_samples: 20,
      false_alarms: 1 per 90d, clear: 7 %, action: label-audit}}
  - {{name: latency, metric: latency_ratio, above: 2 x, window: 6h, min_samples: 200, action: none}}
"""


@dataclass
class Clock:
    """A clock that moves only when told."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True)
class Shown:
    """One picture shown to the model: its place, how strongly that is changed, and its number there.

    `sheet` names the request that it came in, "" for a request of its own.
    """

    place: str
    strength: float
    index: int
    sheet: str = ""


@dataclass(frozen=True)
class Known:
    """One label that became known: when, of which version, whether the answer was wrong, and its source."""

    at: datetime
    version: int
    wrong: bool
    source: str


Answers = dict[tuple[str, str, float], NDArray[np.float32]]


def family_of(atlas: Atlas) -> Pipeline:
    """The digit family, learning from the atlas."""
    recipe = FEW if len(atlas.split.train) < FEW_ROWS else MANY
    return replace(PIPELINE, load=lambda _: atlas.split, recipes={"gym": recipe}, default_recipe="gym")


def _rules(per_day: int, uniform: float, boost: int) -> str:
    return RULES.format(per_day=per_day, uniform=uniform, boost=boost, class_limit=f"{CLASS_LIMIT:.0%}")


def assembled(home: Path, clock: Clock, rules: str, margin: float) -> AppContext:
    """The context of a platform in a folder."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "alerts.yaml").write_text(rules, encoding="utf-8")
    uri = f"sqlite:///{home / 'mlflow.db'}" if (home / "mlflow.db").exists() else ""
    settings = Settings(
        _env_file=None, home=home, alerts_file=home / "alerts.yaml", mlflow_uri=uri, gate_margin_points=margin
    )
    return AppContext(settings, clock)


def first_champion(home: Path, atlas: Atlas, margin: float) -> None:
    """Train version 1 and make it champion, with a latency baseline."""
    clock = Clock(START - timedelta(hours=1))
    context = assembled(home, clock, _rules(200, 1.0, 1), margin)
    training_worker(context).train(family_of(atlas), "the gym's first version", "gym")
    with context.database.write() as connection:
        numbers = {"p95_ms": BASELINE_MS, "calls": 1000}
        evaluations.store_baseline(connection, "digits", 1, "latency", HOST, numbers, clock())
        connection.execute(text("SELECT 1"))
    with context.database.read() as connection:
        if promotion_history.latest_promotion(connection, "digits") is None:
            raise SystemExit("the gym's first version did not pass the gate; look at its verdict")
    context.database.close()


@dataclass
class Stage:
    """One platform playing one stream."""

    home: Path
    first: Path
    atlas: Atlas
    seed: int
    per_day: int = 200
    uniform: float = 1.0
    boost: int = 1
    """So many times more answers are drawn while a rule is suspect or broken."""
    margin: float = 1.0
    answered: Answers = field(default_factory=dict)
    """Answers of version 1, shared by all streams of a run."""
    clock: Clock = field(default_factory=Clock)
    known: list[Known] = field(default_factory=list)
    alerts: dict[str, Alert] = field(default_factory=dict)
    evaluated: int = 0
    _mine: Answers = field(default_factory=dict)
    _made: dict[str, tuple[Shown, int]] = field(default_factory=dict)
    _count: int = 0
    _awaited: list[tuple[datetime, str]] = field(default_factory=list)

    @cached_property
    def context(self) -> AppContext:
        shutil.rmtree(self.home, ignore_errors=True)  # of a run that was broken off
        for name in ("platform.db", "mlflow.db"):
            self.home.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.first / name, self.home / name)
        rules = _rules(self.per_day, self.uniform, self.boost)
        return assembled(self.home, self.clock, rules, self.margin)

    @cached_property
    def warden(self) -> ProbationMonitor:
        return probation_monitor(self.context)

    @cached_property
    def draw(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    @property
    def version(self) -> int:
        """The version that serves."""
        with self.context.database.read() as connection:
            latest = promotion_history.latest_promotion(connection, "digits")
        assert latest is not None
        return latest.to_version

    def predictor(self, version: int) -> InferenceEngine:
        """A registered version, ready to answer."""
        context = self.context
        return load_champion(context.catalog, PIPELINE, version, context.model_cache).predictor

    def answers(self, version: int, place: str, strength: float, side: str) -> NDArray[np.float32]:
        """The version's probabilities for all pictures of one side of a place, computed once."""
        held = self.answered if version == 1 else self._mine
        key = (f"{version}/{place}", side, round(strength, 2))
        if key not in held:
            held[key] = self.predictor(version)(getattr(self.atlas.place(place, strength), side).batch)
        return held[key]

    def shares(self, shown: Sequence[Shown]) -> NDArray[np.float32]:
        """The first version's probabilities for these pictures, (n, classes)."""
        return np.stack([self.answers(1, each.place, each.strength, "stream")[each.index] for each in shown])

    def is_wrong(self, shown: Shown) -> bool:
        """Whether the first version misreads the picture."""
        truth = self.atlas.place(shown.place, shown.strength).stream.labels[shown.index]
        return bool(self.shares([shown])[0].argmax() != truth)

    def accuracy(self, version: int, mixture: Mapping[tuple[str, float], float], side: str = "exam") -> float:
        """The version's accuracy on a mixture of places, by their shares."""
        total = 0.0
        for (place, strength), share in mixture.items():
            truth = getattr(self.atlas.place(place, strength), side).labels
            total += share * float((self.answers(version, place, strength, side).argmax(axis=1) == truth).mean())
        return total / sum(mixture.values())

    @cached_property
    def allowed(self) -> float:
        """The largest error share of the first version that the golden set and the rule about accuracy leave open."""
        with self.context.database.read() as connection:
            champion = promotion_history.latest_promotion(connection, "digits")
            assert champion is not None
            baseline, rule = load_baseline(connection, champion), self.context.rules.rules[0]
        errors = baseline.accuracy_total - baseline.accuracy_correct
        return clopper_pearson(errors, baseline.accuracy_total, rule.confidence)[1] + rule.threshold

    def misread_classes(self, mixture: Mapping[tuple[str, float], float]) -> dict[str, float]:
        """For each class the share of its served pictures that the first version misreads on a mixture of places."""
        wrong, shown = np.zeros(len(PIPELINE.classes)), np.zeros(len(PIPELINE.classes))
        for (place, strength), share in mixture.items():
            truths = self.atlas.place(place, strength).stream.labels
            missed = self.answers(1, place, strength, "stream").argmax(axis=1) != truths
            shown += share * np.bincount(truths, minlength=len(shown)) / len(truths)
            wrong += share * np.bincount(truths[missed], minlength=len(shown)) / len(truths)
        return {name: float(wrong[place] / shown[place]) for place, name in enumerate(PIPELINE.classes) if shown[place]}

    def misread(self, label: int, place: str, strength: float) -> float:
        """The share of a class's pictures that the first version misreads there."""
        exam = self.atlas.place(place, strength).exam
        said = self.answers(1, place, strength, "exam").argmax(axis=1)
        return float((said != label)[exam.labels == label].mean())

    def serve(self, shown: Sequence[Shown], slowness: float = 1.0) -> list[str]:
        """Record the serving version's answers to these pictures; returns their ids."""
        version, now, rows = self.version, self.clock(), []
        spent = np.exp(self.draw.normal(0, 0.25, len(shown))) * 0.65 * BASELINE_MS * slowness
        for each, milliseconds in zip(shown, spent, strict=True):
            place = self.atlas.place(each.place, each.strength).stream
            row = self.answers(version, each.place, each.strength, "stream")[each.index]
            best, self._count = int(row.argmax()), self._count + 1
            key = f"{self.seed:06d}-{self._count:09d}"
            self._made[key] = (each, version)
            answer = PredictionRecord(
                id=key, at=now, model_name="digits", model_version=version, image_hash=place.ids[each.index],
                label=str(best), probabilities=[round(float(share), 6) for share in row],
                confidence=min(1.0, float(row[best])), latency_ms=float(milliseconds), request_id=each.sheet or key,
                client_id=f"client-{self._count % 7}",
            )  # fmt: skip
            rows.append((answer, image_row(images_of(place.batch)[each.index])))
        with self.context.database.write() as connection:
            insert_predictions(connection, [PredictionWithInput(answer, row, HOST) for answer, row in rows], HOST)
        return [answer.id for answer, _ in rows]

    def truth_of(self, prediction_id: str) -> str:
        """What the picture of an answer shows."""
        shown, _ = self._made[prediction_id]
        return str(self.atlas.place(shown.place, shown.strength).stream.labels[shown.index])

    def said(self, prediction_id: str) -> str:
        """What the version read in it."""
        shown, version = self._made[prediction_id]
        return str(self.answers(version, shown.place, shown.strength, "stream")[shown.index].argmax())

    def review(self, lag: timedelta) -> int:
        """Label every drawn answer that is older than the lag; returns how many."""
        query = select(review_samples.c.prediction_id).where(
            review_samples.c.finished_at.is_(None), review_samples.c.at <= self.clock() - lag
        )
        with self.context.database.read() as connection:
            waiting = sorted(connection.scalars(query))
        self.label([(key, self.truth_of(key)) for key in waiting], "audit", "reviewer")
        return len(waiting)

    def sheet(self, prediction_id: str) -> str:
        """The request that an answer was given in."""
        return self._made[prediction_id][0].sheet or prediction_id

    def await_truth(self, prediction_ids: Sequence[str], wrong_after: timedelta, right_after: timedelta) -> None:
        """Let the truth of these answers become known later: soon where they are wrong, late where they are right."""
        for key in prediction_ids:
            lag = right_after if self.said(key) == self.truth_of(key) else wrong_after
            self._awaited.append((self.clock() + lag, key))

    def label_what_is_due(self) -> None:
        """Label the awaited answers whose truth has become known."""
        due = [key for at, key in self._awaited if at <= self.clock()]
        self._awaited = [(at, key) for at, key in self._awaited if at > self.clock()]
        self.label([(key, self.truth_of(key)) for key in due], "delayed", "ledger")

    def label(self, given: Sequence[tuple[str, str]], source: str, reviewer: str) -> None:
        """Take labels, and remember them for the rivals."""
        if not given:
            return
        now = self.clock()
        record_labels(self.context, [SubmittedLabel(key, label, source, reviewer, now) for key, label in given])  # type: ignore[arg-type]
        self.known += [Known(now, self._made[key][1], label != self.said(key), source) for key, label in given]

    def plan(self) -> None:
        """Keep the sampling plan in step; its salt is seeded here, so that a run can be repeated."""
        update_sampling_plan(self.context)
        with self.context.database.write() as connection:
            connection.execute(update(sampling_plans).values(salt=f"gym {self.seed}"))

    def evaluate(self, only: Sequence[str] = ("accuracy-drop", "class-error")) -> None:
        """Evaluate rules for the present slot."""
        for rule in self.context.rules.rules:
            if rule.name in only:
                evaluate(self.context, rule, slot_at(self.clock(), self.context.rules.interval(rule)))
                self.evaluated += 1
        with self.context.database.read() as connection:
            for row in alert_records.list_alerts(connection, include_closed=True):
                if row.id not in self.alerts or self.alerts[row.id].is_open:
                    self.alerts[row.id] = alert_records.find(connection, row.id)

    def fired(self, rule: str) -> list[Alert]:
        """The alerts of a rule that have fired, in their order; not those about missing data."""
        found = [each for each in self.alerts.values() if each.rule == rule and each.fired_at and each.key != "no data"]
        return sorted(found, key=lambda each: each.fired_at or START)

    def renew(self, on_promotion: Callable[[int, int], None]) -> bool:
        """Carry out the retraining that is due, if any; tells of a promotion by old and new version."""
        owner, before = uuid7(), self.version
        with self.context.database.write() as connection:
            row = claim_next(connection, "digits", self.context.rules.retraining, owner, self.clock())
        if row is None:
            return False
        state = training_worker(self.context).run_retraining(row.id, owner, lambda _: family_of(self.atlas))
        if state != "succeeded":
            with self.context.database.read() as connection:
                error = retraining_queue.find(connection, row.id).error
            raise SystemExit(f"a retraining of the gym ended as {state}: {error}")
        if self.version != before:
            on_promotion(before, self.version)
        return True

    def look_after(self) -> None:
        """One round of the watcher's probation of a new version; a failed one is rolled back."""
        with self.context.database.write() as connection:
            lease = leases.acquire(connection, leader_lease_name("digits"), "gym", timedelta(0), EPOCH)
        assert lease is not None
        self.warden.tick(lease)

    def close(self) -> None:
        """Let the stage go."""
        self.context.database.close()
        shutil.rmtree(self.home, ignore_errors=True)
