"""Alerts under any order of events: labels, turns, clocks that jump, people, new versions, edited rules."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from sqlalchemy import select

from mlplatform.alerting import alert_records
from mlplatform.alerting.evaluations import Evaluation
from mlplatform.errors import NotFoundError
from mlplatform.feedback import label_records
from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.host.clock_steps import slot_at
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.operations.operator_actions import acknowledge_alert, silence_alerts
from mlplatform.promotion.promotion_service import promotion_service
from mlplatform.store.tables.alerting import alert_transitions, evaluations, outbox
from mlplatform.store.tables.alerting import alerts as alert_rows
from mlplatform.store.tables.audit import audit_log
from monitors.alerts import Alert, Silence
from monitors.rules.alerts_config import Rule
from tests.support.monitoring_world import promote, with_rules
from tests.support.platform_world import prediction, recorded
from tests.support.state_machines import DEPTH, PlatformMachine, drive

CLOSED = ("resolved", "superseded")
FIRST = {"for": "0s", "keep": "0s", "repeat": "1h", "no_data": "", "budget": "", "action": "retrain"}
OPTIONS = st.fixed_dictionaries(
    {
        "for": st.sampled_from(["0s", "20m"]),
        "keep": st.sampled_from(["0s", "20m"]),
        "repeat": st.sampled_from(["30m", "1h"]),
        "no_data": st.sampled_from(["", "no_data: 40m,"]),
        "budget": st.sampled_from(["", "false_alarms: 5 per 1d,"]),
        "action": st.sampled_from(["retrain", "none"]),
        "escalate": st.sampled_from(["", "escalate: {after: 40m, notify: [boss]},"]),
        "inhibited": st.sampled_from(["", "inhibited_by: [accuracy-drop],"]),
        "mute": st.sampled_from(["", 'mute: [{from: "00:00", to: "12:30", severities: [warning, critical]}]']),
        "classes": st.booleans(),
    }
)


def written(chosen: Mapping[str, Any]) -> str:
    """alerts.yaml with these options."""
    whole = (
        "- {{name: accuracy-drop, metric: accuracy_drop, above: 5 points, window: 1h, min_samples: 10, clear: 2 points,"
        " for: {for}, keep_firing: {keep}, repeat: {repeat}, {no_data} {budget} {escalate} severity: critical,"
        " action: {action}, notify: [team]}}"
    )
    classes = (
        "- {{name: class-error, metric: class_error, above: 20 %, window: 1h, min_samples: 5, repeat: {repeat},"
        " {budget} {inhibited} action: label-audit, notify: [team]}}"
    )
    options = {"escalate": "", "inhibited": "", "mute": "", "classes": True, **chosen}
    rules = [whole, classes] if options["classes"] else [whole]
    return "\n".join(
        [
            "version: 1",
            "model: digits",
            "schedule: {every: 10m}",
            options["mute"],
            "channels:",
            '  team: {type: slack, url: "http://slack.test/hook"}',
            '  boss: {type: slack, url: "http://slack.test/boss"}',
            "rules:",
            *("  " + each.format(**options) for each in rules),
        ]
    )


class AlertMachine(PlatformMachine):
    """Drives `loop.turn` on a real store and remembers what it must not see twice."""

    def __init__(self, template: Path) -> None:
        super().__init__(template)
        self.version = self.newest = 0
        self.done: set[tuple[str, datetime]] = set()
        self.told = 0
        self.since_jump = 0
        self.acted: dict[str, tuple[datetime, int]] = {}

    # --- what happens

    @initialize(chosen=OPTIONS)
    def begin(self, chosen: dict[str, Any]) -> None:
        with_rules(self.context, written(FIRST | chosen))
        self.another_version_serves(back=False)

    @rule(
        digits=st.sampled_from(["3", "35"]),
        wrong=st.sampled_from([0, 0, 1, 5, 8]),
        source=st.sampled_from(["audit", "audit", "correction"]),
    )
    def answers_come_with_their_labels(self, digits: str, wrong: int, source: LabelSource) -> None:
        now, rows, given = self.clock.now, [], []
        for digit in digits:
            for place in range(8):
                label = str((int(digit) + int(place < wrong)) % 10)
                rows.append(prediction(now, label=label, version=self.version))
                given.append(label_records.SubmittedLabel(rows[-1].prediction.id, digit, source, "ann", now))
        recorded(self.database, *rows)
        with self.database.write() as connection:
            label_records.insert_labels(connection, given, now)

    @rule(digits=st.sampled_from(["3", "35"]), wrong=st.sampled_from([0, 0, 8]), times=st.integers(2, 7))
    def the_watcher_sees_traffic(self, digits: str, wrong: int, times: int) -> None:
        for _ in range(times):
            self.answers_come_with_their_labels(digits, wrong, "audit")
            for each in self.context.rules.rules:
                self.evaluate(each)
            self.clock.tick(minutes=10)

    @rule(wrong=st.sampled_from([0, 1, 8]))
    def few_labels_come_after_a_quiet_hour(self, wrong: int) -> None:
        self.clock.tick(minutes=70)
        self.answers_come_with_their_labels("3", wrong, "audit")
        for each in self.context.rules.rules:
            self.evaluate(each)

    @rule(minutes=st.sampled_from([1, 10, 10, 20, 45, 200, 2000]))
    def time_goes_by(self, minutes: int) -> None:
        self.clock.tick(minutes=minutes)

    @rule(minutes=st.sampled_from([5, 30, 300]))
    def the_clock_is_set_back(self, minutes: int) -> None:
        self.clock.tick(minutes=-minutes)
        self.since_jump += 1

    @rule(back=st.booleans())
    def another_version_serves(self, back: bool) -> None:
        if not back:
            self.version = self.newest = self.newest + 1
            promote(self.context, self.version)
            return
        with suppress(NotFoundError):  # there is none to go back to
            self.version = promotion_service(self.context).rollback("digits", "ann", "because").to_version

    @rule(chosen=OPTIONS)
    def rules_are_edited(self, chosen: dict[str, Any]) -> None:
        with_rules(self.context, written(FIRST | chosen))
        self.since_jump += 1

    @rule(name=st.sampled_from(["*", "accuracy-drop", "class-*"]), minutes=st.sampled_from([15, 120]))
    def somebody_silences(self, name: str, minutes: int) -> None:
        until = self.context.clock() + timedelta(minutes=minutes)
        with suppress(NotFoundError):  # no such rule is written now
            silence_alerts(self.context, Silence(name, until, reason="we know"), "ann")

    @rule(data=st.data())
    def somebody_acknowledges(self, data: st.DataObject) -> None:
        firing = [each for each in self.open_alerts() if each.state == "firing"]
        if firing:
            acknowledge_alert(self.context, data.draw(st.sampled_from(firing)).id, "ann")

    @rule(place=st.integers(0, 1))
    def a_rule_is_evaluated(self, place: int) -> None:
        watched = self.context.rules.rules
        self.evaluate(watched[place % len(watched)])

    @rule(times=st.integers(1, 4))
    def the_watcher_goes_on(self, times: int) -> None:
        for _ in range(times):
            for each in self.context.rules.rules:
                self.evaluate(each)
            self.clock.tick(minutes=10)

    # --- one turn, looked at closely

    def evaluate(self, watched: Rule) -> None:
        slot = slot_at(self.clock.now, self.context.rules.interval(watched))
        before, was_open = self.counts(), {each.id: each for each in self.open_alerts()}
        silenced = self.silences(watched)
        made = evaluate(self.context, watched, slot)
        if (watched.name, slot) in self.done:
            assert made is None
            assert self.counts() == before, "a slot that is done changes nothing"
            return
        assert made is not None
        self.done.add((watched.name, slot))
        self.check_states(watched, made, was_open)
        self.check_messages(watched, made, was_open, silenced)
        self.check_actions(watched, made, was_open)

    def check_states(self, watched: Rule, made: Evaluation, was_open: Mapping[str, Alert]) -> None:
        findings = {each["key"]: each for each in made.findings}
        names = {each.name for each in self.context.rules.rules}
        for alert in self.open_alerts():
            assert alert.version == self.version, "alerts of versions that no longer serve are closed"
            assert alert.rule in names, "and those of rules that are gone"
        for change in self.changes(made.at, was_open):
            alert = self.alert(change["alert_id"])
            if alert.rule != watched.name or change["to_state"] == "superseded":
                continue
            state = findings[alert.key]["state"]
            if change["to_state"] in ("pending", "firing"):
                assert state == "breach", "only a proof opens or fires an alert"
            if change["to_state"] == "resolved":
                assert state == "ok", "only health ends one"

    def check_messages(
        self, watched: Rule, made: Evaluation, was_open: Mapping[str, Alert], silenced: frozenset[str]
    ) -> None:
        fresh = self.messages()[self.told :]
        self.told += len(fresh)
        muted = any(hours.covers(watched.severity, made.at) for hours in self.context.rules.mute)
        told: Counter[tuple[str, str]] = Counter()
        for message in fresh:
            kind = message.payload["kind"]
            told.update((key, kind) for key in message.payload["alerts"])
            late = message.next_attempt_at > made.at
            assert not muted or kind in ("escalated", *CLOSED), "in mute hours only an escalation and an end are told"
            for key in message.payload["alerts"]:
                alert = self.alert(key)
                assert alert.rule == watched.name or kind == "superseded"
                assert not self.is_silent(alert), "nobody is told under a silence"
                assert kind != "repeat" or was_open[key].state == "firing", "taken on: no more reminders"
                hushed = any(hours.covers(alert.severity, made.at) for hours in self.context.rules.mute)
                assert late == (hushed and kind in CLOSED), "and the end after them"
        self.check_endings(was_open, told)
        inhibited = any(each.rule in watched.inhibited_by and each.state != "pending" for each in self.open_alerts())
        for alert in self.open_alerts():
            if alert.rule == watched.name and alert.state == "firing" and alert.fired_at == made.at:
                began = was_open.get(alert.id)
                if (began is None or began.state == "pending") and not (muted or inhibited or silenced):
                    assert told[alert.id, "firing"] == 1, "an alert that fires is told, once"

    def check_endings(self, was_open: Mapping[str, Alert], told: Mapping[tuple[str, str], int]) -> None:
        heard: dict[str, set[str]] = {}
        for message in self.messages():
            if message.payload["kind"] not in CLOSED:
                for key in message.payload["alerts"]:
                    heard.setdefault(key, set()).add(message.channel)
        for key in was_open:
            alert = self.alert(key)
            if alert.state in CLOSED and not self.is_silent(alert):
                assert told.get((key, alert.state), 0) >= len(heard.get(key, ())), "who heard of it hears of its end"

    def check_actions(self, watched: Rule, made: Evaluation, was_open: Mapping[str, Alert]) -> None:
        for key, times in Counter(self.actions(made.at)).items():
            alert = self.alert(key)
            before = self.acted.get(key)
            if before is not None and before[0] == made.at:
                continue  # seen in an evaluation of this very moment
            assert times == 1
            if before is not None and before[1] == self.since_jump:
                assert made.at - before[0] >= watched.repeat, "one action for each reminder"
            assert alert.state == "firing", "nothing is started for an alert that does not fire"
            self.acted[key] = (made.at, self.since_jump)
        assert was_open is not None

    # --- what must always hold

    @invariant()
    def one_open_alert_for_each_rule_key_and_version(self) -> None:
        counted = Counter((each.rule, each.key, each.version) for each in self.open_alerts())
        assert not [key for key, times in counted.items() if times > 1]

    @invariant()
    def histories_are_whole_and_end_for_good(self) -> None:
        with self.database.read() as connection:
            states = {row.id: row.state for row in connection.execute(select(alert_rows.c.id, alert_rows.c.state))}
            rows = connection.execute(select(alert_transitions).order_by(alert_transitions.c.id)).all()
        reached: dict[str, str | None] = dict.fromkeys(states)
        for row in rows:
            assert row.from_state == reached[row.alert_id], "each change begins where the one before ended"
            assert row.from_state not in CLOSED, "what is closed stays closed"
            assert row.from_state != row.to_state
            reached[row.alert_id] = row.to_state
        assert reached == states, "every state was reached by a change that is kept"

    @invariant()
    def notices_are_told_once(self) -> None:
        kinds: Counter[tuple[str, str, str]] = Counter()
        keys = Counter(message.idempotency_key for message in self.messages())
        for message in self.messages():
            kinds.update((key, message.payload["kind"], message.channel) for key in message.payload["alerts"])
        assert set(keys.values()) <= {1}
        assert {times for (_, kind, _), times in kinds.items() if kind != "repeat"} <= {1}

    @invariant()
    def no_alert_acts_more_often_than_it_reminds(self) -> None:
        with self.database.read() as connection:
            wanted = audit_log.c.action.in_(("retrain", "label-audit"))
            acts = Counter(connection.scalars(select(audit_log.c.subject).where(wanted)))
            rows = alert_records.list_alerts(connection, include_closed=True, limit=10_000)
        for row in rows:
            others = (row.state == "resolved") + (row.numbers.get("escalated_at") is not None)
            assert acts[f"alert/{row.id}"] <= max(0, row.notices - others)

    @invariant()
    def one_evaluation_for_each_slot(self) -> None:
        with self.database.read() as connection:
            made = Counter(
                (row.rule, row.slot) for row in connection.execute(select(evaluations.c.rule, evaluations.c.slot))
            )
        assert set(made) == self.done
        assert set(made.values()) <= {1}

    # --- what the store holds

    def open_alerts(self) -> list[Alert]:
        with self.database.read() as connection:
            return alert_records.open_alerts(connection, "digits")

    def alert(self, key: str) -> Alert:
        with self.database.read() as connection:
            return alert_records.find(connection, key)

    def messages(self) -> Sequence[Any]:
        with self.database.read() as connection:
            rows = connection.execute(select(outbox).order_by(outbox.c.id)).all()
        return [row for row in rows if "alerts" in row.payload]

    def changes(self, at: datetime, was_open: Mapping[str, Alert]) -> list[Mapping[str, Any]]:
        """The changes of this moment, but for those that the alert had made before this turn."""
        with self.database.read() as connection:
            rows = connection.execute(select(alert_transitions).where(alert_transitions.c.at == at)).mappings().all()
        return [
            dict(row)
            for row in rows
            if row["alert_id"] not in was_open or was_open[row["alert_id"]].state == row["from_state"]
        ]

    def actions(self, at: datetime) -> list[str]:
        """The alerts for which something was started at this moment."""
        wanted = audit_log.c.action.in_(("retrain", "label-audit"))
        with self.database.read() as connection:
            found = connection.scalars(select(audit_log.c.subject).where(wanted, audit_log.c.at == at))
            return [subject.removeprefix("alert/") for subject in found]

    def silences(self, watched: Rule) -> frozenset[str]:
        """The rule's name if a silence covers it now."""
        with self.database.read() as connection:
            active = alert_records.active_silences(connection, self.clock.now)
        like = Alert("", watched.name, "", "digits", 1, "warning", "firing", self.clock.now, self.clock.now)
        return frozenset({watched.name} if any(each.covers(like, self.clock.now) for each in active) else ())

    def is_silent(self, alert: Alert) -> bool:
        """Whether a silence covers this alert now."""
        with self.database.read() as connection:
            active = alert_records.active_silences(connection, self.clock.now)
        return any(each.covers(alert, self.clock.now) for each in active)

    def counts(self) -> tuple[int, ...]:
        with self.database.read() as connection:
            tables = (alert_transitions, audit_log, evaluations, outbox)
            return tuple(len(connection.execute(select(table)).all()) for table in tables)


@pytest.mark.timeout(600 * DEPTH)
def test_alerts_keep_their_promises_whatever_happens(sqlite_template: Path) -> None:
    drive(AlertMachine, sqlite_template, examples=15, steps=30)
