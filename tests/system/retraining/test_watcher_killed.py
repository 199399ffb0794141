"""A watcher killed in the middle of a retraining: closed, run again once, nothing said twice under two names."""

from pathlib import Path

from mlplatform.alerting import alert_records, outbox
from mlplatform.promotion import promotion_history
from mlplatform.retraining import retraining_queue
from tests.support.platform_processes import World
from tests.support.training_process import HOLD
from tests.support.watcher_process import COPIES


def test_a_retraining_whose_watcher_was_killed_is_closed_and_run_again_once(world: World) -> None:
    world.record(120, right=0.5)
    secret = {"PLATFORM_WEBHOOK_URL": "http://127.0.0.1:9/none", "PLATFORM_WEBHOOK_SECRET": "whsec_" + "A" * 32}
    hold = world.context.settings.home / HOLD
    hold.touch()
    first = world.start_watcher("first", COPIES, **secret)

    def running() -> list[retraining_queue.Retraining]:
        with world.context.database.read() as connection:
            return [
                row
                for row in retraining_queue.recent(connection)
                if row.state == "running" and row.run_id and row.progress
            ]

    world.wait("a retraining under way", lambda: bool(running()))
    [interrupted] = running()
    with world.context.database.read() as connection:
        told_before = {message.idempotency_key for message in outbox.recent_messages(connection)}
    world.kill(first)
    world.start_watcher("second", COPIES, **secret)

    def abandoned() -> bool:
        with world.context.database.read() as connection:
            return retraining_queue.find(connection, interrupted.id).state == "abandoned"

    world.wait("the end of the interrupted one", abandoned)
    hold.unlink()

    def ended() -> bool:
        with world.context.database.read() as connection:
            rows = retraining_queue.recent(connection)
        return len(rows) > 1 and all(row.state not in retraining_queue.OPEN_STATES for row in rows)

    world.wait("the rerun", ended, seconds=300)
    with world.context.database.read() as connection:
        rows = retraining_queue.recent(connection)
        fired = [
            row for row in alert_records.list_alerts(connection, include_closed=True) if row.rule == "accuracy-drop"
        ]
        told = [message.idempotency_key for message in outbox.recent_messages(connection)]
        made = promotion_history.promotion_history(connection, "digits")
    by_id = {row.id: row for row in rows}
    rerun = [row for row in rows if row.rerun_of is not None]
    assert by_id[interrupted.id].state == "abandoned"
    assert [row.rerun_of for row in rerun] == [interrupted.id]
    assert rerun[0].state == "succeeded"
    assert len(rows) == 2
    assert len({row.id for row in fired if row.model_version == 1}) == 1, "one alert, one identity"
    assert len(told) == len(set(told))
    assert told_before <= set(told)
    assert len([row for row in made if row.retraining_id]) <= 1
    assert interrupted.run_id is not None
    run = world.context.tracking.connection.client.get_run(interrupted.run_id)
    assert run.info.status == "KILLED"


def test_the_training_process_ends_with_its_watcher(world: World) -> None:
    world.record(60, right=1.0)
    watcher = world.start_watcher("watcher")
    with world.context.database.write() as connection:
        queued, _ = retraining_queue.request(
            connection,
            pipeline="digits",
            reason="test",
            trigger="manual",
            requested_by="test",
            now=world.context.clock(),
        )

    def progressing() -> bool:
        with world.context.database.read() as connection:
            return retraining_queue.find(connection, queued).progress is not None

    world.wait("a training under way", progressing)
    children = _children(watcher.process.pid)
    assert children, "the training runs in a process of its own"
    world.kill(watcher)
    world.wait("the end of the training", lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 15)


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            ppid = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
        except OSError:
            continue
        if ppid == parent:
            found.append(int(path.parent.name))
    return found
