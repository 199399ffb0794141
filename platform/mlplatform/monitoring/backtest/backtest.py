"""Backtests rules: reads stored history once and replays changed rules over it, slot by slot.

A replay tells what the watcher would have said had these rules been in force since each version began to serve, with a
watcher always on duty. It takes the pure steps of `monitoring.evaluate` over what was known at each moment. A slot that
was evaluated in fact is replayed at the moment of its evaluation, any other at its beginning.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Final

from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError, SettingsError
from mlplatform.monitoring.backtest.backtest_data import BacktestData, ReplaySlot, count_slots, load_backtest_data
from mlplatform.monitoring.backtest.rule_replay import BaselineTimeline, RuleReplay
from mlplatform.store.timeouts import long_statements
from monitors.alerts import Alert, AlertStep, apply_finding, supersede
from monitors.decisions.finding import NO_DATA
from monitors.rules.alerts_config import AlertsConfig, Rule
from monitors.rules.block_unit import LABEL_UNIT

NINETY_DAYS: Final = timedelta(days=90)


class TooManySlotsError(SettingsError):
    """The replay would evaluate more slots than it may."""


@dataclass(frozen=True)
class BacktestAlert:
    """An alert that would have fired, or did; `labels` is what its stream had read since the alarm before."""

    rule: str
    key: str
    version: int
    fired_at: datetime
    ended_at: datetime | None
    ended: str | None
    value: float | None
    slot: datetime | None = None
    labels: int | None = None


@dataclass(frozen=True)
class RuleSummary:
    """What one rule would have cost, beside what it did in fact; `not_replayed` says why there is no answer.

    `alarms_label_by_label`: what it would have raised with each label as one observation, where that was asked.
    """

    rule: str
    metric: str
    not_replayed: str | None
    alarms: int
    per_90_days: float
    evaluated_slots: int
    labels: int | None
    alarms_in_fact: int
    alarms_label_by_label: int | None = None


@dataclass(frozen=True)
class BacktestResult:
    """The answer: what would have fired between two moments, and what fired in fact."""

    model: str
    since: datetime
    until: datetime
    rules: tuple[RuleSummary, ...]
    alarms: tuple[BacktestAlert, ...]
    in_fact: tuple[BacktestAlert, ...]
    notes: tuple[str, ...]


@long_statements()
def run_backtest(
    context: AppContext,
    config: AlertsConfig,
    period: timedelta,
    *,
    label_by_label: bool = False,
    max_slots: int | None = None,
) -> BacktestResult:
    """Replay the rules over the last so long; with `label_by_label` those that decide by blocks once more without.

    Raises SettingsError for rules about another model or a length of nothing, TooManySlotsError for more than
    `max_slots` slots, before any is replayed; NotFoundError before the first champion.
    """
    if config.model != context.model_name:
        raise SettingsError(
            f"these rules watch model {config.model!r} but PLATFORM_PIPELINE is {context.model_name!r}; "
            "make them the same"
        )
    if period <= timedelta(0):
        raise SettingsError("a backtest over no time says nothing; write for example --since 30d")
    now = context.clock()
    with context.database.read() as connection:
        counted = count_slots(connection, config, now - period, now)
        if max_slots is not None and counted is not None and counted[0] > max_slots:
            raise TooManySlotsError(
                f"it would evaluate {counted[0]:,} slots, and at most {max_slots:,} are replayed here: a replay begins "
                f"where the versions of that time first served, {counted[1]:%Y-%m-%d %H:%M} UTC"
            )
        data = load_backtest_data(connection, config, context.contracts, now - period, now)
    if data is None:
        raise NotFoundError(f"no version of {config.model} has served yet; `platform train` makes the first")
    replay, without_blocks = BacktestRun(data), BacktestRun(data) if label_by_label else None
    for slot in data.slots:
        replay.evaluate_slot(slot)
        if without_blocks is not None and data.reads_labels(slot.rule):
            rule = slot.rule.model_copy(update={"block": LABEL_UNIT})
            without_blocks.evaluate_slot(replace(slot, rule=rule))
    return _build_result(data, config, replay, without_blocks)


@dataclass
class BacktestRun:
    """Alerts as they would have gone, from the first slot on."""

    data: BacktestData
    evaluated_slots: Counter[str] = field(default_factory=Counter)
    labels_read: Counter[str] = field(default_factory=Counter)
    alerts: dict[str, BacktestAlert] = field(default_factory=dict)
    _open_alerts: dict[tuple[str, str], Alert] = field(default_factory=dict)
    _rule_replays: dict[tuple[str, int], RuleReplay] = field(default_factory=dict)
    _baseline_timelines: dict[int, BaselineTimeline] = field(default_factory=dict)
    _labels_at_last_alert: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    _ids: Iterator[int] = field(default_factory=count)

    def evaluate_slot(self, slot: ReplaySlot) -> None:
        """What `monitoring.evaluate` would have decided in this slot."""
        rule, version = slot.rule, slot.champion.to_version
        self._close_stale_alerts(version, slot.moment)
        if version not in self.data.versions:
            return  # it served before the time asked about; only that it took over matters
        replay, baseline = self._rule_replay(rule, version), self._baseline_timeline(version)
        read = replay.total_labels_read()
        alerts = {
            key: alert for (name, key), alert in self._open_alerts.items() if name == rule.name and key != NO_DATA
        }
        findings = replay.findings(slot.champion, baseline.at(slot.moment), slot.moment, alerts)
        if slot.moment >= self.data.since:
            self.evaluated_slots[rule.name] += 1
            self.labels_read[rule.name] += replay.total_labels_read() - read
        for finding in findings:
            step = apply_finding(
                self._open_alerts.get((rule.name, finding.key)), finding, rule, slot.moment, self._new_id
            )
            self._record_transition(rule, slot, step, replay)

    def _new_id(self) -> str:
        return f"replayed {next(self._ids)}"

    def _rule_replay(self, rule: Rule, version: int) -> RuleReplay:
        key = (rule.name, version)
        if key not in self._rule_replays:
            self._rule_replays[key] = self.data.create_replay(rule, version)
        return self._rule_replays[key]

    def _baseline_timeline(self, version: int) -> BaselineTimeline:
        if version not in self._baseline_timelines:
            self._baseline_timelines[version] = BaselineTimeline(self.data.baseline_events[version])
        return self._baseline_timelines[version]

    def _close_stale_alerts(self, champion: int, moment: datetime) -> None:
        for key, alert in list(self._open_alerts.items()):
            if alert.version != champion:
                step = supersede(alert, moment)
                del self._open_alerts[key]
                self._record_end(alert.id, step, moment)

    def _record_transition(self, rule: Rule, slot: ReplaySlot, step: AlertStep, replay: RuleReplay) -> None:
        alert = step.alert
        if alert is None:
            return
        key = (rule.name, alert.key)
        read = None if alert.key == NO_DATA else replay.labels_read(alert.key)
        stream = (rule.name, alert.version, alert.key)
        if alert.is_open:
            self._open_alerts[key] = alert
        else:
            self._open_alerts.pop(key, None)
            self._record_end(alert.id, step, slot.moment)
            if alert.fired_at is not None:
                self._labels_at_last_alert[stream] = read or 0
        if step.notify == "firing":
            self.alerts[alert.id] = BacktestAlert(
                rule=rule.name,
                key=alert.key,
                version=alert.version,
                fired_at=slot.moment,
                ended_at=None,
                ended=None,
                value=alert.value,
                slot=slot.slot,
                labels=None if read is None else read - self._labels_at_last_alert[stream],
            )

    def _record_end(self, alert_id: str, step: AlertStep, moment: datetime) -> None:
        if alert_id in self.alerts and step.change is not None:
            ended = replace(self.alerts[alert_id], ended_at=moment, ended=step.change.to_state)
            self.alerts[alert_id] = ended


def _build_result(
    data: BacktestData, config: AlertsConfig, replay: BacktestRun, without_blocks: BacktestRun | None
) -> BacktestResult:
    alarms = tuple(alert for alert in replay.alerts.values() if alert.fired_at >= data.since)
    in_fact = tuple(BacktestAlert(**vars(alert)) for alert in data.fired_alerts)
    return BacktestResult(
        model=data.model,
        since=data.since,
        until=data.until,
        rules=tuple(
            replace(
                _summary(data, rule, replay, alarms, in_fact),
                alarms_label_by_label=_alarms_without_blocks(data, rule, without_blocks),
            )
            for rule in config.rules
        ),
        alarms=alarms,
        in_fact=in_fact,
        notes=tuple(_notes(data)),
    )


def _alarms_without_blocks(data: BacktestData, rule: Rule, replay: BacktestRun | None) -> int | None:
    """How often a rule would have fired label by label; None where that was not asked or is not replayed."""
    if replay is None or not data.reads_labels(rule) or rule.name in data.not_replayed:
        return None
    return sum(alert.rule == rule.name and alert.fired_at >= data.since for alert in replay.alerts.values())


def _summary(
    data: BacktestData,
    rule: Rule,
    replay: BacktestRun,
    alarms: Sequence[BacktestAlert],
    in_fact: Sequence[BacktestAlert],
) -> RuleSummary:
    mine = sum(alert.rule == rule.name for alert in alarms)
    served = data.until - max(data.since, data.promotions[0].at)
    return RuleSummary(
        rule=rule.name,
        metric=rule.metric,
        not_replayed=data.not_replayed.get(rule.name),
        alarms=mine,
        per_90_days=mine * (NINETY_DAYS / served) if served > timedelta(0) else 0.0,
        evaluated_slots=replay.evaluated_slots[rule.name],
        labels=replay.labels_read[rule.name] if data.reads_labels(rule) else None,
        alarms_in_fact=sum(alert.rule == rule.name for alert in in_fact),
    )


def _notes(data: BacktestData) -> Iterator[str]:
    ambiguous = sum(timeline.ambiguous_slots for timeline in data.latencies.values())
    if ambiguous:
        yield (
            f"{ambiguous} slots lay in a minute in which several classes of hosts answered: which of them gave the "
            "answers before the slot is not kept, so that part of a minute was left out."
        )
    if data.columns:
        yield "Columns are counted by the hour: a slot was replayed from the hours that were over."
