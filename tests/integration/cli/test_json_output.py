"""What `--json` prints: one JSON document on stdout, with the keys that the reference names."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import chain
from pathlib import Path

import typer.main
from typer.core import TyperGroup

from mlplatform.cli import app
from mlplatform.cli.json_output import JSON_FORMS
from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.ids import uuid7
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.predictions import sampling_plans
from mlplatform.promotion import approvals
from mlplatform.promotion.approvals import Approval
from mlplatform.recording.spool.quarantined_rows import REFUSED_FILE
from monitors.statistics.review_sampling import SamplingPlan
from tests.support.command_line import Command, Said, commands
from tests.support.label_studio import annotation, choice, exported
from tests.support.monitoring_world import all_alerts, breach, rule
from tests.support.platform_world import prediction, recorded
from tests.support.quarantined_spool import answer, frames_of, put

LONG_COMMANDS = {
    *("demo", "up", "train", "serve", "watch", "mlflow", "tune-serving"),
    *("export", "adopt", "data fetch", "edge serve", "alerts test"),
}
"""Those that train, serve or need a receiver are not run here; their keys were compared by hand."""


Run = Callable[..., tuple[str, Said]]
Session = Iterator[tuple[str, Said]]


def runner(platform: Command) -> Run:
    """Runs a command with --json; gives its name and what it printed."""
    return lambda name, *words: (name, platform(*name.split(), *words, "--json"))


def versions(run: Run, context: AppContext) -> Session:
    """Commands of versions, of which two are registered and the first is champion."""
    yield run("models list")
    yield run("models card", "1")
    yield run("models card", "2", "--diff", "1")
    yield run("models shadow", "2")
    yield run("models shadow", "2", "--stop")
    yield run("models canary", "2", "--force")
    yield run("models canary", "2", "--stop")
    for decision in ("reject", "approve"):
        now = context.clock()
        waiting = Approval(uuid7(), "digits", 2, 1, "waiting", "drift", "cli", now, now + timedelta(days=7), None, None)
        with context.database.write() as connection:
            approvals.request(connection, waiting)
        yield run(f"models {decision}", "2", "--comment", "so")
    yield run("models rollback")
    yield run("models quarantine", "2", "--lift")
    yield run("models promote", "2", "--force")
    yield run("models rollback")
    queued = run("retrain")
    yield queued
    yield run("retrain", "--cancel", queued[1].json["id"])


def labels(run: Run, context: AppContext, folder: Path) -> Session:
    """Commands of labels, of answers that are all drawn."""
    with context.database.write() as connection:
        since = utc_now() - timedelta(minutes=5)
        sampling_plans.publish(connection, "digits", 1, SamplingPlan(uniform=1.0).to_json(), since)
    ids = recorded(context.database, *(prediction(utc_now(), seed=seed) for seed in range(4)))
    yield run("audit status")
    out = folder / "batch"
    yield run("audit next", "--reviewer", "ada", "--limit", "1", "--out", str(out))
    sheet = out / "labels.csv"
    sheet.write_text(sheet.read_text().rstrip("\n").removesuffix(",") + ",7\n")
    yield run("audit submit", str(sheet), "--reviewer", "ada")
    yield run("label-studio export", "--out", str(folder / "ls"), "--limit", "1")
    [task] = json.loads((folder / "ls" / "tasks.json").read_text())
    (folder / "export.json").write_text(json.dumps(exported((task["data"], [annotation(1, choice("7"))]))))
    yield run("label-studio import", str(folder / "export.json"))
    (folder / "labels.csv").write_text(f"prediction_id,label\n{ids[0]},4\n")
    for words in (("--dry-run",), ()):
        yield run("feedback import", str(folder / "labels.csv"), "--source", "correction", *words)


def alerts(run: Run, context: AppContext) -> Session:
    """Commands of an alert that fires."""
    evaluate(context, rule(context, "accuracy-drop"), utc_now())
    alert = all_alerts(context)[0].id
    yield run("check")
    yield run("alerts list")
    yield run("alerts explain", alert)
    yield run("alerts ack", alert)
    made = run("alerts silence", "latency")
    yield made
    yield run("alerts silences")
    yield run("alerts unsilence", made[1].json["id"])
    yield run("alerts backtest", "--since", "1h")
    yield run("alerts schema")
    yield run("status")


def records(run: Run, context: AppContext, folder: Path) -> Session:
    """Commands of keys, the audit log, and rows that were set aside or are kept for a time."""
    yield run("init", str(folder / "new"))
    yield run("doctor")
    yield run("open", "alerts")
    made = run("keys create", "ada", "--scope", "predict")
    yield made
    yield run("keys list")
    yield run("keys revoke", made[1].json["id"])
    yield run("audit log")
    yield run("audit anchor", "--out", str(folder / "anchors"))
    yield run("audit verify", "--anchors", str(folder / "anchors"))
    put(context, REFUSED_FILE, frames_of(answer(1)))
    put(context, "rows.damaged", b"no row at all")
    yield run("recording list")
    yield run("recording restore")
    [left] = run("recording list")[1].json
    yield run("recording discard", left["name"])
    yield run("retention status")
    yield run("retention run")
    yield run("retention erase", "--client", "client")


def checked(session: Session) -> set[str]:
    """The commands whose documents had the keys of the reference, at least one row of them in a list."""
    seen = set()
    for name, said in session:
        form, value = JSON_FORMS[name], said.json
        assert isinstance(value, list) == form.is_list, (name, value)
        for row in value if form.is_list else [value]:
            if form.keys:
                assert set(row) in [set(keys) for keys in (form.keys, *form.others)], (name, sorted(row))
            seen.add(name)
    return seen


OF_VERSIONS = {"retrain"} | {name for name in JSON_FORMS if name.startswith("models ")}


def test_commands_of_versions_print_the_keys_of_the_reference(platform: Command, registry: AppContext) -> None:
    assert checked(versions(runner(platform), registry)) == OF_VERSIONS


def test_every_other_command_prints_the_keys_of_the_reference(
    platform: Command, store: AppContext, tmp_path: Path
) -> None:
    breach(store)
    run = runner(platform)
    session = chain(labels(run, store, tmp_path), alerts(run, store), records(run, store, tmp_path))
    assert checked(session) == set(JSON_FORMS) - OF_VERSIONS - LONG_COMMANDS


def test_the_reference_names_the_keys_of_every_command() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    names = {name.removeprefix("platform ") for name in commands(group)}
    assert set(JSON_FORMS) == names
    assert names > LONG_COMMANDS
