"""Makes the charts of a model's page beside accuracy: latency, volume by class, errors by class and time, confusion."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from markupsafe import Markup

from mlplatform.predictions.prediction_counts import minute_start
from mlplatform.web.charts.bar_chart import Bar, bar_chart
from mlplatform.web.charts.heat_map import heat_map, heat_step
from mlplatform.web.charts.line_chart import Level, LineChart, Point, Series, line_chart
from mlplatform.web.charts.scales import TimeScale
from mlplatform.web.model_series import ModelSeries
from mlplatform.web.time_ranges import TimeRange
from monitors.rules.quantities import milliseconds_text

SHOWN_CLASSES: Final = 4
"""Classes with a colour of their own; the others are added up."""
MAX_CLASSES: Final = 30
"""Classes with a row in the heat map and the confusion matrix, the most frequent ones."""
QUANTILES: Final = ((0.5, "median", "series-1"), (0.95, "95th percentile", "series-2"), (0.99, "99th", "series-4"))


@dataclass(frozen=True)
class ConfusionCell:
    """How many answers of one truth were one class; `shade` is a step of the heat map."""

    truth: str
    answer: str
    n: int
    shade: int


def latency_chart(series: ModelSeries, period: TimeRange, now: datetime, baselines: Mapping[str, Any]) -> Markup:
    """Percentiles over time, against what was measured when the version was tuned."""
    lines = [
        Series(name, [Point(at, value) for at, value in points], kind, 3 * 60 * period.bucket)
        for quantile, name, kind in QUANTILES
        if (points := series.latency(quantile))
    ]
    levels = [
        Level(f"baseline, 95th percentile, {host}", numbers["p95_ms"], "golden")
        for host, numbers in sorted(baselines.items())
        if numbers.get("p95_ms")
    ]
    scale = TimeScale(period.start(now), now)
    return line_chart(LineChart("Latency", scale, lines, milliseconds_text, levels, least=0.0))


def volume_chart(series: ModelSeries, period: TimeRange, now: datetime) -> Markup:
    """Predictions over time by the class that was answered."""
    stretches: dict[int, Counter[str]] = defaultdict(Counter)
    for counted in series.counts:
        stretches[counted.minute].update(counted.classes)
    totals: Counter[str] = sum(stretches.values(), Counter())
    shown = [name for name, _ in totals.most_common(SHOWN_CLASSES)]
    others = "other classes"
    bars = []
    for minute, classes in sorted(stretches.items()):
        start = minute_start(minute)
        parts = {name: float(classes[name]) for name in shown}
        parts[others] = float(classes.total() - sum(classes[name] for name in shown))
        bars.append(Bar(start, min(now, start + period.stretch), parts))
    kinds = [(name, f"series-{place}") for place, name in enumerate(shown, 1)]
    if len(totals) > len(shown):
        kinds.append((others, "series-5"))
    return bar_chart("Predictions by class", TimeScale(period.start(now), now), bars, kinds, lambda n: f"{n:,.0f}")


def error_map(series: ModelSeries, period: TimeRange, now: datetime) -> Markup:
    """The share of wrong answers by true class and time."""
    cells: dict[tuple[str, datetime], list[int]] = defaultdict(lambda: [0, 0])
    labels = Counter[str]()
    for cell in series.outcomes:
        counted = cells[cell.truth, minute_start(cell.minute)]
        counted[0] += cell.wrong
        counted[1] += cell.n
        labels[cell.truth] += cell.n
    shown = sorted(name for name, _ in labels.most_common(MAX_CLASSES))
    return heat_map(
        "Errors by true class",
        TimeScale(period.start(now), now),
        shown,
        {place: (wrong / n, f"{wrong} of {n} wrong") for place, (wrong, n) in sorted(cells.items())},
        lambda start: min(now, start + period.stretch),
        note="the darker, the larger the share that was wrong",
    )


def confusion_rows(counts: Mapping[tuple[str, str], int]) -> tuple[Sequence[str], list[list[ConfusionCell]]]:
    """The classes and a row for each true one; shades tell errors from each other, and right answers apart."""
    seen = Counter[str]()
    for (truth, answer), n in counts.items():
        seen[truth] += n
        seen[answer] += 0 if truth == answer else n
    classes = sorted(name for name, _ in seen.most_common(MAX_CLASSES))
    worst = max((n for (truth, answer), n in counts.items() if truth != answer), default=0)

    def cell(truth: str, answer: str) -> ConfusionCell:
        n = counts.get((truth, answer), 0)
        return ConfusionCell(truth, answer, n, 0 if truth == answer or not n else heat_step(n / worst))

    return classes, [[cell(truth, answer) for answer in classes] for truth in classes]
