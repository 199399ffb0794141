"""The top-level commands, each: parse, build, call, print."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from mlplatform.cli.output import AsJson, print_table
from mlplatform.host.console import console, print_json, say

app = typer.Typer(
    name="platform",
    help="Keep a model right in production: serve, record, monitor, alert, retrain, gate, promote, reload.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")

PipelineOption = Annotated[str | None, typer.Option("--pipeline", help="Model family; PLATFORM_PIPELINE otherwise.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder with MNIST in IDX form.")]


@app.command()
def demo(
    data_dir: DataDir = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn the whole loop once, on real digits, in processes of its own."""
    from mlplatform.demo.scenario import tell

    result = tell(data_dir=data_dir, keep=keep, quiet=as_json)
    if as_json:
        print_json(result)


@app.command()
def up(as_json: AsJson = False) -> None:
    """Run MLflow, the API server and the watcher on this machine until Ctrl-C."""
    from mlplatform.operations.local_stack import run_platform

    run_platform(as_json)


@app.command()
def train(
    pipeline: PipelineOption = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe; the family's default otherwise.")] = None,
    reason: Annotated[str, typer.Option(help="Why; shown on the card and in MLflow.")] = "trained by hand",
    data_dir: DataDir = None,
    search: Annotated[int, typer.Option(min=0, help="Try so many recipes first, then train the best.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a version now, in this process; the gate decides whether it becomes champion."""
    from mlplatform.cli.training import train_now

    train_now(pipeline, recipe, reason, data_dir, search, as_json)


@app.command()
def retrain(
    reason: Annotated[str, typer.Option(help="Why; shown in the history.")] = "asked by hand",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the outcome and show progress.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Train and compare, promote nothing.")] = False,
    cancel: Annotated[str | None, typer.Option("--cancel", help="Cancel the one of this id instead.")] = None,
    pipeline: PipelineOption = None,
    as_json: AsJson = False,
) -> None:
    """Queue a retraining for the watcher, as an alert would."""
    from mlplatform.cli import training

    if cancel is not None:
        training.cancel(cancel, as_json)
        return
    training.retrain_queued(reason, wait, dry_run, pipeline, as_json)


@app.command("work-retraining", hidden=True)
def work_retraining(retraining_id: str, owner: str) -> None:
    """Carry out a claimed retraining (started by the watcher)."""
    from mlplatform.context import build
    from mlplatform.retraining.memory_limit import limit_memory
    from mlplatform.retraining.worker import work
    from mlplatform.settings import load_settings

    settings = load_settings()
    limit_memory(settings.training_memory_mb)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(0 if work(build(settings), retraining_id, owner) != "failed" else 1)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind to; PLATFORM_HOST otherwise.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; PLATFORM_PORT otherwise.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the API server; it loads the champion and follows it."""
    from mlplatform.serve.run_server import run_server

    run_server(host, port, as_json)


@app.command("tune-serving")
def tune_serving(
    forget: Annotated[bool, typer.Option("--forget", help="Go back to the settings on this class of hosts.")] = False,
    pipeline: PipelineOption = None,
    as_json: AsJson = False,
) -> None:
    """Measure engine, threads and batches on this host; its servers take the best over."""
    from mlplatform.cli.tuning import tune_now

    tune_now(forget, pipeline, as_json)


@app.command()
def watch(
    probe: Annotated[bool, typer.Option("--probe", help="Only ask: does a watcher live on this host?")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a watcher: monitors, alerts, notices and retraining; one among many leads."""
    from mlplatform.context import build
    from mlplatform.host.processes import end_anyway
    from mlplatform.operations.queries import clock_faults, watchers_here
    from mlplatform.settings import load_settings
    from mlplatform.watcher.scheduler import STOP_SECONDS, Watcher

    if probe:
        parts = build(load_settings())
        found = watchers_here(parts)
        text = f"{len(found)} watcher(s) alive on this host"
        say(found, "; ".join([text, *clock_faults(parts)]), as_json)
        raise typer.Exit(0 if found else 1)
    watcher = Watcher(build(load_settings()))

    def end(*_args: object) -> None:
        watcher.stop()
        end_anyway(STOP_SECONDS)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    say({"instance": watcher.parts.instance}, f"watcher {watcher.parts.instance} is on duty", as_json)
    watcher.run()


@app.command()
def mlflow(as_json: AsJson = False) -> None:
    """Run the MLflow server of the platform on PLATFORM_MLFLOW_PORT."""
    from mlplatform.operations.local_stack import run_mlflow

    run_mlflow(as_json)


@app.command()
def check(as_json: AsJson = False) -> None:
    """Run the monitors now; exit code 10 when a rule is in breach."""
    from mlplatform.cli.training import check_now

    check_now(as_json)


@app.command()
def status(
    everything: Annotated[bool, typer.Option("--all", help="All of it, longer than a screen.")] = False,
    as_json: AsJson = False,
) -> None:
    """The platform at a glance: one screen, what is grave first."""
    from mlplatform.cli.training import show_status

    show_status(everything, as_json)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a commented alerts.yaml and .env.example."""
    from mlplatform.operations.scaffold import write_starters

    written = write_starters(folder, force)
    say([str(path) for path in written], "written: " + ", ".join(map(str, written)), as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What is configured, reachable and missing; exit code 1 when something must be mended."""
    from mlplatform.operations.diagnostics import examine
    from mlplatform.settings import load_settings

    findings = examine(load_settings())
    rows = [vars(finding) for finding in findings]
    if as_json:
        print_json(rows)
    else:
        print_table("doctor", rows, ("mark", "subject", "detail"), "nothing to examine")
    raise typer.Exit(1 if any(finding.mark == "problem" for finding in findings) else 0)


@data_app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="Data set: mnist, qmnist or usps.")],
    folder: Annotated[Path | None, typer.Option(help="Where to put it [default: var/data/NAME].")] = None,
    as_json: AsJson = False,
) -> None:
    """Download a data set and check it against its known checksums."""
    from mlplatform.cli.training import fetch_data

    console_or_quiet = None if as_json else console()
    target = folder or Path("var/data") / name
    files = fetch_data(name, target, console_or_quiet)
    say({"files": [str(path) for path in files]}, f"{name} is at {target}", as_json)
