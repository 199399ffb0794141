"""Everything a backtest reads, in one snapshot: slots with their champions, labels, latencies, baselines, alarms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import Connection

from mlplatform.feedback import label_history
from mlplatform.host.clock_steps import slot_at
from mlplatform.monitoring.backtest import recorded_decisions
from mlplatform.monitoring.backtest.column_replay import ColumnRuleReplay, ColumnTimeline, load_column_timelines
from mlplatform.monitoring.backtest.history_windows import LabelTimeline, LatencyTimeline, LatencyWindow
from mlplatform.monitoring.backtest.rule_replay import LabelRuleReplay, LatencyRuleReplay, RuleReplay
from mlplatform.monitoring.detector_inputs import earlier_lags
from mlplatform.predictions import latency_history
from mlplatform.promotion import promotion_history
from mlplatform.promotion.promotion_history import Promotion
from mlplatform.store.version_contracts import VersionContracts
from monitors.rules.alerts_config import AlertsConfig, Rule
from monitors.rules.probation_policy import Probation
from monitors.statistics.label_maturity import LabelLags

HistoryKind = Literal["labels", "latency", "columns"]
REPLAYABLE_METRICS: Final[Mapping[str, HistoryKind]] = {
    "accuracy_drop": "labels",
    "class_error": "labels",
    "latency_ratio": "latency",
    **dict.fromkeys(("column_missing", "column_unseen", "column_range", "column_drift", "column_skew"), "columns"),
}
"""From what is kept each metric is replayed; one that is missing here is reported as not replayed."""
_NO_LIMIT: Final = 1_000_000


@dataclass(frozen=True)
class ReplaySlot:
    """One rule to be evaluated at a moment, and the promotion that was in force then."""

    moment: datetime
    rule: Rule
    slot: datetime
    champion: Promotion


@dataclass(frozen=True)
class BacktestData:
    """What was stored about a model; `versions` holds those that served in the time asked about."""

    model: str
    classes: Mapping[int, tuple[str, ...]]
    since: datetime
    until: datetime
    promotions: tuple[Promotion, ...]
    slots: tuple[ReplaySlot, ...]
    versions: frozenset[int]
    baseline_events: Mapping[int, Sequence[recorded_decisions.BaselineEvent]]
    labels: Mapping[int, LabelTimeline]
    latencies: Mapping[int, LatencyTimeline]
    fired_alerts: tuple[recorded_decisions.FiredAlert, ...]
    not_replayed: Mapping[str, str]
    probation: Probation
    earlier_lags: Mapping[int, LabelLags] = field(default_factory=dict)
    """By promotion: how late the labels of the versions before came."""
    columns: Mapping[int, ColumnTimeline] = field(default_factory=dict)
    """The counts of columns by hour, of each version that takes a table; none where no rule needs them."""

    def reads_labels(self, rule: Rule) -> bool:
        """Whether the rule is replayed from labels."""
        return REPLAYABLE_METRICS.get(rule.metric) == "labels"

    def create_replay(self, rule: Rule, version: int) -> RuleReplay:
        """The rule over the version, before its first slot."""
        if self.reads_labels(rule):
            return LabelRuleReplay(rule, self.classes[version], self.labels[version], self.earlier_lags, self.probation)
        if REPLAYABLE_METRICS[rule.metric] == "columns":
            return ColumnRuleReplay(rule, self.classes[version], self.columns.get(version))
        latencies = self.latencies[version]
        return LatencyRuleReplay(rule, self.classes[version], latencies, LatencyWindow(latencies, rule.window))


def load_backtest_data(
    connection: Connection, config: AlertsConfig, contracts: VersionContracts, since: datetime, until: datetime
) -> BacktestData | None:
    """What the replay of these rules needs; None where no version has served by then.

    It begins where the versions that served since then first did: what a rule holds of them at `since` follows from
    all their labels.
    """
    name, served = config.model, _served(connection, config.model, until)
    if not served:
        return None
    versions = _serving_versions(served, since)
    start, rules = _start(served, versions), _replayed_rules(config)
    moments = {rule.name: recorded_decisions.evaluation_times(connection, name, rule.name, start) for rule in rules}
    slots = _slots(config, rules, served, moments, (start, until))
    slow = [rule for rule in rules if REPLAYABLE_METRICS[rule.metric] == "latency"]
    return BacktestData(
        model=name,
        classes={version: contracts.classes_of(connection, name, version) for version in versions},
        since=since,
        until=until,
        promotions=tuple(served),
        slots=slots,
        versions=versions,
        baseline_events={
            version: recorded_decisions.baseline_events(connection, name, version) for version in versions
        },
        labels={
            version: LabelTimeline(
                label_history.label_events(connection, name, version, contracts.of(connection, name, version).task)
            )
            for version in versions
        },
        latencies={version: _latencies(connection, name, version, slow, slots) for version in versions},
        fired_alerts=tuple(recorded_decisions.fired_alerts(connection, name, since, until)),
        not_replayed={rule.name: _reason_not_replayed(rule) for rule in config.rules if rule not in rules},
        probation=config.probation,
        earlier_lags={
            promotion.seq: earlier_lags(connection, promotion)
            for promotion in served
            if promotion.to_version in versions
        },
        columns=load_column_timelines(connection, contracts, name, versions, rules),
    )


def count_slots(
    connection: Connection, config: AlertsConfig, since: datetime, until: datetime
) -> tuple[int, datetime] | None:
    """How many slots a replay of these rules has, and where it begins; None where no version has served by then."""
    served = _served(connection, config.model, until)
    if not served:
        return None
    start = _start(served, _serving_versions(served, since))
    return sum((until - start) // config.interval(rule) + 1 for rule in _replayed_rules(config)), start


def _served(connection: Connection, name: str, until: datetime) -> list[Promotion]:
    """The promotions made by then, oldest first."""
    history = promotion_history.promotion_history(connection, name, limit=_NO_LIMIT)
    return sorted((made for made in history if made.at <= until), key=lambda promotion: promotion.seq)


def _start(served: Sequence[Promotion], versions: frozenset[int]) -> datetime:
    """Where the first of the versions first served."""
    return min(promotion.at for promotion in served if promotion.to_version in versions)


def _replayed_rules(config: AlertsConfig) -> list[Rule]:
    return [rule for rule in config.rules if rule.metric in REPLAYABLE_METRICS and not rule.slice]


def champion_at(served: Sequence[Promotion], moment: datetime) -> Promotion | None:
    """The newest promotion made by then, of a history oldest first."""
    return next((promotion for promotion in reversed(served) if promotion.at <= moment), None)


def _serving_versions(served: Sequence[Promotion], since: datetime) -> frozenset[int]:
    """The versions that served at some time since then."""
    first = champion_at(served, since)
    later = {promotion.to_version for promotion in served if promotion.at > since}
    return frozenset(later | ({first.to_version} if first is not None else set()))


def _slots(
    config: AlertsConfig,
    rules: Sequence[Rule],
    served: Sequence[Promotion],
    moments: Mapping[str, Mapping[datetime, datetime]],
    span: tuple[datetime, datetime],
) -> tuple[ReplaySlot, ...]:
    """Every slot of every rule in the order of their moments, from the first champion on."""
    keys: list[tuple[datetime, int, datetime]] = []
    for place, rule in enumerate(rules):
        every, real = config.interval(rule), moments[rule.name]
        slot = slot_at(span[0], every)
        while slot <= span[1]:
            moment = real.get(slot, slot)
            if slot_at(moment, every) != slot:
                moment = slot  # it was evaluated under another schedule
            if span[0] <= moment <= span[1]:
                keys.append((moment, place, slot))
            slot += every
    slots = []
    for moment, place, slot in sorted(keys):
        champion = champion_at(served, moment)
        if champion is not None:
            slots.append(ReplaySlot(moment, rules[place], slot, champion))
    return tuple(slots)


def _latencies(
    connection: Connection, model: str, version: int, rules: Sequence[Rule], slots: Sequence[ReplaySlot]
) -> LatencyTimeline:
    """The latencies that the slots of these rules look at while the version served."""
    names = {rule.name for rule in rules}
    moments = [slot.moment for slot in slots if slot.rule.name in names and slot.champion.to_version == version]
    if not moments:
        return LatencyTimeline({}, {})
    start = min(moments) - max((rule.window for rule in rules), default=timedelta(0))
    return LatencyTimeline(
        latency_history.latency_by_minute(connection, model, version, start, max(moments)),
        latency_history.partial_minute_latencies(connection, model, version, moments),
    )


def _reason_not_replayed(rule: Rule) -> str:
    if rule.slice:
        return "rules on a slice are not replayed: counts are kept of the whole"
    metrics = ", ".join(sorted(REPLAYABLE_METRICS))
    return (
        f"metric {rule.metric} is not replayed: what it was measured on is not kept by moment; replayed are {metrics}"
    )
