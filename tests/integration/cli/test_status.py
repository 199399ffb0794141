"""`platform status` fits a screen, whatever has piled up; ids and times stand whole, and their beginnings are taken."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlplatform.alerting import alert_records, evaluations, outbox
from mlplatform.alerting.evaluations import Evaluation
from mlplatform.cli.status import screen_lines
from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.ids import uuid7
from mlplatform.operations.queries import platform_status
from mlplatform.operations.views import LabelStatus
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.serialization import to_jsonable
from mlplatform.store import leases, tasks
from monitors.alerts import Alert
from tests.support.command_line import Command
from tests.support.monitoring_world import breach
from tests.support.platform_world import prediction, recorded

SENTENCE = "Accuracy is 60.0 % on 30 labelled answers, against 99.0 % on the golden set: 39.0 points lower. "
ID = re.compile(r"^  ([0-9a-f]{8}[0-9a-f-]*)  \d{4}-\d\d-\d\d \d\d:\d\d  \S")


@pytest.fixture
def piled_up(store: AppContext, monkeypatch: pytest.MonkeyPatch) -> AppContext:
    """Hundreds of everything, at 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    now = utc_now()
    with store.database.write() as connection:
        for number in range(120):
            rule, key = f"a-rather-long-name-of-a-rule-{number}", f"class {number}"
            state = ("ok", "breach", "suspect", "no-data")[number % 4]
            finding = {"key": "", "state": state, "sentence": SENTENCE * 3}
            made = Evaluation(uuid7(), rule, now, now, "digits", 1, now, now, state, [finding], "/a/path" * 9, "host:1")
            evaluations.add(connection, made)
            graver = ("pending", "info") if number else ("firing", "critical")
            alert = Alert(uuid7(), rule, key, "digits", 1, graver[1], graver[0], now, now)  # type: ignore[arg-type]
            alert_records.save(connection, alert, SENTENCE * 3, made.id)
            details = {"predictions": [{"id": uuid7(), "suggested": "3"} for _ in range(60)], "class": "3"}
            tasks.open_task(connection, "label-audit", "digits", details, now, key=key)
            outbox.enqueue(connection, key=key, channel="team", payload={}, alert_id=alert.id, now=now)
            beat = {"model": "digits", "model_version": 1, "error": "word " * 40, "recorder": {"queued": 3}}
            leases.record_heartbeat(connection, "api", f"a-host-of-a-name:{number}:0123456789ab", now, beat)
        for _ in range(9):
            asked, _ = retraining_queue.request(
                connection, pipeline="digits", reason="why " * 60, trigger="manual", requested_by="ann", now=now
            )
            retraining_endings.cancel(connection, asked, "ann", now)
    return store


def test_status_fits_a_screen_however_much_has_piled_up(platform: Command, piled_up: AppContext) -> None:
    lines = platform("status").out.splitlines()
    assert 24 <= len(lines) <= 40
    assert max(len(line) for line in lines) <= 80
    assert "open alerts: 1 firing, 119 pending" in "\n".join(lines)
    assert "  and 114 more: platform alerts list" in lines
    assert sum("platform status --all" in line for line in lines) >= 3


def test_what_is_grave_stands_first(piled_up: AppContext) -> None:
    shown = platform_status(piled_up)
    lines = screen_lines(shown, 80)
    first = lines[next(place for place, line in enumerate(lines) if line.startswith("open alerts")) + 1]
    assert "critical firing" in first
    monitors = next(place for place, line in enumerate(lines) if line.startswith("monitors"))
    assert lines[monitors] == "monitors: 30 breach, 30 suspect, 30 no-data, 30 ok"
    assert all("  breach  " in line for line in lines[monitors + 1 : monitors + 4])


def test_each_id_on_the_screen_stands_for_its_row(platform: Command, piled_up: AppContext) -> None:
    shown = platform_status(piled_up)
    lines = screen_lines(shown, 80)
    written = [found[1] for line in lines if (found := ID.match(line))]
    assert len(written) == 6 + 3 + 3
    rows = to_jsonable(shown)
    for name, some in (("alerts", written[:6]), ("retrainings", written[6:9]), ("tasks", written[9:])):
        full = [row["id"] for row in rows[name]]
        assert all(sum(each.startswith(short) for each in full) == 1 for short in some)
    firing = written[0]
    said = platform("alerts", "ack", firing, "--json")
    assert (said.code, said.json["state"]) == (0, "acknowledged")
    assert said.json["id"].startswith(firing)


def test_all_of_it_is_a_word_away(platform: Command, piled_up: AppContext) -> None:
    out = platform("status", "--all").out
    assert len(out.splitlines()) > 300
    for name in ("label-audit", "predictions"):
        assert name in out


def test_an_empty_platform_is_shown_in_few_lines(platform: Command, store: AppContext) -> None:
    lines = platform("status").out.splitlines()
    assert lines[0] == "digits: champion none · 0 predictions, 0 images, 0 labels · leader none"
    assert lines[1:] == [
        f"{part}: none"
        for part in ("open alerts", "monitors", "retrainings", "tasks", "undelivered notices", "processes")
    ]


