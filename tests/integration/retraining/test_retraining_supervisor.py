"""The supervisor: one retraining at a time, each in a process of its own, none lost and none doubled."""

import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import FencedError, StoreUnavailableError
from mlplatform.ids import uuid7
from mlplatform.promotion import approvals
from mlplatform.promotion.approvals import Approval
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.retraining.retraining_limits import RetrainingLimits
from mlplatform.retraining.supervisor import RetrainingSupervisor, retraining_supervisor, worker_command
from mlplatform.store import tasks
from mlplatform.store.leases import Lease
from tests.support.faulty_database import FlakyDatabase
from tests.support.monitoring_world import RULES, all_retrainings, answer, lease_of, notices, tick, with_rules
from tests.support.stub_tracking import FakeTracking

LONG = ["sleep", "60"]


class MakeSupervisor(Protocol):
    """Makes a supervisor whose children run this command; of the test's platform unless another is given."""

    def __call__(self, command: list[str], context: AppContext = ...) -> RetrainingSupervisor: ...


@pytest.fixture
def world(context: AppContext) -> AppContext:
    return with_rules(context.replace(tracking=FakeTracking()))


@pytest.fixture
def make_supervisor(world: AppContext) -> Iterator[MakeSupervisor]:
    """Makes supervisors whose children run a command of the test; ends the children afterwards."""
    made: list[RetrainingSupervisor] = []

    def make(command: list[str], context: AppContext = world) -> RetrainingSupervisor:
        made.append(retraining_supervisor(context, lambda _id, _owner: command))
        return made[-1]

    yield make
    for supervisor in made:
        for _, child, _ in supervisor._children.values():
            child.kill()
            child.wait()


def queue(context: AppContext, trigger: retraining_queue.RetrainingTrigger = "manual", pipeline: str = "digits") -> str:
    with context.database.write() as connection:
        queued, _ = retraining_queue.request(
            connection, pipeline=pipeline, reason="r", trigger=trigger, requested_by="me", now=context.clock()
        )
    return queued


def states(context: AppContext) -> list[str]:
    return [row.state for row in all_retrainings(context)]


def until_ended(supervisor: RetrainingSupervisor) -> None:
    """Wait for the children, as the next round would find them."""
    for _, child, _ in supervisor._children.values():
        child.wait(20)
    supervisor.reap()


def test_the_child_is_this_product_with_the_retraining_and_its_owner() -> None:
    assert worker_command("an-id", "a-token") == [
        sys.executable,
        "-P",
        "-m",
        "mlplatform",
        "work-retraining",
        "an-id",
        "a-token",
    ]


def test_a_queued_retraining_is_started_in_a_process_for_its_pipeline(world: AppContext, tmp_path: Path) -> None:
    queued = queue(world)
    seen = tmp_path / "seen"
    script = f'printf "%s %s %s" "$0" "$1" "$PLATFORM_PIPELINE" > {seen}'
    supervisor = retraining_supervisor(world, lambda key, owner: ["sh", "-c", script, key, owner])
    supervisor.tick(lease_of(world))
    [row] = all_retrainings(world)
    assert (row.id, row.state, row.started_at) == (queued, "running", world.clock())
    until_ended(supervisor)
    assert seen.read_text() == f"{queued} {row.owner} digits"
    with world.database.read() as connection:
        assert audit_entries.recent_entries(connection)[0]["action"] == "retrain"


def test_its_process_gets_a_pipeline_outside_the_tree_as_the_settings_name_it(
    world: AppContext, tmp_path: Path
) -> None:
    named = world.settings.model_copy(update={"pipeline": "churn.py:PIPELINE", "model": "digits"})
    elsewhere, seen = world.replace(settings=named), tmp_path / "seen"
    queue(elsewhere)
    script = f'printf "%s %s" "$PLATFORM_PIPELINE" "$PLATFORM_MODEL" > {seen}'
    supervisor = retraining_supervisor(elsewhere, lambda _key, _owner: ["sh", "-c", script])
    supervisor.tick(lease_of(elsewhere))
    until_ended(supervisor)
    assert seen.read_text() == "churn.py:PIPELINE digits"


