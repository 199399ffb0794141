"""What a rule would have found about one version at moments of the past; it knows no alert and no store.

The steps are those of the watcher: `advance`, `decide` and `settled` from the room of monitors, in the same order.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol

from mlplatform.feedback.label_history import Pinned
from mlplatform.monitoring.backtest.history_windows import Labels, LabelWindow, Latencies, LatencyWindow
from mlplatform.monitoring.rule_inputs import READ_AT_ONCE, begun_at
from mlplatform.promotion.promotion_history import Promotion
from monitors.alerts import Alert
from monitors.decisions.decision import decide, settled
from monitors.decisions.finding import Finding, silence_of
from monitors.decisions.rule_detectors import WHOLE, advance, changed_since, definition, null_of
from monitors.rules.alerts_config import Rule
from monitors.rules.probation_policy import Probation
from monitors.statistics.e_detector import Detector, has_alarmed, reset
from monitors.windows.window import Baseline, HostLatency
from monitors.windows.window_counts import Judged, LabelCount, Tally

Alerts = Mapping[str, Alert]
_AGREE: Final = 2e-9
"""Twice what `monitors.decisions.finding` allows for rounding."""


def _drop(rule: Rule, window: LabelWindow, baseline: Baseline) -> dict[str, float]:
    shares = window.error_shares(rule.sources, by_class=False)
    golden = 1 - baseline.accuracy_correct / baseline.accuracy_total if baseline.accuracy_total else 0.0
    return {key: share - golden for key, share in shares.items()}


def _by_class(rule: Rule, window: LabelWindow, _baseline: Baseline) -> dict[str, float]:
    return window.error_shares(rule.sources, by_class=True)


QUICK: Final[Mapping[str, Callable[[Rule, LabelWindow, Baseline], dict[str, float]]]] = {
    "accuracy_drop": _drop,
    "class_error": _by_class,
}
"""The value of each replayed label metric by key, without its limits."""


class Watched(Protocol):
    """One rule over one version; moments do not go back."""

    def findings(self, champion: Promotion, baseline: Baseline, moment: datetime, alerts: Alerts) -> list[Finding]:
        """What may move one of the rule's alerts, open ones by their key, or open a new one."""

    def labels_read(self, key: str) -> int | None:
        """How many labels the stream of a key has read; None where no labels are read."""

    def labels_in_all(self) -> int:
        """How many labels have been read."""


@dataclass
class Baselines:
    """A version's baselines as far as they were known at a moment."""

    pinned: Sequence[Pinned]
    _known: int = -1
    _made: Baseline = field(default_factory=lambda: Baseline(0, 0))

    def at(self, moment: datetime) -> Baseline:
        """The same value as long as nothing was added."""
        known = sum(each.at <= moment for each in self.pinned)
        if known != self._known:
            told = self.pinned[:known]
            accuracy = next((each.numbers for each in told if each.kind == "accuracy"), {"correct": 0, "total": 0})
            hosts = {each.host_class: each.numbers for each in told if each.kind == "latency"}
            speeds = {host: HostLatency(numbers["p95_ms"], numbers["calls"]) for host, numbers in hosts.items()}
            self._known, self._made = known, Baseline(accuracy["correct"], accuracy["total"], speeds)
        return self._made


