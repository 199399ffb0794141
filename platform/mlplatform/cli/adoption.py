"""`platform adopt`: serve and watch a model that is in MLflow already."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from mlplatform.cli.options import ByOption, JsonOption

SourceArgument = Annotated[
    str, typer.Argument(help="models:/NAME/VERSION, models:/NAME@ALIAS, runs:/RUN/PATH, or a folder.", metavar="MODEL")
]
GoldenOption = Annotated[
    Path,
    typer.Option("--golden", help="Rows with outcomes that judge it, Parquet or CSV; it must not have learnt them."),
]
TargetOption = Annotated[str, typer.Option("--target", help="The column with the outcome.")]
TimeOption = Annotated[str | None, typer.Option("--time", help="The column with the time; a day is one observation.")]
GroupOption = Annotated[str | None, typer.Option("--group", help="The column that says whose a row is.")]
ColumnsOption = Annotated[
    str, typer.Option("--columns", help="What it reads, in its order, with commas; else as its signature says.")
]
ClassesOption = Annotated[
    str, typer.Option("--classes", help="Names of the classes that it numbers, in that order, with commas.")
]
CostOption = Annotated[
    list[str] | None, typer.Option("--cost", help="What a mistake costs, as yes:no=5 (truth:answer); give it again.")
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name here; PLATFORM_MODEL otherwise, else NAME-served.")
]
AboutOption = Annotated[str, typer.Option("--about", help="What it is for; shown on its card.")]
MlflowOption = Annotated[
    str, typer.Option("--from-mlflow", help="MLflow that holds it; PLATFORM_MLFLOW_URI otherwise.")
]
UntilOption = Annotated[
    str, typer.Option("--trained-until", help="Day or time of the newest row it learnt; later candidates need it.")
]
CodeOption = Annotated[
    bool, typer.Option("--run-its-code", help="Open a pickle, which runs its code, once, in a process of its own.")
]


def adopt(
    model: SourceArgument,
    golden: GoldenOption,
    target: TargetOption,
    time: TimeOption = None,
    group: GroupOption = None,
    columns: ColumnsOption = "",
    classes: ClassesOption = "",
    cost: CostOption = None,
    name: NameOption = None,
    about: AboutOption = "",
    from_mlflow: MlflowOption = "",
    trained_until: UntilOption = "",
    run_its_code: CodeOption = False,
    by: ByOption = "cli",
    as_json: JsonOption = False,
) -> None:
    """Serve and watch a classifier of a table that is in MLflow, without code: exported, judged, registered."""
    from mlplatform.cli.output import ProgressBar
    from mlplatform.context import create_context
    from mlplatform.host.console import echo
    from mlplatform.host.control_characters import escape_controls
    from mlplatform.operations.model_adoption import AdoptionRequest, adopt_model, adoption_name
    from mlplatform.settings import load_settings
    from pipelines.table.adopted_pipeline import class_costs
    from pipelines.table.table_data import RowRoles

    context = create_context(load_settings())
    request = AdoptionRequest(
        source=model,
        name=adoption_name(context, model, name),
        golden=golden,
        roles=RowRoles(target, time, group),
        columns=_listed(columns),
        classes=_listed(classes),
        costs=class_costs(cost or ()),
        about=about,
        mlflow_uri=from_mlflow,
        run_its_code=run_its_code,
        trained_until=_moment(trained_until),
    )
    with ProgressBar("adopting", quiet=as_json):
        adoption = adopt_model(context, request, by)
    candidate, promoted = adoption.outcome.candidate, adoption.outcome.promotion is not None
    lines = list(adoption.sentences)
    if promoted and context.model_name != request.name:
        lines.append(f"next: export PLATFORM_MODEL={request.name}; platform init --task table; platform up")
    value = {
        "model": request.name,
        "version": candidate.version,
        "run_id": candidate.run_id,
        "columns": adoption.result.columns,
        "classes": adoption.result.classes,
        "golden_rows": candidate.scores.n,
        "golden_accuracy": candidate.scores.accuracy,
        "different_answers": adoption.result.different_answers,
        "largest_difference": adoption.result.largest_difference,
        "compared_rows": adoption.result.rows,
        "gate": candidate.verdict.outcome,
        "reasons": candidate.verdict.reasons,
        "promoted": promoted,
        "waits_for_approval": adoption.outcome.approval is not None,
    }
    echo(value, "\n".join(map(escape_controls, lines)), as_json)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no day or time; write 2026-06-30, or 2026-06-30T12:00:00Z", param_hint="--trained-until"
        ) from error
    if "T" not in text and " " not in text:
        moment += timedelta(days=1, microseconds=-1)  # all of that day
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
