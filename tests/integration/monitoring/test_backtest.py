"""A backtest says what the watcher would have said: with unchanged rules exactly what it did say."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import func, select

from mlplatform.alerting import evaluations
from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError, SettingsError
from mlplatform.feedback import label_records
from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.host.clock_steps import slot_at
from mlplatform.monitoring.backtest.backtest import BacktestAlert, BacktestResult, run_backtest
from mlplatform.monitoring.backtest.backtest_data import REPLAYABLE_METRICS
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.predictions import sampling_plans
from mlplatform.predictions.prediction_records import insert_predictions
from mlplatform.promotion.promotion_service import promotion_service
from mlplatform.store.tables.base import metadata
from monitors.decisions.finding import NO_DATA
from monitors.rules.alerts_config import AlertsConfig, Rule
from monitors.rules.block_unit import parse_block_unit
from monitors.rules.metric_catalog import METRICS
from tests.support.monitoring_world import answer, promote, tick, with_rules
from tests.support.platform_world import START, prediction

HOUR = timedelta(hours=1)
SEED = int(os.environ.get("PLATFORM_TEST_BACKTEST_SEED", "1"))
RULES = """\
version: 1
model: digits
schedule: {every: 1h}
retraining: {cooldown: 1d, daily_cap: 1, min_feedback: 10}
rules:
  - {name: accuracy-drop, metric: accuracy_drop, above: 2 points, window: 1d, min_samples: 20, severity: critical,
      false_alarms: 1 per 30d, clear: 1 points, for: 2h, keep_firing: 3h, no_data: 12h}
  - {name: class-error, metric: class_error, above: 10 %, window: 2d, min_samples: 5, false_alarms: 1 per 90d}
  - {name: class-now, metric: class_error, above: 10 %, window: 12h, min_samples: 5, confidence: 0.9, clear: 8 %,
      sources: [audit, delayed, correction]}
  - {name: latency, metric: latency_ratio, above: 2 x, window: 3h, min_samples: 20, confidence: 0.9, for: 1h,
      every: 30m, no_data: 6h}
