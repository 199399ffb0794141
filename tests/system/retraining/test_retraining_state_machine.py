"""Retrainings under any order of events: requests, governors that die, trainings that end in every way, clocks."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from mlplatform.alerting import alert_records
from mlplatform.errors import ConflictError, FencedError
from mlplatform.promotion import promotion_history
from mlplatform.promotion.promotion_history import Promotion
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.retraining.retraining_queue import Retraining
from mlplatform.retraining.supervisor import RetrainingSupervisor, retraining_supervisor
from mlplatform.store import leases, tasks
from mlplatform.store.leadership import leader_lease_name
from mlplatform.store.leases import Lease
from monitors.alerts import Alert, supersede
from tests.support.monitoring_world import RULES, with_rules
from tests.support.platform_world import FakeCatalog
from tests.support.state_machines import DEPTH, PlatformMachine, drive
from tests.support.store_rows import alert, saved
from tests.support.stub_tracking import FakeTracking

Ending = Literal["useless", "better", "fails", "says nothing", "promotes and dies"]
ENDINGS: Final[tuple[Ending, ...]] = ("useless", "useless", "better", "fails", "says nothing", "promotes and dies")
DAY: Final = timedelta(days=1)
OVER: Final = ("succeeded", "failed", "cancelled", "abandoned")
LIMITS = st.fixed_dictionaries(
    {
        "cooldown": st.sampled_from(["0s", "1h"]),
        "daily_cap": st.sampled_from([0, 1, 2, 3]),
        "breaker": st.sampled_from([0, 2]),
        "dry_run": st.sampled_from(["true", "false", "false"]),
    }
)


class RetrainingMachine(PlatformMachine):
    """Drives the supervisor with children that wait to be told how to end."""

    def __init__(self, template: Path) -> None:
        super().__init__(template)
        self.context = self.context.replace(tracking=FakeTracking())
        self.version = 0
        self.alerts: list[Alert] = []
        self.over: dict[str, str] = {}
        self.asked = 0
        with_rules(self.context)
        self.supervisor = self.new_supervisor()

    # --- what happens

    @initialize(limits=LIMITS)
    def begin(self, limits: dict[str, object]) -> None:
        self.limits_are_edited(limits)
        self.promote("ann", None)
        self.clock.tick(minutes=1)

    @rule(limits=LIMITS)
    def limits_are_edited(self, limits: dict[str, object]) -> None:
        text = ", ".join(f"{key}: {value}" for key, value in limits.items())
        with_rules(
            self.context, RULES.replace("cooldown: 1h, daily_cap: 2, min_feedback: 10", f"{text}, min_feedback: 0")
        )
        self.supervisor.policy = self.context.rules.retraining

    @rule(minutes=st.sampled_from([1, 20, 70, 400, 1500]))
    def time_goes_by(self, minutes: int) -> None:
        self.clock.tick(minutes=minutes)

    @rule(minutes=st.sampled_from([5, 90]))
    def the_clock_is_set_back(self, minutes: int) -> None:
        self.clock.tick(minutes=-minutes)

    @rule(trigger=st.sampled_from(["manual", "api"]), dry_run=st.booleans())
    def a_person_asks(self, trigger: retraining_queue.RetrainingTrigger, dry_run: bool) -> None:
        self.ask(trigger, None, dry_run)

    @rule(fresh=st.booleans())
    def an_alert_asks(self, fresh: bool) -> None:
        if fresh or not self.alerts:
            self.asked += 1
            self.alerts.append(saved(self.database, alert(key=str(self.asked))))
        self.ask("alert", self.alerts[-1].id, dry_run=False)

    @rule(
        trigger=st.sampled_from(["alert", "alert", "alert", "manual"]),
        endings=st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=4),
        pause=st.sampled_from([1, 70, 400]),
    )
    def retrainings_go_by(self, trigger: retraining_queue.RetrainingTrigger, endings: list[Ending], pause: int) -> None:
        for ending in endings:
            if trigger == "alert":
                self.an_alert_asks(fresh=not self.alerts)
            else:
                self.a_person_asks(trigger, dry_run=False)
            self.the_governor_makes_its_round()
            self.the_training_ends(ending)
            self.clock.tick(minutes=pause)
            self.the_governor_makes_its_round()

    @rule()
    def an_alert_ends(self) -> None:
        if self.alerts:
            over = supersede(self.alerts.pop(), self.clock.now).alert
            assert over is not None
            with self.database.write() as connection:
                alert_records.update_state(connection, over)

    @rule(ending=st.sampled_from(ENDINGS))
    def the_training_ends(self, ending: Ending) -> None:
        row = self.running()
        if row is None or row.id not in self.supervisor._children:
            return
        self.clock.tick(minutes=1)
        if ending in ("better", "promotes and dies") and not row.dry_run:
            self.the_training_promotes_and_goes_on()
        if ending in ("useless", "better"):
            with self.database.write() as connection:
                made = promotion_history.find_by_retraining(connection, row.id)
                now, owner = self.clock.now, row.owner or ""
                retraining_endings.finish(connection, row.id, owner, "succeeded", now, promoted=made is not None)
        self.end_child(row.id, 0 if ending in ("useless", "better", "says nothing") else 3)
        self.supervisor.reap()

    @rule()
    def the_training_promotes_and_goes_on(self) -> None:
        row = self.running()
        if row is not None and row.id in self.supervisor._children and row.id not in self.promoted_by():
            self.promote("retraining", (row.id, row.owner or ""))

    @rule()
    def the_training_beats(self) -> None:
        row = self.running()
        if row is not None:
            with self.database.write() as connection:
                retraining_queue.record_heartbeat(connection, row.id, row.owner or "", self.clock.now, {"epoch": 1})

    @rule(what=st.sampled_from(["promote", "cancel the queued", "cancel the running"]))
    def people_intervene(self, what: str) -> None:
        if what == "promote":
            self.promote("ann", None)
        else:
            self.cancel(what.removeprefix("cancel the "))

    def cancel(self, state: str) -> None:
        for row in [each for each in self.rows() if each.state == state]:
            promoted = row.id in self.promoted_by()
            try:
                with self.database.write() as connection:
                    retraining_endings.cancel(connection, row.id, "ann", self.clock.now)
                assert not promoted, "what has promoted is not cancelled"
            except ConflictError:
                assert promoted

    @rule()
    def an_overtaken_training_writes_nothing(self) -> None:
        before = self.rows(), self.history()
        for row in before[0]:
            if row.owner is not None and row.state != "running":
                with pytest.raises(FencedError):
                    self.promote("retraining", (row.id, row.owner))
                with pytest.raises(FencedError), self.database.write() as connection:
                    retraining_endings.finish(connection, row.id, row.owner, "succeeded", self.clock.now)
        assert (self.rows(), self.history()) == before

    @rule(well=st.booleans(), minutes_back=st.sampled_from([0, 0, 90]))
    def another_watcher_takes_over(self, well: bool, minutes_back: int) -> None:
        if well:
            self.supervisor.close()
        for key in list(self.supervisor._children):
            self.end_child(key, 75)  # a training ends itself when its watcher died
        self.supervisor = self.new_supervisor()
        self.clock.tick(minutes=-minutes_back)

    @rule(minutes_back=st.sampled_from([0, 90]))
    def a_watcher_dies_over_its_work(self, minutes_back: int) -> None:
        self.a_person_asks("manual", dry_run=False)
        self.the_governor_makes_its_round()
        self.another_watcher_takes_over(well=False, minutes_back=minutes_back)
        self.what_nobody_carries_out_is_closed()

    @rule()
    def what_nobody_carries_out_is_closed(self) -> None:
        row = self.running()
        if row is not None and row.id not in self.supervisor._children:
            self.the_governor_makes_its_round()
            self.clock.tick(seconds=31)
            self.the_governor_makes_its_round()
            [found] = [each for each in self.rows() if each.id == row.id]
            assert found.state in OVER, "whatever the clock did"

    @rule()
    def the_governor_makes_its_round(self) -> None:
        before = {row.id: row for row in self.rows()}
        self.supervisor.tick(self.lease())
        after = self.rows()
        started = [row for row in after if row.state == "running" and self.was(before, row) != "running"]
        assert len(started) <= 1
        waiting = [row for row in after if row.state == "queued"]
        others = [row for row in after if row not in started]
        for row in started:
            assert row.trigger != "alert" or self.is_allowed(others), "an alert starts no more than the limits allow"
            assert row.started_at == self.clock.now
        if waiting and self.running() is None:
            [row] = waiting
            assert row.trigger == "alert"
            assert not self.is_allowed(after), "nothing waits that may start"
            assert {cause["alert"] for cause in row.causes} & ({each.id for each in self.alerts} | {None})
        self.check_breaker(after)

    # --- the limits, told once more

    def is_allowed(self, rows: Sequence[Retraining]) -> bool:
        """Whether an alert may start a retraining now, by the promises of alerts.yaml."""
        config, now = self.context.rules.retraining, self.clock.now
        ended = [row.finished_at for row in rows if row.state in ("succeeded", "failed") and row.finished_at]
        if ended and now < max(ended) + config.cooldown:
            return False
        begun = [row for row in rows if row.started_at is not None and row.state != "abandoned"]
        if sum(row.started_at is not None and row.started_at > now - DAY for row in begun) >= config.daily_cap:
            return False
        return not self.is_broken(rows)

    def is_broken(self, rows: Sequence[Retraining]) -> bool:
        config = self.context.rules.retraining
        return bool(config.breaker) and not config.dry_run and self.useless(rows) >= config.breaker

    def useless(self, rows: Sequence[Retraining]) -> int:
        """How many retrainings that alerts started brought nothing, since a person or a promotion intervened."""
        last = max(each.seq for each in self.history())
        over = [
            row for row in rows
            if row.state in ("succeeded", "failed") and not row.dry_run and (row.after_promotion or 0) >= last
        ]  # fmt: skip
        streak = 0
        for row in sorted(over, key=lambda row: row.ending or 0):
            streak = streak + 1 if row.trigger == "alert" and not row.promoted else 0
        return streak

    def check_breaker(self, rows: Sequence[Retraining]) -> None:
        """A person is asked by one task, open as long as the streak lasts."""
        with self.database.read() as connection:
            opened = tasks.open_tasks(connection, "digits", "review-retraining")
        assert len(opened) <= 1
        breaker = self.context.rules.retraining.breaker
        if opened:
            assert breaker
            assert self.useless(rows) >= breaker

    # --- what must always hold

    @invariant()
    def at_most_one_queued_and_one_running(self) -> None:
        states = Counter(row.state for row in self.rows())
        assert states["queued"] <= 1
        assert states["running"] <= 1

    @invariant()
    def what_is_over_stays_as_it_is(self) -> None:
        now = {row.id: row.state for row in self.rows() if row.state in OVER}
        assert self.over.items() <= now.items()
        self.over = dict(now)

    @invariant()
    def promoted_says_what_the_history_says(self) -> None:
        promoted = self.promoted_by()
        for row in self.rows():
            if row.state in OVER:
                assert row.promoted == (row.id in promoted)
                assert row.finished_at is not None
                assert not row.promoted or row.state == "succeeded"

    @invariant()
    def an_abandoned_one_is_run_again_once(self) -> None:
        stopped = [row for row in self.rows() if row.error == "its heartbeat stopped" and row.state == "abandoned"]
        assert set(Counter(row.rerun_of for row in stopped if row.rerun_of is not None).values()) <= {1}
        firsts = {row.id for row in stopped if row.rerun_of is None}
        open_reruns = Counter(
            row.rerun_of for row in self.rows() if row.rerun_of and row.state in ("queued", "running")
        )
        assert set(open_reruns.values()) <= {1}
        assert set(open_reruns) <= firsts | {row.rerun_of for row in self.rows() if row.error == "its watcher stopped"}

    # --- what the store holds, and how things are done

    def rows(self) -> list[Retraining]:
        with self.database.read() as connection:
            return retraining_queue.recent(connection, limit=1000)

    def running(self) -> Retraining | None:
        return next((row for row in self.rows() if row.state == "running"), None)

    def history(self) -> list[Promotion]:
        with self.database.read() as connection:
            return promotion_history.promotion_history(connection, "digits", limit=1000)

    def promoted_by(self) -> set[str | None]:
        return {each.retraining_id for each in self.history()}

    def was(self, before: dict[str, Retraining], row: Retraining) -> str | None:
        return before[row.id].state if row.id in before else None

    def ask(self, trigger: retraining_queue.RetrainingTrigger, alert_id: str | None, dry_run: bool) -> None:
        with self.database.write() as connection:
            retraining_queue.request(
                connection, pipeline="digits", reason="r", trigger=trigger, requested_by="me", now=self.clock.now,
                alert_id=alert_id, dry_run=dry_run,
            )  # fmt: skip

    def promote(self, actor: str, retraining: tuple[str, str] | None) -> None:
        self.version += 1
        assert isinstance(self.context.catalog, FakeCatalog)
        self.context.catalog.add("digits", self.version)
        current = promotion_service(self.context).current("digits")
        expected, kind = (None, "first") if current is None else (current.to_version, "promote")
        owned = (
            {}
            if retraining is None
            else {"retraining_id": retraining[0], "precondition": retraining_queue.ownership_check(*retraining)}
        )
        change = PromotionRequest("digits", self.version, expected, kind, actor, "r", **owned)  # type: ignore[arg-type]
        promotion_service(self.context).promote(change)

    def new_supervisor(self) -> RetrainingSupervisor:
        return retraining_supervisor(self.context, self.command, startup_seconds=0.0)

    def command(self, retraining_id: str, owner: str) -> list[str]:
        """A child that waits to be told its exit code."""
        os.mkfifo(self.folder / retraining_id)
        return ["sh", "-c", 'read code < "$0"; exit "$code"', str(self.folder / retraining_id)]

    def end_child(self, key: str, code: int) -> None:
        (self.folder / key).write_text(f"{code}\n", encoding="ascii")
        self.supervisor._children[key][1].wait(20)

    def lease(self) -> Lease:
        """The leader's lease, which lasts only as long as this round."""
        with self.database.write() as connection:
            name, now = leader_lease_name("digits"), self.clock.now
            taken = leases.acquire(connection, name, "me", timedelta(0), datetime(1970, 1, 1, tzinfo=now.tzinfo))
        assert taken is not None
        return taken

    def teardown(self) -> None:
        for _, child, _ in self.supervisor._children.values():
            child.kill()
            child.wait()
        super().teardown()


@contextmanager
def quiet() -> Iterator[None]:
    """Without the log lines of hundreds of trainings that fail on purpose."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.timeout(600 * DEPTH)
def test_retrainings_keep_their_promises_whatever_happens(sqlite_template: Path) -> None:
    with quiet():
        drive(RetrainingMachine, sqlite_template, examples=15, steps=40)
