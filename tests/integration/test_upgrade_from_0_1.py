"""A home folder and a database that version 0.1.0 left in the middle of its work: they are upgraded, and go on.

The fixtures are in `tests/fixtures`, whose README says what they hold and how they were made.
"""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from mlplatform.alerting import detector_state
from mlplatform.alerting.delivery import create_delivery
from mlplatform.alerting.dispatcher import create_dispatcher
from mlplatform.audit import audit_entries, checkpoints
from mlplatform.audit.checkpoint_file import checkpoint_path
from mlplatform.audit.verification import verify_with_checkpoint_file
from mlplatform.auth import api_key
from mlplatform.auth.api_keys import list_keys
from mlplatform.context import AppContext
from mlplatform.feedback import outcome_counts
from mlplatform.feedback.label_ingestion import match_pending_labels, record_labels
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.ids import uuid7
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.operations.operator_actions import describe_keys
from mlplatform.operations.queries import load_prediction, platform_status
from mlplatform.predictions import prediction_counts
from mlplatform.recording.recorder import Recorder
from mlplatform.recording.spool.directory import SpoolDirectory
from mlplatform.recording.thread_writer import ThreadWriter
from mlplatform.retraining import retraining_queue
from mlplatform.scopes import granted_models
from mlplatform.serialization import to_jsonable
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from mlplatform.store.tables.base import metadata
from monitors.decisions.detectors.label_detector import LabelDetector
from monitors.rules.rule import Rule
from tests.support.platform_world import DigitContracts, FakeCatalog
from tests.support.waiting import eventually

FIXTURES: Final = Path(__file__).parents[1] / "fixtures"
POSTGRES: Final = os.environ.get("PLATFORM_TEST_POSTGRES_URL", "")
MADE_IN: Final = "mlplatform_0_1_0"
"""The schema that the dump was made in."""
NEWEST_OF_0_1: Final = "0017"
MODEL: Final = "digits"