@pytest.mark.both_databases
def test_one_runs_at_a_time(world: AppContext, make_supervisor: MakeSupervisor) -> None:
    supervisor, lease = make_supervisor(LONG), lease_of(world)
    for _ in range(3):
        queue(world)
        supervisor.tick(lease)
    assert states(world) == ["running", "queued"]
    assert len(supervisor._children) == 1


@pytest.mark.parametrize(("starting_seconds", "state"), [(60.0, "running"), (0.0, "abandoned")])
def test_a_living_child_is_vouched_for_while_it_starts_and_not_for_ever(
    world: AppContext, starting_seconds: float, state: str
) -> None:
    queue(world)
    supervisor = retraining_supervisor(world, lambda _id, _owner: LONG, startup_seconds=starting_seconds)
    supervisor.tick(lease_of(world))
    tick(world, minutes=5)
    supervisor.tick(lease_of(world, "next"))
    assert states(world)[0] == state
    supervisor.close()


def test_a_child_that_dies_closes_the_row_as_failed(world: AppContext, make_supervisor: MakeSupervisor) -> None:
    queue(world)
    supervisor = make_supervisor(["sh", "-c", "exit 3"])
    supervisor.tick(lease_of(world))
    until_ended(supervisor)
    [row] = all_retrainings(world)
    assert (row.state, row.error, row.finished_at) == ("failed", "its process ended with code 3", world.clock())
    until_ended(supervisor)
    assert states(world) == ["failed"]


def test_a_child_that_is_killed_is_told_with_its_memory_limit(
    world: AppContext, make_supervisor: MakeSupervisor
) -> None:
    limited = world.replace(settings=world.settings.model_copy(update={"training_memory_mb": 700}))
    queue(world)
    supervisor = make_supervisor(["sh", "-c", "kill -9 $$"], limited)
    supervisor.tick(lease_of(world))
    until_ended(supervisor)
    [row] = all_retrainings(world)
    assert row.state == "failed"
    assert (row.error or "").startswith(
        "its process was killed (SIGKILL), as the system does when memory runs out "
        "(its limit is 700 MiB, PLATFORM_TRAINING_MEMORY_MB)"
    )


def test_a_child_that_closed_its_row_before_it_died_is_believed(
    world: AppContext, make_supervisor: MakeSupervisor
) -> None:
    queue(world)
    supervisor = make_supervisor(["sh", "-c", "exit 1"])
    supervisor.tick(lease_of(world))
    [row] = all_retrainings(world)
    with world.database.write() as connection:
        retraining_endings.finish(connection, row.id, row.owner or "", "succeeded", world.clock())
    until_ended(supervisor)
    assert states(world) == ["succeeded"]


def test_a_death_during_an_outage_of_the_database_is_written_after_it(
    world: AppContext, make_supervisor: MakeSupervisor
) -> None:
    queue(world)
    flaky = FlakyDatabase(world.database)
    world = world.replace(database=flaky)
    supervisor = make_supervisor(["sh", "-c", "exit 3"], world)
    supervisor.tick(lease_of(world))
    flaky.away = True
    with pytest.raises(StoreUnavailableError):
        until_ended(supervisor)
    flaky.away = False
    supervisor.reap()
    assert states(world) == ["failed"]


def test_too_little_feedback_makes_an_alerts_request_wait(world: AppContext, make_supervisor: MakeSupervisor) -> None:
    supervisor, lease = make_supervisor(LONG), lease_of(world)
    queue(world, "alert")
    answer(world, 9)
    supervisor.tick(lease)
    assert states(world) == ["queued"]
    answer(world, 1)
    supervisor.tick(lease)
    assert states(world) == ["running"]


def test_a_persons_request_waits_for_no_feedback(world: AppContext, make_supervisor: MakeSupervisor) -> None:
    queue(world, "alert")
    queue(world, "manual")  # joins it
    make_supervisor(LONG).tick(lease_of(world))
    assert states(world) == ["running"]


