"""Whatever stands in the database or the registry, no command prints what steers a terminal or forges a line."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer.main
from sqlalchemy import JSON, Text, select, update
from typer.core import TyperGroup

from mlplatform.cli import app, main
from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.operations.operator_actions import create_key, silence_alerts
from mlplatform.retraining import retraining_queue
from mlplatform.store import leases, tasks
from mlplatform.store.tables.base import metadata
from monitors.alerts import Silence
from tests.support.command_line import commands
from tests.support.monitoring_world import all_alerts, breach, rule

FORGED = "all is well"
HOSTILE = f"eve\n{FORGED}\r{FORGED}\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2028\u2066\x7f[red]x[/red]"
STEERING = frozenset("\x1b\x07\x9b\u202e\u2028\u2066\x7f\r")
LOOKED_UP = {"model_name", "pipeline"}
"""Rows with another name in these belong to another model, and are shown to nobody."""
KEPT = {("evaluations", "findings"), ("alerts", "numbers"), ("probations", "duel"), ("baselines", "numbers")}
"""Numbers, which this product writes and reads back as such."""
NOT_RUN = {
    "platform demo", "platform up", "platform train", "platform serve", "platform tune-serving", "platform watch",
    "platform mlflow", "platform init", "platform data fetch", "platform export", "platform check",
    "platform alerts schema", "platform alerts test", "platform models shadow",
    "platform models canary", "platform edge serve",
}  # fmt: skip
"""They run on, train, or print nothing that comes from a database."""

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command as a person does, to its last line on either stream."""

    def command(*words: str) -> str:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["platform", *words])
        with pytest.raises(SystemExit):
            main()
        said = capfd.readouterr()
        return said.out + said.err

    return command


@pytest.fixture
def spoilt(store: AppContext) -> Iterator[AppContext]:
    """Rows of every kind, with a hostile text in every column of texts and in every text inside JSON."""
    breach(store)
    now = utc_now()
    evaluate(store, rule(store, "accuracy-drop"), now)
    silence_alerts(store, Silence("latency", now + timedelta(hours=1), "*", "*", "why"), "ada")
    create_key(store, "scanner", ["predict"], None, "ada")
    with store.database.write() as connection:
        leases.record_heartbeat(connection, "api", "host:1:a", now, {"error": "cannot load", "version": 1})
        retraining_queue.request(
            connection, pipeline="digits", reason="why", trigger="manual", requested_by="ada", now=now
        )
        tasks.open_task(connection, "label-audit", "digits", {"classes": ["3"], "predictions": []}, now, None)
        for table in metadata.sorted_tables:
            _spoil(connection, table)
    factory = logging.getLogRecordFactory()
    umask = os.umask(0o077)
    yield store
    os.umask(umask)
    logging.setLogRecordFactory(factory)


def _spoil(connection: Any, table: Any) -> None:  # noqa: ANN401 - any table
    keys = {column.name for column in table.primary_key} | {key.parent.name for key in table.foreign_keys}
    for row in connection.execute(select(table)).mappings().all():
        values = {}
        for column in table.columns:
            if column.name in keys | LOOKED_UP or (table.name, column.name) in KEPT or row[column.name] is None:
                continue
            if isinstance(column.type, Text):
                values[column.name] = f"{row[column.name]}{HOSTILE}"
            elif isinstance(column.type, JSON):
                values[column.name] = _deep(row[column.name])
        if values:
            mine = [column == row[column.name] for column in table.primary_key]
            connection.execute(update(table).where(*mine).values(values))


def _deep(value: Any) -> Any:  # noqa: ANN401 - any JSON
    match value:
        case str():
            return value + HOSTILE
        case list():
            return [_deep(each) for each in value]
        case dict():
            return {key: _deep(each) for key, each in value.items()}
    return value


def harmless(said: str) -> bool:
    return not STEERING & set(said) and not any(line.startswith(FORGED) for line in said.splitlines())


@pytest.mark.slow
def test_every_command_prints_hostile_texts_harmless(spoilt: AppContext, run: Run, tmp_path: Path) -> None:
    alert, retraining = all_alerts(spoilt)[0].id, _first(spoilt, "retrainings")
    key, task = _first(spoilt, "api_keys"), _first(spoilt, "tasks")
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"prediction_id,label\n{HOSTILE!r},3\n", encoding="utf-8")
    labels = tmp_path / "labels.csv"
    labels.write_text(f'prediction_id,label,source\n"{HOSTILE}","{HOSTILE}",audit\n', encoding="utf-8")
    given: dict[str, list[tuple[str, ...]]] = {
        "platform status": [()],
        "platform doctor": [()],
        "platform retrain": [("--reason", HOSTILE), ("--cancel", retraining), ("--cancel", HOSTILE)],
        "platform alerts list": [(), ("--all",)],
        "platform alerts explain": [(alert,), (HOSTILE,)],
        "platform alerts ack": [(alert, "--by", HOSTILE), (HOSTILE,)],
        "platform alerts silence": [(HOSTILE, "--by", HOSTILE, "--comment", HOSTILE)],
        "platform alerts backtest": [()],
        "platform audit status": [()],
        "platform audit next": [
            ("--reviewer", HOSTILE), ("--reviewer", "a", "--task", task), ("--reviewer", "a", "--task", HOSTILE)
        ],
        "platform audit submit": [(str(sheet), "--reviewer", HOSTILE), (HOSTILE, "--reviewer", "a")],
        "platform audit log": [()],
        "platform audit anchor": [(), ("--accept", HOSTILE, "--by", HOSTILE)],
        "platform audit verify": [()],
        "platform keys create": [(HOSTILE, "--scope", "predict"), ("n", "--scope", HOSTILE)],
        "platform keys list": [()],
        "platform keys revoke": [(key, "--by", HOSTILE), (HOSTILE,)],
        "platform feedback import": [(str(labels),), (HOSTILE,)],
        "platform models list": [()],
        "platform models card": [("1",)],
        "platform models promote": [("2", "--reason", HOSTILE)],
        "platform models rollback": [("--reason", HOSTILE)],
        "platform models quarantine": [("1", "--reason", HOSTILE)],
        "platform retention status": [()],
        "platform retention run": [()],
        "platform retention erase": [("--client", HOSTILE, "--actor", HOSTILE)],
    }  # fmt: skip
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    spoilt_ones = 0
    for name in set(commands(group)) - NOT_RUN:
        many = given.get(name, [()])
        for words in many:
            said = run(*name.split()[1:], *words)
            assert harmless(said), f"{name} {words!r}: {said!r}"
            spoilt_ones += "eve" in said
    assert spoilt_ones > 15


def test_json_carries_the_texts_as_they_are_and_escaped(spoilt: AppContext, run: Run) -> None:
    said = run("audit", "log", "--json")
    assert harmless(said)
    assert HOSTILE in json.loads(said)[0]["actor"]


def test_what_nobody_expected_is_printed_harmless(
    monkeypatch: pytest.MonkeyPatch, spoilt: AppContext, capfd: pytest.CaptureFixture[str]
) -> None:
    with spoilt.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit_log SET details = ?", (f"no JSON {HOSTILE}",))
    monkeypatch.setattr(sys, "argv", ["platform", "audit", "log"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capfd.readouterr()
    assert "Traceback" in said.err
    assert harmless(said.out + said.err)


def _first(context: AppContext, table: str) -> str:
    with context.database.read() as connection:
        return str(connection.scalar(select(metadata.tables[table].c.id).limit(1)))
