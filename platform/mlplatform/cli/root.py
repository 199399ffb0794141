"""The top-level commands of `platform`: parse, build, call, print."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mlplatform.cli.options import DataDirOption, JsonOption, PipelineOption
from mlplatform.cli.output import ProgressBar, print_table
from mlplatform.host.console import echo, print_json

app = typer.Typer(
    name="platform",
    help="Keep a model right in production: serve, record, monitor, alert, retrain, gate, promote, reload.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def demo(
    data_dir: DataDirOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn the whole loop once, on real digits, in processes of its own."""
    from mlplatform.demo.scenario import run_demo

    result = run_demo(data_dir=data_dir, keep=keep, quiet=as_json)
    if as_json:
        print_json(result)


@app.command()
def up(as_json: JsonOption = False) -> None:
    """Run MLflow, the API server and the watcher on this machine until Ctrl-C."""
    from mlplatform.operations.local_stack import run_platform

    run_platform(as_json)


@app.command()
def train(
    pipeline: PipelineOption = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe; the family's default otherwise.")] = None,
    reason: Annotated[str, typer.Option(help="Why; shown on the card and in MLflow.")] = "trained by hand",
    data_dir: DataDirOption = None,
    search: Annotated[int, typer.Option(min=0, help="Try so many recipes first, then train the best.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train a version now, in this process; the gate decides whether it becomes champion."""
    from mlplatform.cli.training import run_training

    run_training(pipeline, recipe, reason, data_dir, search, as_json)


@app.command()
def retrain(
    reason: Annotated[str, typer.Option(help="Why; shown in the history.")] = "asked by hand",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the outcome and show progress.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Train and compare, promote nothing.")] = False,
    cancel: Annotated[str | None, typer.Option("--cancel", help="Cancel the one of this id instead.")] = None,
    pipeline: PipelineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a retraining for the watcher, as an alert would."""
    from mlplatform.cli import training

    if cancel is not None:
        training.cancel_by_id(cancel, as_json)
        return
    training.queue_retraining(reason, wait, dry_run, pipeline, as_json)


@app.command("work-retraining", hidden=True)
def work_retraining(retraining_id: str, owner: str) -> None:
    """Carry out a claimed retraining (started by the watcher)."""
    from mlplatform.context import create_context
    from mlplatform.retraining.memory_limit import limit_memory
    from mlplatform.retraining.worker import training_worker
    from mlplatform.settings import load_settings

    settings = load_settings()
    limit_memory(settings.training_memory_mb)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    state = training_worker(create_context(settings)).run_retraining(retraining_id, owner)
    sys.exit(0 if state != "failed" else 1)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind to; PLATFORM_HOST otherwise.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; PLATFORM_PORT otherwise.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the API server; it loads the champion and follows it."""
    from mlplatform.serve.run_server import run_server

    run_server(host, port, as_json)


@app.command("tune-serving")
def tune_serving(
    forget: Annotated[bool, typer.Option("--forget", help="Go back to the settings on this class of hosts.")] = False,
    pipeline: PipelineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure engine, threads and batches on this host; its servers take the best over."""
    from mlplatform.cli.tuning import run_tuning

    run_tuning(forget, pipeline, as_json)


@app.command()
def watch(
    probe: Annotated[bool, typer.Option("--probe", help="Only ask: does a watcher live on this host?")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a watcher: monitors, alerts, notices and retraining; one among many leads."""
    from mlplatform.context import create_context
    from mlplatform.host.processes import exit_after
    from mlplatform.operations.queries import clock_faults, local_watchers
    from mlplatform.settings import load_settings
    from mlplatform.watcher.scheduler import STOP_SECONDS, create_watcher

    if probe:
        context = create_context(load_settings())
        watchers = local_watchers(context)
        text = f"{len(watchers)} watcher(s) alive on this host"
        echo(watchers, "; ".join([text, *clock_faults(context)]), as_json)
        raise typer.Exit(0 if watchers else 1)
    watcher = create_watcher(create_context(load_settings()))

    def end(*_args: object) -> None:
        watcher.stop()
        exit_after(STOP_SECONDS)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    echo({"instance": watcher.instance}, f"watcher {watcher.instance} is on duty", as_json)
    watcher.run()


@app.command()
def mlflow(as_json: JsonOption = False) -> None:
    """Run the MLflow server of the platform on PLATFORM_MLFLOW_PORT."""
    from mlplatform.operations.local_stack import run_mlflow

    run_mlflow(as_json)


@app.command()
def check(as_json: JsonOption = False) -> None:
    """Run the monitors now; exit code 10 when a rule is in breach."""
    from mlplatform.cli.status import evaluate_rules

    evaluate_rules(as_json)


@app.command()
def status(
    everything: Annotated[bool, typer.Option("--all", help="All of it, longer than a screen.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The platform at a glance: one screen, what is grave first."""
    from mlplatform.cli.status import print_status

    print_status(everything, as_json)


@app.command("open")
def open_page(
    page: Annotated[str, typer.Argument(help="alerts, review, versions/8, ...; the overview otherwise.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Open a page of the server in the browser; where there is none, print its address."""
    from mlplatform.cli.browser import open_in_browser
    from mlplatform.operations.page_address import page_address
    from mlplatform.settings import load_settings

    address = page_address(load_settings(), page)
    is_open = open_in_browser(address)
    echo({"address": address, "opened": is_open}, f"opened {address}" if is_open else address, as_json)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
    task: Annotated[
        Literal["images", "table"], typer.Option(help="What the model reads; a table's rules go by day.")
    ] = "images",
    as_json: JsonOption = False,
) -> None:
    """Write a commented alerts.yaml, for the model of the settings, and .env.example."""
    from mlplatform.operations.scaffold import write_scaffold
    from mlplatform.retraining.training_pipeline import may_make_model
    from mlplatform.settings import load_settings

    settings = load_settings()
    retrains = may_make_model(settings)
    written = write_scaffold(folder, force, settings.model_name, task, retrains=retrains)
    line = "written: " + ", ".join(map(str, written))
    if not retrains:
        line += f"\nnothing here makes versions of {settings.model_name}, so no rule asks for retrainings"
    echo([str(path) for path in written], line, as_json)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """What is configured, reachable and missing; exit code 1 when something must be mended."""
    from mlplatform.operations.doctor.diagnostics import run_checks
    from mlplatform.settings import load_settings

    with ProgressBar("examining", quiet=as_json):
        findings = run_checks(load_settings())
    rows = [vars(finding) for finding in findings]
    if as_json:
        print_json(rows)
    else:
        print_table("doctor", rows, ("mark", "subject", "detail"), "nothing to examine")
    raise typer.Exit(1 if any(finding.mark == "problem" for finding in findings) else 0)