def test_the_cooldown_makes_an_alerts_request_wait(world: AppContext, make_supervisor: MakeSupervisor) -> None:
    supervisor, lease = make_supervisor(["sh", "-c", "exit 1"]), lease_of(world)
    answer(world, 20)
    queue(world)
    supervisor.tick(lease)
    until_ended(supervisor)
    queue(world, "alert")
    tick(world, minutes=59)
    supervisor.tick(lease)
    assert states(world) == ["failed", "queued"]
    tick(world, minutes=2)
    supervisor.tick(lease)
    assert states(world) == ["failed", "running"]


def test_the_daily_cap_makes_an_alerts_request_wait(world: AppContext, make_supervisor: MakeSupervisor) -> None:
    supervisor, lease = make_supervisor(["sh", "-c", "exit 1"]), lease_of(world)
    answer(world, 20)
    for _ in range(3):
        queue(world, "alert")
        supervisor.tick(lease)
        until_ended(supervisor)
        tick(world, hours=2)
    assert states(world) == ["failed", "failed", "queued"]
    tick(world, hours=20)
    supervisor.tick(lease)
    assert states(world) == ["failed", "failed", "running"]


def test_a_daily_cap_of_zero_lets_only_people_retrain(world: AppContext, make_supervisor: MakeSupervisor) -> None:
    with_rules(world, RULES.replace("daily_cap: 2", "daily_cap: 0"))
    supervisor, lease = make_supervisor(LONG), lease_of(world)
    answer(world, 20)
    queue(world, "alert")
    supervisor.tick(lease)
    assert states(world) == ["queued"]
    queue(world, "manual")
    supervisor.tick(lease)
    assert states(world) == ["running"]


@pytest.mark.both_databases
def test_a_governor_that_no_longer_leads_starts_nothing(world: AppContext, make_supervisor: MakeSupervisor) -> None:
    queue(world)
    lease = lease_of(world, "paused")
    tick(world, seconds=16)
    lease_of(world, "next")
    supervisor = make_supervisor(LONG)
    with pytest.raises(FencedError):
        supervisor.tick(lease)
    assert (states(world), supervisor._children) == (["queued"], {})


def abandoned(context: AppContext) -> tuple[str, Lease]:
    """A retraining that a dead process left running, and the lease of the next leader."""
    queued = queue(context)
    with context.database.write() as connection:
        retraining_queue.claim(
            connection, "digits", "dead", RetrainingLimits(context.rules.retraining.cooldown, 2), context.clock()
        )
        retraining_queue.record_run(connection, queued, "dead", "run-7")
    tick(context, seconds=31)
    return queued, lease_of(context)


@pytest.mark.both_databases
def test_an_abandoned_retraining_is_closed_and_run_again_once(
    world: AppContext, make_supervisor: MakeSupervisor
) -> None:
    queued, lease = abandoned(world)
    supervisor = make_supervisor(LONG)
    supervisor.tick(lease)
    first, rerun = all_retrainings(world)
    assert (first.id, first.state, rerun.state, rerun.rerun_of) == (queued, "abandoned", "running", queued)
    assert isinstance(world.tracking, FakeTracking)
    assert world.tracking.closed == [("run-7", "KILLED")]
    supervisor.tick(lease)
    assert states(world) == ["abandoned", "running"]


def test_a_live_heartbeat_keeps_a_retraining_from_being_closed(
    world: AppContext, make_supervisor: MakeSupervisor
) -> None:
    queued, lease = abandoned(world)
    with world.database.write() as connection:
        retraining_queue.record_heartbeat(connection, queued, "dead", world.clock(), None)
    make_supervisor(LONG).tick(lease)
    assert states(world) == ["running"]


def test_mlflow_being_away_does_not_keep_an_abandoned_retraining_open(
    world: AppContext, make_supervisor: MakeSupervisor, caplog: pytest.LogCaptureFixture
) -> None:
    _, lease = abandoned(world)
    make_supervisor(LONG, world.replace(tracking=FakeTracking(away=True))).tick(lease)
    assert states(world) == ["abandoned", "running"]
    assert "run-7 stays open" in caplog.text


def test_closing_ends_the_child_and_hands_its_work_to_the_next_watcher(
    world: AppContext, make_supervisor: MakeSupervisor
) -> None:
    queued = queue(world)
    supervisor, lease = make_supervisor(LONG), lease_of(world)
    supervisor.tick(lease)
    [(_, child, _)] = supervisor._children.values()
    supervisor.close()
    assert child.poll() is not None
    first, again = all_retrainings(world)
    assert (first.id, first.state, again.state, again.reason) == (queued, "abandoned", "queued", "r")


