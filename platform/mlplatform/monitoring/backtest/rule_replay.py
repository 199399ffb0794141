"""What a rule would have found about one version at moments of the past.

The steps are those of the watcher: `update_detectors`, `decide` and `resolved_streams` of monitors, in the same order.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol, cast

from mlplatform.monitoring.backtest.history_windows import LabelTimeline, LabelWindow, LatencyTimeline, LatencyWindow
from mlplatform.monitoring.backtest.recorded_decisions import BaselineEvent
from mlplatform.monitoring.detector_inputs import MAX_LABELS_PER_READ, budget_start
from mlplatform.monitoring.rule_inputs import make_baseline
from mlplatform.promotion.promotion_history import Promotion
from monitors.alerts import Alert
from monitors.decisions.decision import decide, resolved_streams
from monitors.decisions.detectors.label_detector import LabelDetector, restart
from monitors.decisions.detectors.label_reading import (
    Reading,
    ReadPosition,
    plan_reading,
    source_windows,
    waiting_sources,
    windows_since,
)
from monitors.decisions.detectors.rule_detectors import (
    WHOLE_STREAM,
    change_points_since,
    count_new_labels,
    detectors_digest,
    null_hypothesis,
    update_detectors,
)
from monitors.decisions.finding import Finding, missing_data_of
from monitors.rules.alerts_config import Rule, Source
from monitors.rules.probation_policy import Probation
from monitors.statistics.e_detector import has_alarmed
from monitors.statistics.label_maturity import LabelLags
from monitors.windows.window import Baseline
from monitors.windows.window_counts import LabelCount, Outcome, SourceWindow, WindowCounts

OpenAlerts = Mapping[str, Alert]
_TOLERANCE: Final = 2e-9
"""Twice what `monitors.decisions.finding` allows for rounding."""


def _accuracy_drop(labels: Sequence[LabelCount], baseline: Baseline) -> dict[str, float]:
    golden = 1 - baseline.accuracy_correct / baseline.accuracy_total if baseline.accuracy_total else 0.0
    shares = _error_shares((WHOLE_STREAM, cell) for cell in labels)
    return {key: share - golden for key, share in shares.items()}


def _class_error(labels: Sequence[LabelCount], _baseline: Baseline) -> dict[str, float]:
    return _error_shares((cell.truth, cell) for cell in labels)


def _error_shares(cells: Iterable[tuple[str, LabelCount]]) -> dict[str, float]:
    """The weighted share of wrong answers by key."""
    wrong, every = defaultdict[str, float](float), defaultdict[str, float](float)
    for key, cell in cells:
        every[key] += cell.weight * cell.n
        wrong[key] += cell.weight * cell.n * (not cell.correct)
    return {key: wrong[key] / total for key, total in every.items() if total > 0}


POINT_ESTIMATES: Final[Mapping[str, Callable[[Sequence[LabelCount], Baseline], dict[str, float]]]] = {
    "accuracy_drop": _accuracy_drop,
    "class_error": _class_error,
}
"""The value of each replayed label metric by key, without its limits, from the labels of one source."""


class RuleReplay(Protocol):
    """One rule over one version; moments do not go back."""

    def findings(self, champion: Promotion, baseline: Baseline, moment: datetime, alerts: OpenAlerts) -> list[Finding]:
        """What may move one of the rule's alerts, open ones by their key, or open a new one."""

    def labels_read(self, key: str) -> int | None:
        """How many labels the stream of a key has read; None where no labels are read."""

    def total_labels_read(self) -> int:
        """How many labels have been read."""


@dataclass
class BaselineTimeline:
    """A version's baselines as far as they were known at a moment."""

    events: Sequence[BaselineEvent]
    _event_count: int = -1
    _baseline: Baseline = field(default_factory=lambda: Baseline(0, 0))

    def at(self, moment: datetime) -> Baseline:
        """The same value as long as nothing was added."""
        event_count = sum(event.at <= moment for event in self.events)
        if event_count != self._event_count:
            events = self.events[:event_count]
            accuracy = next((event.numbers for event in events if event.kind == "accuracy"), None)
            hosts = {event.host_class: event.numbers for event in events if event.kind == "latency"}
            self._event_count = event_count
            self._baseline = make_baseline(accuracy, hosts)
        return self._baseline


