"""The longer commands: queueing, checking, showing."""

import threading
import time
from datetime import timedelta
from pathlib import Path

from mlplatform.audit import audit_entries
from mlplatform.cli.training import wait_until_closed
from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.retraining.retraining_limits import RetrainingLimits
from mlplatform.store import leases
from tests.support.command_line import Command
from tests.support.monitoring_world import all_retrainings, breach, lease_of, notices

NO_LIMITS = RetrainingLimits(timedelta(0), 10)


def test_a_retraining_is_queued_and_a_second_request_joins_it(platform: Command, store: AppContext) -> None:
    first = platform("retrain", "--reason", "new data", "--json")
    assert (first.code, first.json["joined"], first.json["watcher"]) == (0, False, None)
    second = platform("retrain", "--json")
    assert (second.json["id"], second.json["joined"]) == (first.json["id"], True)
    [row] = all_retrainings(store)
    assert (row.reason, row.trigger, row.requested_by, len(row.causes)) == ("new data", "manual", "cli", 2)


def test_a_queued_retraining_is_cancelled_once_with_a_trace(platform: Command, store: AppContext) -> None:
    queued = platform("retrain", "--json").json["id"]
    assert platform("retrain", "--cancel", queued, "--json").json == {"id": queued, "state": "cancelled"}
    [row] = all_retrainings(store)
    assert (row.state, row.error) == ("cancelled", "cancelled by cli")
    with store.database.read() as connection:
        assert audit_entries.recent_entries(connection)[0]["action"] == "cancel"
    again = platform("retrain", "--cancel", queued)
    assert (again.code, again.err) == (5, f"retraining {queued} is cancelled and cannot be cancelled")
    assert platform("retrain", "--cancel", "gone").code == 4


def test_without_a_watcher_the_answer_says_what_to_start(platform: Command, store: AppContext) -> None:
    assert "no watcher is on duty, start `platform watch`" in platform("retrain").out
    lease_of(store, "host:1:abc")
    assert "no watcher" not in platform("retrain").out


def carry_out(context: AppContext, state: retraining_queue.RetrainingState) -> threading.Thread:
    """In place of a watcher: start what is queued, close it soon."""

    def watch() -> None:
        while True:
            with context.database.write() as connection:
                row = retraining_queue.claim(connection, "digits", "me", NO_LIMITS, utc_now())
                if row is not None:
                    break
            time.sleep(0.05)
        time.sleep(0.2)
        error = None if state == "succeeded" else "no disk left"
        verdict = {"reasons": ["It is better."]}
        with context.database.write() as connection:
            retraining_endings.finish(
                connection,
                row.id,
                "me",
                state,
                utc_now(),
                candidate_version=2,
                verdict=verdict,
                promoted=True,
                error=error,
            )

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_waiting_for_a_retraining_prints_one_json_value_and_its_outcome_as_exit_code(
    platform: Command, store: AppContext
) -> None:
    watcher = carry_out(store, "succeeded")
    said = platform("retrain", "--wait", "--json")
    watcher.join()
    assert (said.code, said.json["state"], said.json["candidate_version"]) == (0, "succeeded", 2)


def test_a_retraining_that_fails_is_exit_code_1_with_its_error(platform: Command, store: AppContext) -> None:
    watcher = carry_out(store, "failed")
    said = platform("retrain", "--wait")
    watcher.join()
    assert said.code == 1
    assert "no watcher is on duty yet" in said.out
    assert "failed: no disk left" in said.out


def test_the_outcome_of_a_closed_retraining_is_there_at_once(store: AppContext) -> None:
    with store.database.write() as connection:
        queued, _ = retraining_queue.request(
            connection, pipeline="digits", reason="r", trigger="api", requested_by="me", now=utc_now()
        )
        retraining_endings.cancel(connection, queued, "tester", utc_now())
    assert wait_until_closed(store, queued, quiet=True).state == "cancelled"


def test_without_a_champion_there_is_nothing_to_check(platform: Command, store: AppContext) -> None:
    said = platform("check", "--json")
    assert (said.code, said.out) == (4, "")
    assert "platform train" in said.err


def test_a_breach_is_exit_code_10_and_drives_the_alerts(platform: Command, store: AppContext) -> None:
    breach(store)
    said = platform("check", "--json")
    assert said.code == 10
    states = {row["rule"]: row["state"] for row in said.json}
    assert states == {"accuracy-drop": "breach", "latency": "insufficient", "class-error": "breach"}
    assert Path(said.json[0]["report"]).is_file()
    assert len(all_retrainings(store)) == 1
    assert len(notices(store)) == 4
    again = platform("check")
    assert again.code == 10
    assert "Accuracy is" in again.out
    assert len(notices(store)) == 4


def test_status_shows_the_platform_at_a_glance(platform: Command, store: AppContext) -> None:
    breach(store)
    lease_of(store, "host:1:abc")
    with store.database.write() as connection:
        leases.record_heartbeat(connection, "watcher", "host:1:abc", utc_now(), {"note": "[/odd]"})
    shown = platform("status", "--json").json
    assert (shown["model"], shown["champion"], shown["leader"]) == ("digits", 1, "host:1:abc")
    assert shown["counts"] == {"predictions": 60, "images": 1, "labels": 60}
    assert [process["instance"] for process in shown["processes"]] == ["host:1:abc"]
    out = platform("status").out
    assert out.startswith("digits: champion 1 · 60 predictions, ")
    assert "[/odd]" in out
