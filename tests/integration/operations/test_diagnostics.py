"""The doctor: what is configured, reachable and missing."""

import os
import shutil
from datetime import timedelta
from pathlib import Path
from socket import gethostname

import pytest

from mlplatform.alerting import outbox
from mlplatform.alerting.retry_policy import RetryPolicy
from mlplatform.context import AppContext
from mlplatform.operations.doctor.diagnostics import CHECKS, run_checks
from mlplatform.recording.spool.directory import SpoolDirectory
from mlplatform.settings import Settings
from mlplatform.store import leases
from mlplatform.store.database import Database, database_file
from mlplatform.store.file_identity import StoreReplacedError, journal_path
from registry.mlflow_server import quiet_environment
from tests.support.diagnostics_world import look
from tests.support.monitoring_world import RULES, answer, lease_of, with_rules
from tests.support.platform_world import FakeClock


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PLATFORM_")]:
        monkeypatch.delenv(name)
    for name, value in quiet_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


def levels(context: AppContext, subject: str) -> list[str]:
    return [mark for mark, _ in look(context, subject)]


def test_everything_is_examined_and_a_failure_is_a_finding(settings: Settings) -> None:
    away = settings.model_copy(
        update={"mlflow_uri": "http://127.0.0.1:9", "database_url": "postgresql+psycopg://me:secret@127.0.0.1:9/none"}
    )
    settings.alerts_file.write_bytes(b"\xff\xfe not UTF-8")
    findings = run_checks(away)
    assert {finding.subject for finding in findings} == set(CHECKS)
    problems = {finding.subject: finding.detail for finding in findings if finding.mark == "problem"}
    assert problems.keys() == {"database", "mlflow", "rules", "model", "processes"}
    assert "not UTF-8" in problems["rules"]
    assert not any("secret" in finding.detail for finding in findings)


def test_it_mends_nothing(settings: Settings) -> None:
    settings.home.mkdir()
    findings = run_checks(settings.model_copy(update={"mlflow_uri": "http://127.0.0.1:9"}))
    details = {finding.subject: finding.detail for finding in findings if finding.mark == "note"}
    assert "not looked at" in details["model"]
    assert "not looked at" in details["processes"]
    assert Database(settings.store_url).revision()[0] is None