class Clock:
    """Stands still until it is moved."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Restored:
    """A platform on what was left, and what the version before said of it."""

    parts: AppContext
    clock: Clock
    before: dict[str, Any]

    def rule(self, name: str) -> Rule:
        return next(rule for rule in self.parts.rules.rules if rule.name == name)

    def label(self, key: str, truth: str) -> str:
        [told] = record_labels(self.parts, [SubmittedLabel(key, truth, "delayed", "", self.clock())])
        return told.outcome

    def labels(self) -> int:
        """How many answers of the champion have a label, by the counts over all its time."""
        with self.parts.database.read() as connection:
            start, end = self.clock() - timedelta(days=10), self.clock() + timedelta(days=1)
            return sum(
                cell.n
                for cell in outcome_counts.window_label_counts(
                    connection, MODEL, self.before["status"]["champion"], start, end
                )
            )

    def remembered(self, name: str) -> detector_state.DetectorState:
        """What the detectors of a rule remember."""
        with self.parts.database.read() as connection:
            found = detector_state.load_state(connection, MODEL, self.before["status"]["champion"], name)
        assert found is not None
        return found


@contextmanager
def restored_schema() -> Iterator[str]:
    """The URL of a schema that holds what was dumped, dropped at the end."""
    if not POSTGRES:
        pytest.skip("PLATFORM_TEST_POSTGRES_URL is not set: no PostgreSQL to test on")
    schema, server = f"upgrade_{uuid7()[-12:]}", POSTGRES.replace("+psycopg", "")
    written = gzip.decompress((FIXTURES / "postgres-0.1.0.sql.gz").read_bytes()).decode()
    with psycopg.connect(server, autocommit=True) as connection:
        try:
            with connection.transaction():
                connection.execute(written.replace(MADE_IN, schema).encode())
            yield f"{POSTGRES}{'&' if '?' in POSTGRES else '?'}options=-csearch_path%3D{schema}"
        finally:
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the database is: in the home folder, or on the server."""
    if request.param == "sqlite":
        yield ""
        return
    with restored_schema() as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path, url: str) -> Settings:
    """Those of the home folder as it was left."""
    with tarfile.open(FIXTURES / "home-0.1.0.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
    if url:
        (tmp_path / "platform.db").unlink()
    return Settings(
        _env_file=None,
        home=tmp_path,
        database_url=url,
        alerts_file=tmp_path / "alerts.yaml",
        audit_key_file=tmp_path / "key",
    )


@pytest.fixture
def restored(settings: Settings) -> Iterator[Restored]:
    """The platform, begun by this version a minute after the other ended; its database is upgraded on the way.

    What was left holds no registry: one would say of each version that it reads digits.
    """
    before = json.loads((FIXTURES / "expected-0.1.0.json").read_text(encoding="utf-8"))
    clock = Clock(datetime.fromisoformat(before["now"]) + timedelta(minutes=1))
    parts = AppContext(settings, clock, contracts=DigitContracts(FakeCatalog))
    yield Restored(parts, clock, before)
    parts.database.close()


def test_the_fixture_is_of_the_version_before_and_is_upgraded_to_the_tables_of_this_one(settings: Settings) -> None:
    database = Database(settings.store_url)
    before, newest = database.revision()
    assert before is not None
    assert before.startswith(NEWEST_OF_0_1)
    database.upgrade()
    assert database.revision() == (newest, newest)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.upgrade()  # again changes nothing
    database.close()


def test_status_shows_the_same_numbers(restored: Restored) -> None:
    now = to_jsonable(platform_status(restored.parts))
    assert {
        "champion": now["champion"],
        "counts": now["counts"],
        "waiting": now["labels"]["waiting"],
        "evaluations": {row["rule"]: row["state"] for row in now["evaluations"]},
        "alerts": sorted([row["rule"], row["key"], row["state"]] for row in now["alerts"]),
        "retrainings": [[row["id"], row["state"]] for row in now["retrainings"]],
        "tasks": [[row["id"], row["kind"]] for row in now["tasks"]],
        "undelivered": [[row["idempotency_key"], row["channel"], row["state"]] for row in now["undelivered"]],
    } == restored.before["status"]


def test_the_audit_log_verifies_against_its_anchors_and_is_anchored_further(restored: Restored) -> None:
    report = verify_with_checkpoint_file(restored.parts)
    assert report.faults == []
    assert (report.batches, report.answers, report.unchained) == (6, 600, 0)
    assert report.anchored > 0
    assert report.rows > 300, "labels, promotions, keys and quarantines are vouched for"
    assert checkpoints.write_checkpoint(restored.parts, checkpoint_path(restored.parts), restored.clock()) is None, (
        "the newest heads are anchored"
    )
    assert restored.label(restored.before["unlabelled"], "5") == "recorded"
    assert checkpoints.write_checkpoint(restored.parts, checkpoint_path(restored.parts), restored.clock()) is not None
    assert verify_with_checkpoint_file(restored.parts).faults == []


def test_what_was_changed_behind_the_platforms_back_is_still_found(restored: Restored) -> None:
    with restored.parts.database.write() as connection:
        table = metadata.tables["predictions"]
        changed = table.update().where(table.c.id == restored.before["unlabelled"]).values(label="8")
        connection.execute(changed)
    [fault] = verify_with_checkpoint_file(restored.parts).faults
    assert restored.before["unlabelled"] in fault


def test_detectors_begin_anew_read_every_label_again_and_the_audit_log_says_so(restored: Restored) -> None:
    before = {name: restored.remembered(name) for name in ("accuracy-drop", "class-error")}
    assert restored.label(restored.before["unlabelled"], "5") == "recorded"
    for name in before:
        evaluation = evaluate(restored.parts, restored.rule(name), restored.clock())
        assert evaluation is not None
        assert evaluation.state == "breach"
    after = {name: restored.remembered(name) for name in before}
    for name, held in before.items():
        assert after[name].definition != held.definition, "another way to bet cannot go on with the states of this one"
        assert after[name].cursor > held.cursor, "the new label was read"
    assert before["accuracy-drop"].streams[""]["alarmed_at"] is not None
    assert after["accuracy-drop"].streams[""]["alarmed_at"] is not None, "the same labels prove it again"
    read = LabelDetector.from_json(after["class-error"].streams["4"])
    assert read.n == before["class-error"].streams["4"]["n"]
    with restored.parts.database.read() as connection:
        entries = audit_entries.recent_entries(connection)
    restarted = {entry["subject"] for entry in entries if entry["action"] == "restart-detectors"}
    assert restarted == {"rule/accuracy-drop", "rule/class-error"}
    seen = to_jsonable(platform_status(restored.parts))
    shown = sorted([row["rule"], row["key"], row["state"]] for row in seen["alerts"])
    assert shown == restored.before["status"]["alerts"], "the alerts that are open are the ones that were"
    assert len(seen["undelivered"]) == 1, "and nobody is told of them twice"
    assert [[row["id"], row["state"]] for row in seen["retrainings"]] == restored.before["status"]["retrainings"]


def test_a_late_label_is_joined_with_its_prediction_and_counted(restored: Restored) -> None:
    key, labels = restored.before["unlabelled"], restored.labels()
    assert restored.label(key, "3") == "recorded"
    assert restored.labels() == labels + 1
    assert restored.label(key, "3") == "repeated"
    restored.clock.now += timedelta(minutes=1)
    assert restored.label(key, "4") == "superseded"
    assert restored.labels() == labels + 1
    assert [each.source for each in load_prediction(restored.parts, key).labels] == ["delayed"]
    assert (
        to_jsonable(platform_status(restored.parts))["counts"]["labels"]
        == restored.before["status"]["counts"]["labels"] + 1
    )
    assert verify_with_checkpoint_file(restored.parts).faults == []


def test_the_spool_is_delivered_once_and_the_labels_that_waited_find_their_predictions(restored: Restored) -> None:
    assert match_pending_labels(restored.parts) == 0, "their predictions are not there yet"
    spool_directory = SpoolDirectory(restored.parts.settings.spool_folder, restored.parts.instance, 2**20)
    recorder = Recorder(
        ThreadWriter(restored.parts.database), spool_directory=spool_directory, batch=100, flush_seconds=0.0
    )
    recorder.start()
    eventually(lambda: not list(restored.parts.settings.spool_folder.glob("host-*/*.rows")))
    recorder.close(timeout=60.0)
    assert spool_directory.queued_rows == 0
    for key in restored.before["spooled"]:
        assert load_prediction(restored.parts, key).id == key
    assert match_pending_labels(restored.parts) == restored.before["status"]["waiting"] == 2
    now, before = to_jsonable(platform_status(restored.parts)), restored.before["status"]
    assert now["labels"]["waiting"] == 0
    assert now["counts"]["predictions"] == before["counts"]["predictions"] + len(restored.before["spooled"])
    assert now["counts"]["labels"] == before["counts"]["labels"] + 2
    report = verify_with_checkpoint_file(restored.parts)
    assert (report.faults, report.answers) == ([], 603)


def test_a_notice_that_was_not_sent_yet_is_sent_once(restored: Restored) -> None:
    requests: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, text="ok")

    client = httpx.Client(transport=httpx.MockTransport(take))
    dispatcher = create_dispatcher(restored.parts, create_delivery(restored.parts, client))
    assert dispatcher.dispatch_due() == {"delivered": 1, "waiting": 0, "failed": 0}
    assert dispatcher.dispatch_due() == {"delivered": 0, "waiting": 0, "failed": 0}
    [request] = requests
    [[key, _, _]] = restored.before["status"]["undelivered"]
    assert request.headers["idempotency-key"] == key
    assert "accuracy-drop" in json.loads(request.content)["text"]
    assert to_jsonable(platform_status(restored.parts))["undelivered"] == []