@dataclass
class LabelRuleReplay:
    """A rule that is decided by labels: its detectors, and its window where that may matter.

    `earlier_lags` tell by promotion how late the labels of the versions before came.
    """

    rule: Rule
    classes: tuple[str, ...]
    labels: LabelTimeline
    earlier_lags: Mapping[int, LabelLags]
    probation: Probation
    read_counts: Counter[str] = field(default_factory=Counter)
    detectors: dict[str, LabelDetector] | None = None
    _windows: dict[str, LabelWindow] = field(default_factory=dict)
    _digest: str = ""
    _position: ReadPosition | None = None
    _reading: Reading | None = None
    _baseline: Baseline | None = None

    def findings(self, champion: Promotion, baseline: Baseline, moment: datetime, alerts: OpenAlerts) -> list[Finding]:
        """Nothing but missing data where no finding could move an alert: limits take long to find."""
        self.labels.advance_to(moment)
        self._read_new_labels(champion, baseline, moment)
        limits = source_windows(self.rule, self._reading, moment)
        empty = _window_counts(self.rule, self.classes, champion, moment)
        last = self.labels.last_label_at(self.rule.sources) if self.rule.no_data else None
        missing = _missing_data_findings(self.rule, empty, last, champion)
        if self._cannot_change_alert(baseline, limits, alerts):
            return missing
        cells = tuple(cell for source in limits for cell in self._window_labels(source, limits))
        tally = replace(
            _window_counts(self.rule, self.classes, champion, moment, cells),
            source_windows=limits,
            waiting_sources=waiting_sources(self.rule, self._reading),
        )
        findings = decide(self.rule, self._counts_since_change(tally), baseline, self.detectors or {})
        if self.detectors is not None:
            self.detectors |= {
                key: restart(self.detectors[key], moment) for key in resolved_streams(findings, self.detectors)
            }
        return [*findings, *missing]

    def _counts_since_change(self, tally: WindowCounts) -> WindowCounts:
        """As `rule_inputs.counts_since_change`."""
        windows = tally.source_windows
        start = min((window.start for window in windows.values()), default=tally.start)
        cells = {
            key: tuple(
                cell
                for source, window in windows_since(windows, moment).items()
                for cell in self.labels.count_labels(window.start, window.end, cast("Source", source))
            )
            for key, moment in change_points_since(self.detectors or {}, start).items()
        }
        return replace(tally, since_change=cells)

    def _window_labels(self, source: str, limits: Mapping[str, SourceWindow]) -> list[LabelCount]:
        """The labels of a source in its window, which moves on."""
        window = self._windows.setdefault(source, LabelWindow(self.labels, self.rule.window))
        window.advance_to(limits[source].end)
        return window.counts(cast("Source", source))

    def _cannot_change_alert(self, baseline: Baseline, limits: Mapping[str, SourceWindow], alerts: OpenAlerts) -> bool:
        """Whether no finding can open, fire or end an alert.

        A breach is an alarming detector, or without detectors a limit over the threshold, which no limit is while its
        value is not. An alert that fires ends only when its value is clear.
        """
        alarmed = any(has_alarmed(detector) for detector in (self.detectors or {}).values())
        if self.detectors is not None and not alarmed and not alerts:
            return True
        if alarmed:
            return False  # its value is that of the labels since the change, which the window does not know
        estimate = POINT_ESTIMATES[self.rule.metric]
        values = [pair for source in limits for pair in estimate(self._window_labels(source, limits), baseline).items()]
        breaking = set[str]()
        if self.detectors is None:
            breaking = {key for key, value in values if value > self.rule.threshold - _TOLERANCE}
        waiting = {key for key, alert in alerts.items() if alert.state == "pending" or alert.calm_since is not None}
        clear = {key for key, value in values if key in alerts and value <= self.rule.clear_level + _TOLERANCE}
        return not waiting and not clear and breaking <= set(alerts)

    def labels_read(self, key: str) -> int | None:
        return self.read_counts[key]

    def total_labels_read(self) -> int:
        return self.read_counts.total()

    def _read_new_labels(self, champion: Promotion, baseline: Baseline, moment: datetime) -> None:
        """Read the labels that are new, as `detector_inputs.advance_detectors` does."""
        if baseline is not self._baseline:
            self._baseline = baseline
            digest = detectors_digest(self.rule, baseline, self.classes)
            if digest != self._digest:
                self._digest, self._position, self.detectors = digest, None, None
                self.read_counts.clear()
        if self._position is None:
            self._position = ReadPosition(lags={"delayed": self.earlier_lags.get(champion.seq, LabelLags())})
        rows, _ = self.labels.since(self._position.cursor, MAX_LABELS_PER_READ)
        reading = plan_reading(self.rule, self._position, rows, moment)
        span = reading.matured_span
        rows += [] if span is None else self.labels.between(*span)
        self._position = reading.after
        self.read_counts.update(count_new_labels(self.rule, rows, reading))
        if self.rule.false_alarms is None or null_hypothesis(self.rule, baseline) is None:
            return
        self._reading = reading
        if rows or self.detectors is None:
            start = budget_start(self.rule.false_alarms, champion, self.probation)
            self.detectors = update_detectors(
                self.rule, baseline, self.classes, self.detectors or {}, rows, reading, start, self._earlier_labels
            )

    def _earlier_labels(self) -> list[Outcome]:
        cursor = 0 if self._position is None else self._position.cursor
        return self.labels.up_to(cursor, MAX_LABELS_PER_READ)


@dataclass
class LatencyRuleReplay:
    """A rule that is decided by latencies."""

    rule: Rule
    classes: tuple[str, ...]
    latencies: LatencyTimeline
    window: LatencyWindow

    def findings(self, champion: Promotion, baseline: Baseline, moment: datetime, alerts: OpenAlerts) -> list[Finding]:  # noqa: ARG002
        """What the window says at the moment."""
        tally = WindowCounts(
            model=champion.model_name,
            version=champion.to_version,
            classes=self.classes,
            start=moment - self.rule.window,
            end=moment,
            latency=self.window.at(moment),
        )
        last = self.latencies.last_prediction_at(moment) if self.rule.no_data else None
        return [*decide(self.rule, tally, baseline), *_missing_data_findings(self.rule, tally, last, champion)]

    def labels_read(self, key: str) -> int | None:  # noqa: ARG002
        return None

    def total_labels_read(self) -> int:
        return 0


def _window_counts(
    rule: Rule, classes: tuple[str, ...], champion: Promotion, moment: datetime, labels: tuple[LabelCount, ...] = ()
) -> WindowCounts:
    return WindowCounts(
        model=champion.model_name,
        version=champion.to_version,
        classes=classes,
        start=moment - rule.window,
        end=moment,
        labels=labels,
    )


def _missing_data_findings(
    rule: Rule, counts: WindowCounts, last: datetime | None, champion: Promotion
) -> list[Finding]:
    finding = missing_data_of(rule, counts, last, champion.at)
    return [] if finding is None else [finding]
