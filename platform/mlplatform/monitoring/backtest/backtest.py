"""The story of a backtest: stored history read once, changed rules replayed over it slot by slot; it writes nothing.

A replay tells what the watcher would have said had these rules been in force since each version began to serve, with a
watcher always on duty. It takes the pure steps of `loop.turn` over what was known at each moment. A slot that was
evaluated in fact is replayed at the moment of its evaluation, any other at its beginning.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Final

from mlplatform.context import Parts
from mlplatform.errors import NotFoundError, SettingsError
from mlplatform.monitoring.backtest.backtest_data import Past, Slot, read_past
from mlplatform.monitoring.backtest.rule_replay import Baselines, Watched
from mlplatform.store.timeouts import unhurried
from monitors.alerts import Alert, Step, step, supersede
from monitors.decisions.finding import NO_DATA
from monitors.rules.alerts_config import AlertsConfig, Rule

NINETY_DAYS: Final = timedelta(days=90)


@dataclass(frozen=True)
class Alarm:
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
class Summary:
    """What one rule would have cost, beside what it did in fact; `not_replayed` says why there is no answer."""

    rule: str
    metric: str
    not_replayed: str | None
    alarms: int
    per_90_days: float
    evaluated_slots: int
    labels: int | None
    alarms_in_fact: int


@dataclass(frozen=True)
class Backtest:
    """The answer: what would have fired between two moments, and what fired in fact."""

    model: str
    since: datetime
    until: datetime
    rules: tuple[Summary, ...]
    alarms: tuple[Alarm, ...]
    in_fact: tuple[Alarm, ...]
    notes: tuple[str, ...]


@unhurried()
def backtest(parts: Parts, config: AlertsConfig, length: timedelta) -> Backtest:
    """Replay the rules over the last so long.

    Raises SettingsError for rules about another model or a length of nothing, NotFoundError before the first champion.
    """
    if config.model != parts.family.name:
        raise SettingsError(
            f"these rules watch model {config.model!r} but PLATFORM_PIPELINE is {parts.family.name!r}; "
            "make them the same"
        )
    if length <= timedelta(0):
        raise SettingsError("a backtest over no time says nothing; write for example --since 30d")
    now = parts.clock()
    with parts.database.read() as connection:
        past = read_past(connection, config, parts.family.classes, now - length, now)
    if past is None:
        raise NotFoundError(f"no version of {config.model} has served yet; `platform train` makes the first")
    replay = Replay(past)
    for slot in past.slots:
        replay.turn(slot)
    return _report(past, config, replay)


@dataclass
class Replay:
    """Alerts as they would have gone, from the first slot on."""

    past: Past
    evaluated: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    alarms: dict[str, Alarm] = field(default_factory=dict)
    _open: dict[tuple[str, str], Alert] = field(default_factory=dict)
    _watched: dict[tuple[str, int], Watched] = field(default_factory=dict)
    _baselines: dict[int, Baselines] = field(default_factory=dict)
    _before: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    _ids: Iterator[int] = field(default_factory=count)

    def turn(self, slot: Slot) -> None:
        """What `loop.turn` decides in this slot."""
        rule, version = slot.rule, slot.champion.to_version
        self._retire(version, slot.moment)
        if version not in self.past.judged:
            return  # it served before the time asked about; only that it took over matters
        watched, baseline = self._watch(rule, version), self._baseline(version)
        read = watched.labels_in_all()
        alerts = {key: each for (name, key), each in self._open.items() if name == rule.name and key != NO_DATA}
        found = watched.findings(slot.champion, baseline.at(slot.moment), slot.moment, alerts)
        if slot.moment >= self.past.since:
            self.evaluated[rule.name] += 1
            self.labels[rule.name] += watched.labels_in_all() - read
        for finding in found:
            moved = step(self._open.get((rule.name, finding.key)), finding, rule, slot.moment, self._new_id)
            self._follow(rule, slot, moved, watched)

    def _new_id(self) -> str:
        return f"replayed {next(self._ids)}"

    def _watch(self, rule: Rule, version: int) -> Watched:
        key = (rule.name, version)
        if key not in self._watched:
            self._watched[key] = self.past.watch(rule, version)
        return self._watched[key]

    def _baseline(self, version: int) -> Baselines:
        if version not in self._baselines:
            self._baselines[version] = Baselines(self.past.pinned[version])
        return self._baselines[version]

    def _retire(self, champion: int, moment: datetime) -> None:
        for key, alert in list(self._open.items()):
            if alert.version != champion:
                moved = supersede(alert, moment)
                del self._open[key]
                self._end(alert.id, moved, moment)

    def _follow(self, rule: Rule, slot: Slot, moved: Step, watched: Watched) -> None:
        alert = moved.alert
        if alert is None:
            return
        key = (rule.name, alert.key)
        read = None if alert.key == NO_DATA else watched.labels_read(alert.key)
        stream = (rule.name, alert.version, alert.key)
        if alert.is_open:
            self._open[key] = alert
        else:
            self._open.pop(key, None)
            self._end(alert.id, moved, slot.moment)
            if alert.fired_at is not None:
                self._before[stream] = read or 0
        if moved.notify == "firing":
            self.alarms[alert.id] = Alarm(
                rule=rule.name,
                key=alert.key,
                version=alert.version,
                fired_at=slot.moment,
                ended_at=None,
                ended=None,
                value=alert.value,
                slot=slot.slot,
                labels=None if read is None else read - self._before[stream],
            )

    def _end(self, alert_id: str, moved: Step, moment: datetime) -> None:
        if alert_id in self.alarms and moved.change is not None:
            ended = replace(self.alarms[alert_id], ended_at=moment, ended=moved.change.to_state)
            self.alarms[alert_id] = ended


def _report(past: Past, config: AlertsConfig, replay: Replay) -> Backtest:
    alarms = tuple(each for each in replay.alarms.values() if each.fired_at >= past.since)
    in_fact = tuple(Alarm(**vars(each)) for each in past.fired)
    return Backtest(
        model=past.model,
        since=past.since,
        until=past.until,
        rules=tuple(_summary(past, rule, replay, alarms, in_fact) for rule in config.rules),
        alarms=alarms,
        in_fact=in_fact,
        notes=tuple(_notes(past)),
    )


def _summary(past: Past, rule: Rule, replay: Replay, alarms: Sequence[Alarm], in_fact: Sequence[Alarm]) -> Summary:
    mine = sum(each.rule == rule.name for each in alarms)
    served = past.until - max(past.since, past.promotions[0].at)
    return Summary(
        rule=rule.name,
        metric=rule.metric,
        not_replayed=past.not_replayed.get(rule.name),
        alarms=mine,
        per_90_days=mine * (NINETY_DAYS / served) if served > timedelta(0) else 0.0,
        evaluated_slots=replay.evaluated[rule.name],
        labels=replay.labels[rule.name] if past.reads_labels(rule) else None,
        alarms_in_fact=sum(each.rule == rule.name for each in in_fact),
    )


def _notes(past: Past) -> Iterator[str]:
    unsure = sum(each.unsure for each in past.latencies.values())
    if unsure:
        yield (
            f"{unsure} slots lay in a minute in which several classes of hosts answered: which of them gave the "
            "answers before the slot is not kept, so that part of a minute was left out."
        )
