"""A year of schedule with a clock of its own: healthy months, two breaks, clocks that jump, receivers that fail."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

import httpx
import numpy as np
import pytest

from mlplatform.alerting import evaluations, outbox
from mlplatform.alerting.delivery import create_delivery
from mlplatform.alerting.dispatcher import create_dispatcher
from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.host.clock_steps import slot_at
from mlplatform.ids import uuid7
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.retraining.retraining_limits import RetrainingLimits
from tests.support.monitoring_world import all_alerts, promote, tick, with_rules
from tests.support.platform_world import START, prediction, recorded

SECRET = "whsec_a2tra2tra2tra2tra2tra2tra2tra2tra2tra2traw=="
EVERY = timedelta(days=1)
RULES = f"""\
version: 1
model: digits
schedule: {{every: 1d}}
retraining: {{cooldown: 1d, daily_cap: 1, min_feedback: 10}}
channels:
  events: {{type: webhook, url: "http://events.test/in", secret: "{SECRET}"}}
rules:
  - {{name: accuracy-drop, metric: accuracy_drop, above: 1 points, window: 7d, min_samples: 30, severity: critical,
      false_alarms: 1 per 90d, clear: 0.5 points, action: retrain, notify: [events], repeat: 2d}}
  - {{name: class-error, metric: class_error, above: 10 %, window: 7d, min_samples: 10, false_alarms: 1 per 90d,
      action: none, notify: [events], repeat: 7d}}
"""
HEALTHY, BROKEN = 0.01, 0.35
BREAKS = (120, 250)
"""The days on which the world changes; a retraining on what came after sets it right."""


@dataclass
class Year:
    """The world outside: what the serving version gets wrong, and who receives notices."""

    context: AppContext
    rng: np.random.Generator
    version: int = 1
    learnt: int = 0
    received: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    refused: int = 0

    @property
    def day(self) -> int:
        return (self.context.clock() - START).days

    def traffic(self) -> None:
        changes = sum(self.day >= each for each in BREAKS)
        share = HEALTHY if changes <= self.learnt else BROKEN
        wrong = self.rng.random(24) < share
        now = self.context.clock()
        rows = [
            prediction(now, label=str((digit + int(bad)) % 10), version=self.version, seed=digit)
            for digit, bad in zip(self.rng.integers(0, 10, 24), wrong, strict=True)
        ]
        truths = [str((int(row.prediction.label) - int(bad)) % 10) for row, bad in zip(rows, wrong, strict=True)]
        ids = recorded(self.context.database, *rows)
        given = [
            label_records.SubmittedLabel(key, truth, "delayed", "t", now)
            for key, truth in zip(ids, truths, strict=True)
        ]
        with self.context.database.write() as connection:
            label_records.insert_labels(connection, given, now)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """A receiver that refuses every second message."""
        self.asked += 1
        if self.asked % 2:
            self.refused += 1
            return httpx.Response(503)
        self.received[request.headers["webhook-id"]] += 1
        return httpx.Response(200)

    def retrain(self) -> None:
        """What the supervisor's children would do: a training on new labels, which learns the world as it is."""
        config, owner = self.context.rules.retraining, uuid7()
        limits = RetrainingLimits(config.cooldown, config.daily_cap)
        with self.context.database.write() as connection:
            row = retraining_queue.claim(connection, "digits", owner, limits, self.context.clock())
        if row is None:
            return
        self.version += 1
        self.learnt = sum(self.day >= each for each in BREAKS)
        promote(self.context, self.version)
        with self.context.database.write() as connection:
            retraining_endings.finish(
                connection,
                row.id,
                owner,
                "succeeded",
                self.context.clock(),
                candidate_version=self.version,
                promoted=True,
            )


@pytest.mark.parametrize("seed", [1, 2])
def test_a_year_goes_by(context: AppContext, seed: int) -> None:
    if context.database.is_sqlite is False and seed > 1:
        pytest.skip("one year on PostgreSQL is enough")
    promote(with_rules(context, RULES))
    year = Year(context, np.random.default_rng(seed))
    dispatcher = create_dispatcher(
        context, create_delivery(context, httpx.Client(transport=httpx.MockTransport(year.answer)))
    )
    days_fired: list[int] = []
    while year.day < 365:
        tick(context, days=1)
        if year.rng.random() < 0.02:
            tick(context, hours=float(year.rng.integers(-30, 30)))  # a clock that is set, in either direction
        year.traffic()
        for rule in context.rules.rules:
            before = {alert.id for alert in all_alerts(context)}
            evaluate(context, rule, slot_at(context.clock(), EVERY))
            evaluate(context, rule, slot_at(context.clock(), EVERY))
            fresh = [alert for alert in all_alerts(context) if alert.id not in before]
            days_fired += [year.day for alert in fresh if alert.rule == "accuracy-drop"]
        dispatcher.dispatch_due()
        year.retrain()
    for _ in range(10):
        tick(context, hours=6)
        dispatcher.dispatch_due()

    with context.database.read() as connection:
        made = evaluations.recent(connection, limit=100_000)
    slots = Counter((evaluation.rule, evaluation.slot) for evaluation in made)
    assert len(slots) > 600
    assert set(slots.values()) == {1}, "one evaluation per slot, however the clock moved"
    for broke in BREAKS:
        found = [day for day in days_fired if broke <= day < broke + 20]
        assert found, f"the break of day {broke} was found"
        assert found[0] <= broke + 6
    false_alarms = [day for day in days_fired if not any(broke <= day < broke + 20 for broke in BREAKS)]
    assert len(false_alarms) <= 4, "one per 90 days is tolerated"
    assert year.learnt == 2
    with context.database.read() as connection:
        messages = outbox.recent_messages(connection, limit=10_000)
        rows = retraining_queue.recent(connection, limit=1000)
    assert year.refused > 0
    assert {message.state for message in messages} == {"delivered"}
    assert set(year.received) == {message.idempotency_key for message in messages}
    assert all(count == 1 for count in year.received.values())
    started = sorted(row.started_at for row in rows if row.started_at is not None)
    assert 2 <= len(started) <= 2 + 2 * len(false_alarms) + 4
