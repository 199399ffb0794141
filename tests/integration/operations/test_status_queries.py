"""What people are shown: plain values only, of what the store and the registry hold."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlplatform.alerting import evaluations
from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.feedback import label_records
from mlplatform.operations import queries
from mlplatform.promotion import promotion_history
from mlplatform.retraining import retraining_queue
from mlplatform.serialization import to_jsonable
from mlplatform.store import leases, tasks
from mlplatform.store.database import Database
from registry.errors import RegistryUnavailableError
from tests.support.platform_world import START, FakeCatalog, FakeClock, prediction, recorded

pytestmark = pytest.mark.both_databases


def evaluation(name: str, rule: str = "accuracy", at: datetime = START, report: str | None = None) -> object:
    return evaluations.Evaluation(name, rule, at, at, "digits", 1, at, at, "ok", [], report, "watcher")


def evaluated(database: Database, *rows: object) -> None:
    with database.write() as connection:
        for row in rows:
            assert isinstance(row, evaluations.Evaluation)
            evaluations.add(connection, row)


def promoted(database: Database, *versions: int) -> None:
    with database.write() as connection:
        for before, version in zip((None, *versions), versions, strict=False):
            promotion_history.append(
                connection,
                model_name="digits",
                expected=before,
                to_version=version,
                kind="first" if before is None else "promote",
                now=START + timedelta(hours=version),
                actor="ann",
                reason="better",
                fence=version,
                verdict={"decision": "promote"},
            )


def test_plain_values_are_what_json_has() -> None:
    value = {
        1: label_records.FeedbackReceipt("a", "p", "late"),
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "more": (1, 2.5, None, True, "text", ["x"]),
    }
    assert to_jsonable(value) == {
        "1": {"id": "a", "prediction_id": "p", "outcome": "late"},
        "at": "2026-01-01T00:00:00+00:00",
        "more": [1, 2.5, None, True, "text", ["x"]],
    }


def test_a_prediction_is_shown_with_its_classes_and_current_labels(context: AppContext, database: Database) -> None:
    [one] = recorded(database, prediction(label="7", confidence=0.8))
    with database.write() as connection:
        for name, hours in (("1", 1), ("2", 2)):
            given = label_records.SubmittedLabel(one, name, "audit", "ann", START + timedelta(hours=hours))
            label_records.insert_labels(connection, [given], START)
    shown = queries.load_prediction(context, one)
    assert (shown.id, shown.label, shown.model.version, shown.client_id) == (one, "7", 1, "client")
    assert shown.probabilities["7"] == 0.8
    assert tuple(shown.probabilities) == tuple("0123456789")
    assert [(item.label, item.source) for item in shown.labels] == [("2", "audit")]
    with pytest.raises(NotFoundError, match="'nobody' is not known"):
        queries.load_prediction(context, "nobody")


def test_a_report_is_a_file_of_the_reports_folder_or_not_found(context: AppContext, database: Database) -> None:
    folder = context.settings.home / "reports"
    (folder / "deeper").mkdir(parents=True)
    for path in (folder / "r.html", folder / "deeper" / "r.html", context.settings.home / "secret"):
        path.write_text("x")
    (folder / "link.html").symlink_to(context.settings.home / "secret")
    paths: dict[str, Path | None] = {
        "kept": folder / "r.html",
        "none": None,
        "gone": folder / "gone.html",
        "deeper": folder / "deeper" / "r.html",
        "outside": folder / ".." / "secret",
        "link": folder / "link.html",
    }
    evaluated(
        database,
        *(
            evaluation(name, at=START + timedelta(minutes=number), report=None if path is None else str(path))
            for number, (name, path) in enumerate(paths.items())
        ),
    )
    assert queries.find_report(context, "kept") == folder / "r.html"
    for name in ("none", "gone", "deeper", "outside", "link"):
        with pytest.raises(NotFoundError, match="keeps no report"):
            queries.find_report(context, name)
    with pytest.raises(NotFoundError, match="'nobody' is not known"):
        queries.find_report(context, "nobody")


def test_models_shows_the_champion_of_the_history_and_says_which_versions_have_a_card(
    context: AppContext, database: Database, catalog: FakeCatalog
) -> None:
    empty: dict[str, Any] = {"model": "digits", "champion": None, "versions": [], "promotions": [], "trial": None}
    assert to_jsonable(queries.model_overview(context)) == empty | {"approvals": []}
    catalog.add("digits", 1, {"golden_correct": "9"})
    catalog.add("digits", 2)
    catalog.add("letters", 1)
    promoted(database, 1, 2)
    shown = to_jsonable(queries.model_overview(context))
    assert json.loads(json.dumps(shown)) == shown
    assert shown["champion"] == 2
    assert [(item["version"], item["has_card"], item["tags"]) for item in shown["versions"]] == [
        (2, True, {}),
        (1, True, {"golden_correct": "9"}),
    ]
    assert not {"description", "source"} & set(shown["versions"][0])
    assert [(item["from_version"], item["to_version"]) for item in shown["promotions"]] == [(1, 2), (None, 1)]


def test_models_without_a_registry_is_the_registrys_error(context: AppContext, catalog: FakeCatalog) -> None:
    catalog.away = RegistryUnavailableError("away")
    with pytest.raises(RegistryUnavailableError):
        to_jsonable(queries.model_overview(context))


def test_the_status_of_an_empty_platform_is_empty(context: AppContext) -> None:
    assert to_jsonable(queries.platform_status(context)) == {
        "model": "digits",
        "champion": None,
        "probation": None,
        "leader": None,
        "processes": [],
        "counts": {"predictions": 0, "images": 0, "labels": 0},
        "labels": {
            "waiting": 0,
            "waiting_since": None,
            "given_up": 0,
            "not_drawn_for_audit": 0,
            "last_retraining": "",
        },
        "evaluations": [],
        "alerts": [],
        "retrainings": [],
        "tasks": [],
        "undelivered": [],
    }


def test_the_status_shows_who_lives_what_serves_and_what_is_open(
    context: AppContext, database: Database, clock: FakeClock
) -> None:
    recorded(database, prediction(), prediction(seed=1))
    promoted(database, 1, 2)
    later = START + timedelta(minutes=5)
    evaluated(database, evaluation("a"), evaluation("b", at=later), evaluation("c", rule="latency"))
    with database.write() as connection:
        leases.acquire(connection, "watcher:digits", "host:1", timedelta(seconds=15), START)
        leases.record_heartbeat(connection, "watcher", "host:1", START, {})
        leases.record_heartbeat(connection, "api", "host:2", START - timedelta(minutes=1), {})
        queued, _ = retraining_queue.request(
            connection, pipeline="digits", reason="why", trigger="manual", requested_by="ann", now=START
        )
        task = tasks.open_task(connection, "label-audit", "digits", {}, START)
    shown = to_jsonable(queries.platform_status(context))
    assert json.loads(json.dumps(shown)) == shown
    assert (shown["champion"], shown["leader"]) == (2, "host:1")
    assert [item["instance"] for item in shown["processes"]] == ["host:1"]
    assert shown["counts"] == {"predictions": 2, "images": 2, "labels": 0}
    assert {item["rule"]: item["id"] for item in shown["evaluations"]} == {"accuracy": "b", "latency": "c"}
    assert [item["id"] for item in shown["retrainings"]] == [queued]
    assert [item["id"] for item in shown["tasks"]] == [task]
    clock.tick(seconds=20)
    assert to_jsonable(queries.platform_status(context))["leader"] is None


def test_watchers_of_this_host_are_those_that_lately_gave_a_sign_of_life(
    context: AppContext, database: Database, clock: FakeClock
) -> None:
    host = context.instance.partition(":")[0]
    with database.write() as connection:
        leases.record_heartbeat(connection, "watcher", f"{host}:1:a", START, {})
        leases.record_heartbeat(connection, "watcher", f"{host}:2:b", START - timedelta(minutes=1), {})
        leases.record_heartbeat(connection, "watcher", "elsewhere:1:c", START, {})
        leases.record_heartbeat(connection, "api", f"{host}:3:d", START, {})
    assert queries.local_watchers(context) == [f"{host}:1:a"]
    clock.tick(minutes=1)
    assert queries.local_watchers(context) == []


def test_signs_of_life_from_before_the_clock_was_set_back_prove_no_life_and_are_a_fault_of_the_clock(
    context: AppContext, clock: FakeClock
) -> None:
    host = context.instance.partition(":")[0]
    with context.database.write() as connection:
        leases.record_heartbeat(connection, "watcher", f"{host}:1:a", clock(), {"leader": True, "clock": None})
    assert queries.clock_faults(context) == []
    clock.tick(hours=-2)
    assert queries.local_watchers(context) == []
    [fault] = queries.clock_faults(context)
    assert "7200 s from now" in fault
    assert "NTP" in fault
    with context.database.write() as connection:
        leases.record_heartbeat(
            connection, "watcher", f"{host}:1:a", clock(), {"leader": True, "clock": "the clock was set back"}
        )
    assert queries.local_watchers(context) == [f"{host}:1:a"]
    assert queries.clock_faults(context) == [
        f"watcher {host}:1:a: the clock was set back; let all hosts keep time by NTP"
    ]