def test_the_queued_retraining_is_joined_and_not_doubled(restored: Restored) -> None:
    [[queued, _]] = restored.before["status"]["retrainings"]
    with restored.parts.database.write() as connection:
        joined = retraining_queue.request(
            connection, pipeline=MODEL, reason="by hand", trigger="manual", requested_by="ada", now=restored.clock()
        )
    assert joined == (queued, False)


def test_keys_open_what_they_opened_and_a_revoked_one_nothing(restored: Restored) -> None:
    shown = api_key.parse(restored.before["api_key"])
    assert shown is not None
    with restored.parts.database.read() as connection:
        found = {key.id: key for key in list_keys(connection)}
    assert shown.matches(found[shown.id])
    assert granted_models(found[shown.id].scopes, ["predict"]) is None
    assert {row.name: row.state for row in describe_keys(restored.parts)} == {"scanner": "works", "left": "revoked"}


def test_counts_of_minutes_and_of_whole_hours_and_days_agree(restored: Restored) -> None:
    end = restored.clock()
    with restored.parts.database.read() as connection:
        of_first = prediction_counts.prediction_total(connection, MODEL, 1, end - timedelta(days=10), end)
        of_second = prediction_counts.prediction_total(connection, MODEL, 2, end - timedelta(days=10), end)
        minutes = sum(
            sum(steps.values())
            for version in (1, 2)
            for _, given in prediction_counts.class_counts_by_minute(
                connection, MODEL, version, 0, prediction_counts.minute_index(end), 1000
            )
            for steps in given.values()
        )
    assert (of_first, of_second) == (300, 300)
    assert minutes == 600