@dataclass
class WatchedLabels:
    """A rule that is decided by labels: its detectors, and its window where that may matter."""

    rule: Rule
    classes: tuple[str, ...]
    labels: Labels
    window: LabelWindow
    terms: Probation
    read: Counter[str] = field(default_factory=Counter)
    held: dict[str, Detector] | None = None
    _digest: str = ""
    _cursor: int = 0
    _baseline: Baseline | None = None

    def findings(self, champion: Promotion, baseline: Baseline, moment: datetime, alerts: Alerts) -> list[Finding]:
        """Nothing but missing data where no finding could move an alert: limits take long to find."""
        self.labels.reach(moment)
        self._follow(champion, baseline)
        empty = _tally(self.rule, self.classes, champion, moment)
        last = self.labels.newest(self.rule.sources) if self.rule.no_data else None
        missing = _silence(self.rule, empty, last, champion)
        if self._is_settled(baseline, moment, alerts):
            return missing
        tally = _tally(self.rule, self.classes, champion, moment, self.window.counts())
        found = decide(self.rule, self._since_change(tally), baseline, self.held or {})
        if self.held is not None:
            self.held |= {key: reset(self.held[key], moment) for key in settled(found, self.held)}
        return [*found, *missing]

    def _since_change(self, tally: Tally) -> Tally:
        """As `evidence.since_change`."""
        changed = changed_since(self.held or {}, tally.start)
        cells = {key: self.labels.counted(moment, tally.end) for key, moment in changed.items()}
        return replace(tally, since_change=cells)

    def _is_settled(self, baseline: Baseline, moment: datetime, alerts: Alerts) -> bool:
        """Whether no finding can open, fire or end an alert.

        A breach is an alarming detector, or without detectors a limit over the threshold, which no limit is while its
        value is not. An alert that fires ends only when its value is clear.
        """
        alarmed = any(has_alarmed(each) for each in (self.held or {}).values())
        if self.held is not None and not alarmed and not alerts:
            return True
        self.window.reach(moment)
        if alarmed:
            return False  # its value is that of the labels since the change, which the window does not know
        values = QUICK[self.rule.metric](self.rule, self.window, baseline)
        breaking = set[str]()
        if self.held is None:
            breaking = {key for key, value in values.items() if value > self.rule.threshold - _AGREE}
        waiting = {key for key, each in alerts.items() if each.state == "pending" or each.calm_since is not None}
        clear = {key for key in alerts if key in values and values[key] <= self.rule.clear_level + _AGREE}
        return not waiting and not clear and breaking <= set(alerts)

    def labels_read(self, key: str) -> int | None:
        return self.read[key]

    def labels_in_all(self) -> int:
        return self.read.total()

    def _follow(self, champion: Promotion, baseline: Baseline) -> None:
        """Read the labels that are new, as `evidence.read_labels` does."""
        if baseline is not self._baseline:
            self._baseline = baseline
            digest = definition(self.rule, baseline, self.classes)
            if digest != self._digest:
                self._digest, self._cursor, self.held = digest, 0, None
                self.read.clear()
        cursor = self._cursor
        rows, self._cursor = self.labels.since(cursor, READ_AT_ONCE)
        by_class, sources = self.rule.kind.key == "class", self.rule.sources
        self.read.update(row.truth if by_class else WHOLE for row in rows if row.is_new_for(sources, cursor))
        if self.rule.false_alarms is None or null_of(self.rule, baseline) is None:
            return
        if rows or self.held is None:
            begun = begun_at(self.rule.false_alarms, champion, self.terms)
            self.held = advance(self.rule, baseline, self.classes, self.held or {}, rows, cursor, begun, self._past)

    def _past(self) -> list[Judged]:
        return self.labels.up_to(self._cursor, READ_AT_ONCE)


@dataclass
class WatchedLatency:
    """A rule that is decided by latencies."""

    rule: Rule
    classes: tuple[str, ...]
    latencies: Latencies
    window: LatencyWindow

    def findings(self, champion: Promotion, baseline: Baseline, moment: datetime, alerts: Alerts) -> list[Finding]:  # noqa: ARG002
        """What the window says at the moment."""
        tally = Tally(
            model=champion.model_name,
            version=champion.to_version,
            classes=self.classes,
            start=moment - self.rule.window,
            end=moment,
            latency=self.window.at(moment),
        )
        last = self.latencies.newest(moment) if self.rule.no_data else None
        return [*decide(self.rule, tally, baseline), *_silence(self.rule, tally, last, champion)]

    def labels_read(self, key: str) -> int | None:  # noqa: ARG002
        return None

    def labels_in_all(self) -> int:
        return 0


def _tally(
    rule: Rule, classes: tuple[str, ...], champion: Promotion, moment: datetime, labels: tuple[LabelCount, ...] = ()
) -> Tally:
    return Tally(
        model=champion.model_name,
        version=champion.to_version,
        classes=classes,
        start=moment - rule.window,
        end=moment,
        labels=labels,
    )


def _silence(rule: Rule, tally: Tally, last: datetime | None, champion: Promotion) -> list[Finding]:
    found = silence_of(rule, tally, last, champion.at)
    return [] if found is None else [found]
