"""Rules, rows and windows to test with; every one is valid until a test says otherwise."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from monitors.decisions.finding import Finding, FindingState
from monitors.rules.alerts_config import Rule, Source
from monitors.rules.metric_catalog import METRICS
from monitors.windows.latency_bins import latency_bin
from monitors.windows.window import Baseline, HostLatency, Row, Window
from monitors.windows.window_counts import LabelCount, WindowCounts

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIGITS = tuple("0123456789")
WRITTEN = {metric: kind.example.split('"')[1] for metric, kind in METRICS.items()}


def rule(metric: str = "accuracy_drop", /, **written: object) -> Rule:
    """A rule as it would be written in alerts.yaml."""
    plain = {"name": "a-rule", "metric": metric, "above": WRITTEN.get(metric), "window": "24h", "min_samples": 50}
    return Rule.model_validate({**plain, **written})


def row(
    number: int, label: str = "1", truth: str | None = None, source: Source = "audit", latency_ms: float = 5.0
) -> Row:
    at = NOON + timedelta(milliseconds=number)
    return Row(f"p{number}", at, label, 0.9, latency_ms, truth, source if truth is not None else None)


def window(rows: Sequence[Row], classes: tuple[str, ...] = DIGITS, version: int = 3) -> Window:
    return Window("digits", version, classes, NOON, NOON + timedelta(days=1), tuple(rows))


def tally(rows: Sequence[Row], classes: tuple[str, ...] = DIGITS, version: int = 3) -> WindowCounts:
    """The same rows counted."""
    cells = Counter((r.truth_source, r.truth, r.label) for r in rows if r.truth is not None)
    labels = [LabelCount(source, truth, label, 1.0, n) for (source, truth, label), n in cells.items()]  # type: ignore[arg-type]
    bins = Counter(latency_bin(r.latency_ms) for r in rows if r.latency_ms is not None)
    latency = {"host": dict(bins)} if bins else {}
    return WindowCounts("digits", version, classes, NOON, NOON + timedelta(days=1), len(rows), tuple(labels), latency)


def golden(correct: int, total: int, p95_ms: float | None = None, calls: int = 0) -> Baseline:
    """A baseline of these golden counts, measured on one class of hosts."""
    return Baseline(correct, total, {} if p95_ms is None else {"host": HostLatency(p95_ms, calls)})


def labelled(correct: int, wrong: int, truth: str = "1", start: int = 0, source: Source = "audit") -> list[Row]:
    """Labelled rows of one class, wrong ones answered with the next class."""
    other = str((int(truth) + 1) % 10)
    answers = [truth] * correct + [other] * wrong
    return [row(start + place, answer, truth, source) for place, answer in enumerate(answers)]


def finding(state: FindingState, value: float | None = 0.08, key: str = "", version: int = 3) -> Finding:
    return Finding(
        rule="a-rule", key=key, model="digits", version=version, state=state, sentence=f"It is {state}.",
        threshold=0.005, n=200, value=value, low=0.04, high=0.12, baseline=0.99, clear=state == "ok",
    )  # fmt: skip