def test_a_variable_that_is_no_setting_is_a_problem(deployment: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_PROT", "8000")
    monkeypatch.setenv("PLATFORM_TEST_POSTGRES_URL", "x")
    monkeypatch.setenv("PLATFORM_PORT", "8000")
    with_rules(deployment, RULES.replace("http://slack.test/hook", "${PLATFORM_SLACK:-}"))
    monkeypatch.setenv("PLATFORM_SLACK", "")
    found = look(deployment, "settings")
    assert [mark for mark, _ in found] == ["problem", "ok"]
    assert found[0][1].startswith("PLATFORM_PROT is not a setting")
    assert found[1][1].startswith("1 of ")


def test_a_variable_in_the_env_file_is_examined_too(deployment: AppContext) -> None:
    Path(".env").write_text("PLATFORM_PROT=1\n")
    assert levels(deployment, "settings") == ["problem", "ok"]


def test_a_home_that_can_be_written_is_fine(deployment: AppContext) -> None:
    [(mark, detail)] = look(deployment, "disk")
    assert mark in ("ok", "problem")
    assert detail.endswith(f"GiB free at {deployment.settings.home.resolve()}")


def test_tables_that_are_there_are_fine_and_sqlite_is_noted(deployment: AppContext) -> None:
    assert levels(deployment, "database") == ["ok", "note"]


def test_the_rules_tell_which_channel_is_off(deployment: AppContext) -> None:
    found = look(deployment, "rules")
    assert [mark for mark, _ in found] == ["ok", "note"]
    assert found[1][1].startswith("channel nobody is not configured")


def test_the_budgets_of_all_rules_are_added_up(deployment: AppContext) -> None:
    with_rules(deployment, RULES.replace("min_samples: 20,", "min_samples: 20, false_alarms: 1 per 90d,"))
    [(first, summed), (second, unlimited)] = look(deployment, "budgets")
    assert (first, second) == ("ok", "note")
    assert "1 rule with a budget may raise 1 false alarms in 90 days in all: accuracy-drop 1" in summed
    assert "latency (1.0 %), class-error (1.0 %)" in unlimited


def test_what_a_rule_can_find_is_said_from_the_rate_of_labels(deployment: AppContext) -> None:
    assert levels(deployment, "detection") == ["note"], "no rule about labels has a budget"
    with_rules(deployment, RULES.replace("min_samples: 20,", "min_samples: 20, false_alarms: 1 per 90d,"))
    [(mark, sentence)] = look(deployment, "detection")
    assert mark == "note"
    assert sentence.startswith("rule accuracy-drop: with 1,000 golden rows and no labels nothing is found")
    answer(deployment, right=60)
    [(mark, sentence)] = look(deployment, "detection")
    assert mark == "ok"
    assert sentence.startswith("rule accuracy-drop: with 1,000 golden rows and 60 labels a day a drop of ")


def test_rules_of_another_model_are_a_problem(deployment: AppContext) -> None:
    with_rules(deployment, RULES.replace("model: digits", "model: letters"))
    assert "problem" in levels(deployment, "rules")


def test_an_alias_that_disagrees_with_the_history_is_a_problem(deployment: AppContext) -> None:
    assert look(deployment, "model") == [("ok", "digits: champion is version 1, MLflow's alias says 1")]
    deployment.catalog.set_alias("digits", "champion", 2)
    assert levels(deployment, "model") == ["problem"]


def test_no_champion_yet_is_a_note(settings: Settings, deployment: AppContext, tmp_path: Path) -> None:
    bare = AppContext(settings.model_copy(update={"home": tmp_path / "other"}), FakeClock())
    bare.database.close()
    [(mark, detail)] = look(bare, "model")
    assert (mark, "platform train" in detail) == ("note", True)


def test_processes_and_their_leader_are_counted(deployment: AppContext) -> None:
    assert levels(deployment, "processes") == ["note", "note", "note"]
    lease_of(deployment, "host:1:a")
    with deployment.database.write() as connection:
        for component in ("api", "watcher"):
            leases.record_heartbeat(connection, component, "host:1:a", deployment.clock(), {})
    found = look(deployment, "processes")
    assert [mark for mark, _ in found] == ["ok", "ok", "ok"]
    assert found[2][1] == "leading watcher: host:1:a"


def test_a_notice_that_was_given_up_is_a_problem(deployment: AppContext) -> None:
    now = deployment.clock()
    with deployment.database.write() as connection:
        outbox.enqueue(connection, key="k", channel="team-slack", payload={}, alert_id=None, now=now)
        [message] = outbox.due_messages(connection, now, "digits")
        outbox.schedule_retry(connection, message, "HTTP 404", RetryPolicy(1, {"critical": timedelta(0)}), now)
    assert look(deployment, "processes")[-1] == ("problem", "1 notice(s) were given up: team-slack: HTTP 404")


def test_a_critical_notice_that_was_given_up_after_days_of_tries_is_a_problem(deployment: AppContext) -> None:
    now = deployment.clock()
    with deployment.database.write() as connection:
        outbox.enqueue(
            connection, key="k", channel="team-slack", payload={}, alert_id=None, now=now - timedelta(days=8)
        )
        [message] = outbox.due_messages(connection, now, "digits")
        outbox.schedule_retry(connection, message, "HTTP 404", RetryPolicy(1, {"critical": timedelta(days=7)}), now)
    assert look(deployment, "processes")[-1] == ("problem", "1 notice(s) were given up: team-slack: HTTP 404")


def test_notices_that_nobody_takes_are_a_problem_after_a_while(deployment: AppContext) -> None:
    now = deployment.clock()
    with deployment.database.write() as connection:
        for key, minutes in (("fresh", 9), ("late", 11)):
            posted = now - timedelta(minutes=minutes)
            outbox.enqueue(connection, key=key, channel="team-slack", payload={}, alert_id=None, now=posted)
        for message in outbox.due_messages(connection, now, "digits"):
            outbox.schedule_retry(connection, message, "HTTP 502", RetryPolicy(8, {"critical": timedelta(days=7)}), now)
    assert look(deployment, "processes")[-1] == ("problem", "1 notice(s) wait for receivers: team-slack: HTTP 502")


def test_a_proxy_that_notices_do_not_use_is_noted(deployment: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [line for line in look(deployment, "rules") if "directly" in line[1]]
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    assert [mark for mark, line in look(deployment, "rules") if "not through HTTPS_PROXY" in line] == ["note"]


def test_predictions_that_wait_were_forgotten_or_refused_are_said(deployment: AppContext) -> None:
    root = deployment.settings.spool_folder
    assert look(deployment, "recording") == [
        ("ok", "0 prediction(s) wait for the database in spools of running servers"),
    ]
    dead = SpoolDirectory(root, "dead:1:x", 10_000, on_full="drop-oldest", clock=deployment.clock)
    dead.append([b"row"] * 3)
    dead.close()
    living = SpoolDirectory(root, "living:2:y", 10_000, on_full="drop-oldest", clock=deployment.clock)
    living.append([b"x" * 6_000])
    living.append([b"x" * 6_000] * 1)
    living.quarantine([b"refused"], [b"damaged"])
    found = look(deployment, "recording")
    living.close()
    assert [mark for mark, _ in found] == ["ok", "note", "problem", "problem"]
    assert found[0][1].startswith("1 prediction(s)")
    assert found[1][1].startswith("3 prediction(s)")
    assert found[2][1].startswith("1 answered prediction(s) were lost")
    assert found[3][1].startswith("1 answered prediction(s) and 1 damaged stretch(es) of rows were set aside")
    assert "platform recording list" in found[3][1]
    assert look(deployment, "recording")[-1] == found[3], "earlier runs are counted like one's own"


def test_a_process_that_holds_a_replaced_database_file_is_a_problem_until_it_ends(deployment: AppContext) -> None:
    path = database_file(deployment.settings.store_url)
    assert path is not None
    path.rename(path.with_name("old"))
    shutil.copy(path.with_name("old"), path)
    with pytest.raises(StoreReplacedError), deployment.database.read():
        pass
    found = [detail for mark, detail in look(recent(deployment), "database") if mark == "problem"]
    assert len(found) == 1
    assert f"process {os.getpid()} on {gethostname()} found {path} removed or replaced" in found[0]
    notes = journal_path(path).read_text().replace(f'"pid": {os.getpid()}', '"pid": 4194999')
    journal_path(path).write_text(notes)
    assert any("it has ended" in detail for mark, detail in look(recent(deployment), "database") if mark == "note")
    journal_path(path).write_text(notes.replace('"back": false', '"back": true'))
    assert not [detail for _, detail in look(recent(deployment), "database") if "replaced" in detail]


def recent(context: AppContext) -> AppContext:
    """The same platform today: what processes found is dated by the machine's clock."""
    return AppContext(context.settings)