"""


@dataclass
class World:
    """Traffic by the hour, in which classes go bad, servers slow down and labels come late, twice or corrected."""

    context: AppContext
    rng: np.random.Generator
    version: int = 1
    owed: list[tuple[datetime, label_records.SubmittedLabel]] = field(default_factory=list)

    @property
    def hours(self) -> float:
        return (self.context.clock() - START) / HOUR

    @property
    def closed(self) -> bool:
        return 100 < self.hours < 118

    def live(self, hours: int) -> None:
        """Let the time go by, the watcher on duty at some moment of every slot."""
        end = self.context.clock() + timedelta(hours=hours)
        half = timedelta(minutes=30)
        while (start := slot_at(self.context.clock(), half) + half) < end:
            self.context.clock.now = start + timedelta(seconds=float(self.rng.integers(0, 90)))  # type: ignore[attr-defined]
            self.answer()
            self.label()
            for rule in self.context.rules.rules:
                evaluate(self.context, rule, slot_at(self.context.clock(), self.context.rules.interval(rule)))
            if self.rng.random() < 0.5:
                tick(self.context, seconds=int(self.rng.integers(1, 40)))
                self.answer()
                self.label()

    def answer(self) -> None:
        """Answers of this moment; nobody asks at night, and for the better part of one day."""
        if self.hours % 24 > 20 or self.closed:
            return
        now = self.context.clock()
        bad = 0.45 if 30 < self.hours < 60 or 120 < self.hours < 150 else 0.02
        slow = 70 < self.hours < 78
        rows = []
        for digit in self.rng.integers(0, 5, 8):
            wrong = digit < 2 and self.rng.random() < bad
            label, spent = str((digit + int(wrong)) % 10), float(self.rng.gamma(20, 0.3 if slow else 0.1))
            row = prediction(now, label=label, version=self.version, seed=int(digit), latency_ms=spent)
            rows.append(replace(row, host_class="host"))
            self._owe(row.prediction.id, str(digit), label, now)
        with self.context.database.write() as connection:
            insert_predictions(connection, rows, "server")

    def label(self) -> None:
        """The labels that are due."""
        if self.closed:
            return
        now = self.context.clock()
        due = [label for at, label in self.owed if at <= now]
        self.owed = [(at, label) for at, label in self.owed if at > now]
        with self.context.database.write() as connection:
            label_records.insert_labels(connection, [replace(label, at=now) for label in due], now)

    def _owe(self, key: str, truth: str, label: str, now: datetime) -> None:
        def later(hours: float, told: str, source: LabelSource, reviewer: str = "r") -> None:
            moment = now + timedelta(hours=float(self.rng.exponential(hours)))
            self.owed.append((moment, label_records.SubmittedLabel(key, told, source, reviewer, now)))

        chance = self.rng.random()
        if chance < 0.7:
            later(2, truth, "delayed")
        if chance < 0.2:
            later(6, truth, "audit")
        if label != truth and chance < 0.6:
            later(1, truth, "correction")
        if chance > 0.9:
            later(3, str((int(truth) + 1) % 10), "delayed", "hasty")
            later(9, truth, "delayed", "hasty")


def lived(context: AppContext, seed: int, hours: int = 160) -> World:
    """Three versions, the second undone by a rollback, watched all the time."""
    promote(with_rules(context, RULES), 1, 985, 1000)
    world = World(context, np.random.default_rng(seed))
    with context.database.write() as connection:
        speed = {"p95_ms": 2.8, "calls": 500}
        evaluations.store_baseline(connection, "digits", 1, "latency", "host", speed, context.clock() + 2 * HOUR)
        sampling_plans.publish(connection, "digits", 1, {"uniform": 0.2, "strata": {}}, context.clock() + 40 * HOUR)
    world.live(hours * 4 // 10)
    tick(context, seconds=1)
    promote(context, 2, 980, 1000)
    world.version = 2
    world.live(hours // 10)
    tick(context, seconds=1)
    promotion_service(context).rollback("digits", "test", "because")
    world.version = 1
    world.live(hours // 2)
    return world


def named(alarms: Sequence[BacktestAlert]) -> list[tuple[object, ...]]:
    return sorted((each.rule, each.key, each.version, each.fired_at, each.ended_at, each.ended) for each in alarms)


def trial(
    context: AppContext, length: timedelta = timedelta(days=60), config: AlertsConfig | None = None
) -> BacktestResult:
    return run_backtest(context, config or context.rules, length)


def rule_of(context: AppContext, alarm: BacktestAlert) -> Rule:
    return next(rule for rule in context.rules.rules if rule.name == alarm.rule)


@pytest.mark.slow
def test_unchanged_rules_give_exactly_the_alerts_that_the_watcher_raised(context: AppContext) -> None:
    lived(context, SEED)
    whole = trial(context)
    assert {each.rule for each in whole.in_fact} == {rule.name for rule in context.rules.rules}
    assert {(each.rule, each.key) for each in whole.in_fact} >= {("latency", NO_DATA), ("accuracy-drop", NO_DATA)}
    assert {each.ended for each in whole.in_fact} == {"resolved", "superseded", None}
    assert named(whole.alarms) == named(whole.in_fact)
    assert all(
        each.slot == slot_at(each.fired_at, context.rules.interval(rule_of(context, each))) for each in whole.alarms
    )
    last = trial(context, timedelta(days=3))
    assert named(last.alarms) == named(last.in_fact)
    assert 0 < len(last.alarms) < len(whole.alarms)


def contents(context: AppContext) -> dict[str, int]:
    with context.database.read() as connection:
        tables = metadata.sorted_tables
        return {table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


def watched_from(context: AppContext, hours: int) -> None:
    """Nobody watches; answers come each hour, every second wrong from some hour on."""
    for hour in range(48):
        answer(context, *((5, 5) if hour >= hours else (10, 0)))
        context.clock.now = START + (hour + 1) * HOUR  # type: ignore[attr-defined]


@pytest.fixture
def unwatched(context: AppContext) -> AppContext:
    promote(with_rules(context, RULES), 1, 985, 1000)
    watched_from(context, 24)
    return context


def test_rules_are_tried_on_a_time_in_which_nobody_watched(unwatched: AppContext) -> None:
    before = contents(unwatched)
    found = trial(unwatched)
    [alarm] = [each for each in found.alarms if each.rule == "accuracy-drop"]
    assert (alarm.key, alarm.version, alarm.ended_at) == ("", 1, None)
    assert START + 25 * HOUR <= alarm.fired_at <= START + 30 * HOUR
    assert alarm.labels == 10 * (1 + (alarm.fired_at - START) / HOUR)
    assert alarm.value is not None
    assert 0.02 < alarm.value < 0.5
    [summary] = [each for each in found.rules if each.rule == "accuracy-drop"]
    assert (summary.alarms, summary.alarms_in_fact, summary.evaluated_slots, summary.labels) == (1, 0, 49, 480)
    assert summary.per_90_days == pytest.approx(45)
    assert found.in_fact == ()
    assert contents(unwatched) == before


def test_a_backtest_counts_what_deciding_label_by_label_would_have_raised(unwatched: AppContext) -> None:
    [daily] = [each for each in unwatched.rules.rules if each.name == "accuracy-drop"]
    by_week = daily.model_copy(update={"block": parse_block_unit("1w")})
    config = unwatched.rules.model_copy(update={"rules": (by_week,)})
    [summary] = run_backtest(unwatched, config, timedelta(days=60), label_by_label=True).rules
    assert (summary.alarms, summary.alarms_label_by_label) == (0, 1), "no week is over yet"
    [unasked] = trial(unwatched, config=config).rules
    assert unasked.alarms_label_by_label is None


def test_a_laxer_rule_fires_less(unwatched: AppContext) -> None:
    lax = unwatched.rules.rules[0].model_copy(update={"above": 0.6})
    found = trial(unwatched, config=unwatched.rules.model_copy(update={"rules": (lax,)}))
    assert found.alarms == ()


@pytest.mark.both_databases
def test_a_label_is_not_seen_before_it_was_known(context: AppContext) -> None:
    promote(with_rules(context, RULES), 1, 985, 1000)
    rows = [prediction(START, label="5", seed=seed) for seed in range(30)]
    with context.database.write() as connection:
        insert_predictions(connection, rows)
    late = tick(context, hours=10)
    with context.database.write() as connection:
        labels = [label_records.SubmittedLabel(row.prediction.id, "3", "audit", "ann", START) for row in rows]
        label_records.insert_labels(connection, labels, late)
    tick(context, hours=5)
    fired = {each.rule: each.fired_at for each in trial(context).alarms if each.key != NO_DATA}
    assert fired == {"accuracy-drop": late + 2 * HOUR, "class-error": late, "class-now": late}


def test_a_metric_that_cannot_be_replayed_says_so(unwatched: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = unwatched.rules.rules[0].model_copy(update={"metric": "drift", "name": "drift"})
    config = unwatched.rules.model_copy(update={"rules": (strange, unwatched.rules.rules[1])})
    first, second = trial(unwatched, config=config).rules
    assert first.not_replayed is not None
    assert "metric drift is not replayed" in first.not_replayed
    assert (first.alarms, first.evaluated_slots, first.labels) == (0, 0, None)
    assert second.not_replayed is None
    assert second.evaluated_slots == 49


def test_every_metric_that_is_replayed_exists() -> None:
    assert set(REPLAYABLE_METRICS) <= set(METRICS)


@pytest.mark.both_databases
def test_a_minute_in_which_several_classes_of_hosts_answered_is_noted(context: AppContext) -> None:
    promote(with_rules(context, RULES), 1, 985, 1000)
    for host in ("fast", "slow"):
        row = replace(prediction(START), host_class=host)
        with context.database.write() as connection:
            insert_predictions(connection, [row], host)
    [note] = trial(context).notes
    assert note.startswith("1 slots lay in a minute")


def test_before_the_first_champion_there_is_nothing_to_replay(context: AppContext) -> None:
    with pytest.raises(NotFoundError, match="platform train"):
        trial(with_rules(context, RULES))


def test_rules_of_another_model_and_no_time_are_refused(unwatched: AppContext) -> None:
    with pytest.raises(SettingsError, match="PLATFORM_PIPELINE is 'digits'"):
        trial(unwatched, config=unwatched.rules.model_copy(update={"model": "letters"}))
    with pytest.raises(SettingsError, match="--since 30d"):
        trial(unwatched, timedelta(0))