def test_every_command_takes_the_beginning_of_an_id(platform: Command, store: AppContext, tmp_path: Path) -> None:
    breach(store)
    platform("check")
    [row] = [each for each in platform("alerts", "list", "--json").json if each["rule"] == "accuracy-drop"]
    short = next(each["short_id"] for each in platform_status(store).alerts if each["id"] == row["id"])
    assert f"alert {row['id']}" in platform("alerts", "explain", short).out
    assert platform("alerts", "ack", short, "--json").json["id"] == row["id"]
    queued = platform("retrain", "--json").json["id"]
    found = next(each.short_id for each in platform_status(store).retrainings if each.id == queued)
    assert platform("retrain", "--cancel", found, "--json").json == {"id": queued, "state": "cancelled"}
    key = platform("keys", "create", "ann", "--scope", "predict", "--json").json["id"]
    assert platform("keys", "revoke", key[:6], "--json").json["id"] == key
    task = next(each for each in to_jsonable(platform_status(store).tasks) if each["kind"] == "label-audit")
    said = platform(
        "audit", "next", "--reviewer", "ann", "--task", task["short_id"], "--out", str(tmp_path / "out"), "--json"
    )
    assert said.json["answers"] > 0
    assert task["id"] in Path(said.json["sheet"]).read_text()


def test_a_beginning_that_fits_several_is_refused_with_their_names(platform: Command, piled_up: AppContext) -> None:
    for words in (
        ("alerts", "explain"),
        ("alerts", "ack"),
        ("retrain", "--cancel"),
        ("audit", "next", "--reviewer", "a", "--task"),
    ):
        said = platform(*words, "0")
        assert said.code != 0
        assert re.search(r"id '0' fits \d+: [0-9a-f-]{36}, ", said.err), said.err


def test_another_models_state_is_not_told_as_this_ones(store: AppContext) -> None:
    now = utc_now()
    with store.database.write() as connection:
        evaluation = Evaluation("e", "latency", now, now, "letters", 1, now, now, "breach", [], None, "host:1")
        evaluations.add(connection, evaluation)
        alert_records.save(connection, Alert("a", "latency", "", "letters", 1, "info", "firing", now, now), "slow", "e")
        outbox.enqueue(connection, key="k", channel="team", payload={}, alert_id="a", now=now)
        outbox.enqueue(connection, key="l", channel="team", payload={}, alert_id=None, now=now, model_name="letters")
        leases.record_heartbeat(connection, "api", "host:9", now, {"model": "letters"})
        retraining_queue.request(
            connection, pipeline="letters", reason="r", trigger="manual", requested_by="ann", now=now
        )
    shown = to_jsonable(platform_status(store))
    assert [shown[name] for name in ("alerts", "undelivered", "processes", "retrainings")] == [[], [], [], []]


def test_totals_cost_the_same_however_much_is_stored(store: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlplatform.operations import store_totals

    monkeypatch.setattr(store_totals, "COUNT_LIMIT", 3)
    now = utc_now()
    ids = recorded(store.database, *(prediction(now - timedelta(days=seed), seed=seed) for seed in range(5)))
    with store.database.write() as connection:
        label_records.insert_labels(
            connection, [label_records.SubmittedLabel(each, "3", "audit", "ann", now) for each in ids[:2]], now
        )
        counted = store_totals.store_totals(connection, "digits")
        assert store_totals.store_totals(connection, "letters")["predictions"] == 0
    assert counted == {"predictions": 5, "images": 3, "labels": 2}
    assert store_totals.format_totals(counted) == ["5 predictions", "3+ images", "2 labels"]


def test_what_to_do_about_labels_is_read_on_a_narrow_screen(platform: Command, store: AppContext) -> None:
    del platform
    labels = LabelStatus(12, datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC), 0, 34, "")
    lines = screen_lines(replace(platform_status(store), labels=labels), 80)
    assert "labels: 12 label(s) wait for their prediction since 2026-01-01 12:00 UTC" in lines
    assert any("send such truth as `delayed`" in line for line in lines)


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        ({"step": "waiting for labels", "labels": 118, "needed": 177}, "queued, waiting for labels (118 of 177): drop"),
        ({"step": "registering"}, "queued, registering: drop"),
        ({}, "queued: drop"),
        (None, "queued: drop"),
    ],
)
def test_what_a_retraining_waits_for_is_said(store: AppContext, progress: dict[str, object] | None, said: str) -> None:
    asked = datetime(2026, 1, 1, 12, tzinfo=UTC)
    with store.database.write() as connection:
        retraining_queue.request(
            connection, pipeline="digits", reason="drop", trigger="manual", requested_by="ann", now=asked
        )
    shown = platform_status(store)
    row = replace(shown.retrainings[0], short_id="01a228e4", progress=progress)
    lines = screen_lines(replace(shown, retrainings=[row]), 80)
    assert f"  01a228e4  2026-01-01 12:00  {said}" in lines