def test_a_closed_governor_starts_nothing_more(world: AppContext, make_supervisor: MakeSupervisor) -> None:
    queue(world)
    supervisor, lease = make_supervisor(LONG), lease_of(world)
    supervisor.close()
    supervisor.tick(lease)
    assert states(world) == ["queued"]


def test_closing_beside_a_running_round_takes_no_ended_child_for_a_failed_one(
    world: AppContext, make_supervisor: MakeSupervisor
) -> None:
    queue(world)
    supervisor, lease = make_supervisor(LONG), lease_of(world)
    supervisor.tick(lease)
    stopping = threading.Event()

    def watching() -> None:
        while not stopping.is_set():
            supervisor.reap()

    thread = threading.Thread(target=watching)
    thread.start()
    time.sleep(0.05)
    supervisor.close()
    stopping.set()
    thread.join()
    assert states(world) == ["abandoned", "queued"]


def test_closing_without_a_database_still_ends_every_child(world: AppContext, make_supervisor: MakeSupervisor) -> None:
    queue(world)
    flaky = FlakyDatabase(world.database)
    world = world.replace(database=flaky)
    supervisor = make_supervisor(LONG, world)
    supervisor.tick(lease_of(world))
    [(_, child, _)] = supervisor._children.values()
    flaky.away = True
    with pytest.raises(StoreUnavailableError):
        supervisor.close()
    assert child.poll() is not None


def test_a_child_that_ignores_the_request_to_end_is_killed(world: AppContext) -> None:
    queue(world)
    supervisor = retraining_supervisor(
        world, lambda *_: ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"], terminate_timeout_seconds=0.3
    )
    supervisor.tick(lease_of(world))
    [(_, child, _)] = supervisor._children.values()
    time.sleep(0.2)
    supervisor.close()
    assert child.returncode == -9
    assert states(world) == ["abandoned", "queued"]


def test_a_candidate_that_nobody_approves_expires_at_the_next_round(
    world: AppContext, make_supervisor: MakeSupervisor
) -> None:
    now = world.clock()
    until = now + timedelta(days=7)
    with world.database.write() as connection:
        approvals.request(
            connection, Approval(uuid7(), "digits", 2, None, "waiting", "r", "me", now, until, None, None)
        )
    supervisor = make_supervisor(LONG)
    queue(world, "alert")
    for days, expected in ((6, "waiting"), (1, "expired")):
        tick(world, days=days)
        supervisor.tick(lease_of(world))
        with world.database.read() as connection:
            assert [approval.state for approval in approvals.latest_approvals(connection, "digits")] == [expected]
    assert "approval-expired" in [message.payload["kind"] for message in notices(world)]


def test_a_person_is_asked_once_about_a_streak_of_useless_retrainings(
    world: AppContext, make_supervisor: MakeSupervisor
) -> None:
    with_rules(world, RULES.replace("daily_cap: 2", "daily_cap: 50, breaker: 2").replace("1h, d", "0s, d"))
    answer(world, 12)
    lease, supervisor = lease_of(world, life=timedelta(days=9)), make_supervisor(["sh", "-c", "exit 1"])
    for _ in range(5):
        queue(world, "alert")
        supervisor.tick(lease)
        until_ended(supervisor)
        tick(world, minutes=1)
    assert states(world) == ["failed", "failed", "queued"]
    with world.database.read() as connection:
        [task] = tasks.open_tasks(connection, "digits")
        assert (task.kind, len(task.details["retrainings"])) == ("review-retraining", 2)
        assert [entry["action"] for entry in audit_entries.recent_entries(connection)].count("breaker") == 1
    queue(world, "manual")
    supervisor.tick(lease)
    until_ended(supervisor)
    tick(world, minutes=1)
    supervisor.tick(lease)
    assert states(world) == ["failed", "failed", "failed"]
    with world.database.read() as connection:
        assert tasks.open_tasks(connection, "digits") == []
