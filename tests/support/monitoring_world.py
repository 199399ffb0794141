"""A small world for the tests of the loop: rules, champions, answers with labels, an Evidently that only counts."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from mlplatform.alerting import alert_records, evaluations, outbox
from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.monitoring.evaluation_report import MeasureWindow, write_report
from mlplatform.promotion import promotion_history
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from mlplatform.retraining import retraining_queue
from mlplatform.store import leases, tasks
from mlplatform.store.leadership import leader_lease_name
from monitors.alerts import Alert
from monitors.rules.alerts_config import Rule
from monitors.windows.window import EvidentlyMetrics, Window
from tests.support.platform_world import FakeCatalog, FakeClock, prediction, recorded
from tests.support.version_folder import DIGITS

SECRET = "whsec_a2tra2tra2tra2tra2tra2tra2tra2tra2tra2traw=="
RULES = f"""\
version: 1
model: digits
schedule: {{every: 1m}}
retraining: {{cooldown: 1h, daily_cap: 2, min_feedback: 10}}
channels:
  team-slack: {{type: slack, url: "http://slack.test/hook"}}
  mail: {{type: email, host: 127.0.0.1, port: 1, starttls: false, sender: platform@example.org, to: [a@example.org]}}
  events: {{type: webhook, url: "http://events.test/in", secret: "{SECRET}"}}
  nobody: {{type: slack, url: ""}}
rules:
  - {{name: accuracy-drop, metric: accuracy_drop, above: 0.5 points, window: 1h, min_samples: 20, severity: critical,
      action: retrain, notify: [team-slack, mail, events, nobody]}}
  - {{name: latency, metric: latency_ratio, above: 2 x, window: 5m, min_samples: 50, action: tune-serving,
      notify: [nobody], for: 2m}}
  - {{name: class-error, metric: class_error, above: 10 %, window: 1h, min_samples: 10, action: label-audit,
      notify: [team-slack]}}
"""


def with_rules(context: AppContext, text: str = RULES) -> AppContext:
    """The same platform, watched by these rules."""
    context.settings.alerts_file.write_text(text, encoding="utf-8")
    if "rules" in vars(context):
        del context.rules  # read anew when next asked for
    return context


def rule(context: AppContext, name: str) -> Rule:
    """The rule of that name."""
    return next(rule for rule in context.rules.rules if rule.name == name)


def promote(context: AppContext, version: int = 1, correct: int = 990, total: int = 1000) -> None:
    """Register a version with its golden counts and make it champion."""
    assert isinstance(context.catalog, FakeCatalog)
    context.catalog.add("digits", version, {"golden_correct": str(correct), "golden_total": str(total)})
    current = promotion_service(context).current("digits")
    expected = None if current is None else current.to_version
    kind: str = "first" if expected is None else "promote"
    promotion_service(context).promote(PromotionRequest("digits", version, expected, kind, "test", "because"))  # type: ignore[arg-type]


def answer(context: AppContext, right: int, wrong: int = 0, *, version: int = 1, latency_ms: float = 2.0) -> list[str]:
    """Labelled answers on images of a 3, recorded now; the clock then moves on by a second."""
    now = context.clock()
    labels = ["3"] * right + ["5"] * wrong
    rows = [prediction(now, label=label, version=version, latency_ms=latency_ms) for label in labels]
    ids = recorded(context.database, *rows)
    given = [label_records.SubmittedLabel(key, "3", "audit", "someone", now) for key in ids]
    with context.database.write() as connection:
        label_records.insert_labels(connection, given, now)
    tick(context, seconds=1)
    return ids


def tick(context: AppContext, **amount: float) -> datetime:
    """Move the platform's clock."""
    assert isinstance(context.clock, FakeClock)
    return context.clock.tick(**amount)


def counting(window: Window, rule: Rule, report: Path | None) -> EvidentlyMetrics:
    """In Evidently's place: leaves the exact counts to the decision, and writes a report when asked."""
    if report is not None:
        report.write_text("<html>evidence</html>", encoding="utf-8")
    return EvidentlyMetrics(len(window.rows), len(window.labelled(rule.sources)), None, {}, None, sampled=True)


def lease_of(context: AppContext, holder: str = "me", life: timedelta = timedelta(seconds=15)) -> leases.Lease:
    """The watcher's lease, taken now."""
    with context.database.write() as connection:
        lease = leases.acquire(connection, leader_lease_name("digits"), holder, life, context.clock())
    assert lease is not None
    return lease


def all_alerts(context: AppContext) -> list[Alert]:
    """Every alert, newest first."""
    with context.database.read() as connection:
        return [
            alert_records.find(connection, row.id) for row in alert_records.list_alerts(connection, include_closed=True)
        ]


def all_evaluations(context: AppContext) -> list[evaluations.Evaluation]:
    """Every evaluation, newest first."""
    with context.database.read() as connection:
        return evaluations.recent(connection)


def notices(context: AppContext) -> list[outbox.OutboxMessage]:
    """Every notice, oldest first."""
    with context.database.read() as connection:
        return outbox.recent_messages(connection)[::-1]


def all_retrainings(context: AppContext) -> list[retraining_queue.Retraining]:
    """Every retraining, oldest first."""
    with context.database.read() as connection:
        return retraining_queue.recent(connection)[::-1]


def open_tasks(context: AppContext) -> Sequence[tasks.Task]:
    """The open tasks."""
    with context.database.read() as connection:
        return tasks.open_tasks(connection, "digits")


def reports(context: AppContext) -> list[Path]:
    """The report files on disk."""
    return sorted((context.settings.home / "reports").glob("*"))


def look(
    context: AppContext, name: str = "accuracy-drop", measure: MeasureWindow = counting
) -> evaluations.Evaluation | None:
    """One turn for the slot of the moment, and its measurement."""
    made = evaluate(context, rule(context, name), context.clock())
    return None if made is None else write_report(context, rule(context, name), made, measure)


def breach(context: AppContext) -> None:
    """A champion, and answers that are too often wrong."""
    now = utc_now()
    with context.database.write() as connection:
        promotion_history.append(
            connection,
            model_name="digits",
            expected=None,
            to_version=1,
            kind="first",
            now=now,
            actor="t",
            reason="r",
            fence=1,
        )
        golden = {"correct": 990, "total": 1000}
        evaluations.store_baseline(connection, "digits", 1, "accuracy", "", golden, now)
        context.contracts.pin(connection, DIGITS, "digits", 1, now)
    before = now - timedelta(seconds=1)
    ids = recorded(context.database, *(prediction(before, label="5" if n % 3 else "3") for n in range(60)))
    with context.database.write() as connection:
        label_records.insert_labels(
            connection, [label_records.SubmittedLabel(key, "3", "audit", "t", before) for key in ids], before
        )
