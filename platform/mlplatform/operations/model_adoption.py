"""Adopts a model that is in somebody's MLflow: opened once, exported, judged on golden rows, registered as a version.

From the export on this is a first training like any other, or a candidate beside the champion.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, ProcessError, SettingsError
from mlplatform.host.isolated_process import Isolation, IsolationLimits, run_isolated
from mlplatform.host.work_folder import work_folder
from mlplatform.retraining.worker import TrainingOutcome, training_worker
from pipelines.table.adopted_pipeline import AdoptedModel, AdoptionTexts, adopted_contract, adopted_pipeline
from pipelines.table.export_request import ExportRequest, ExportResult, read_graph
from pipelines.table.golden_rows import GoldenRows, read_golden_rows
from pipelines.table.table_data import RowRoles
from registry.catalog import TRAINED_UNTIL_TAG
from registry.mlflow_model import MlflowModel, fetch_mlflow_model, registered_name

ADOPTED_FROM_TAG: Final = "adopted_from"
ADOPTED_SHA256_TAG: Final = "adopted_sha256"
EXPORT_FUNCTION: Final = "pipelines.table.export_process:main"
DEFAULT_MEMORY_MB: Final = 4096
NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_-]*"
MAX_NAME_LETTERS: Final = 64
"""As many as the columns of the database hold."""
WORK_FOLDER: Final = "adopting"
"""In the home: the fetched model and the golden rows, while a process opens it."""


@dataclass(frozen=True)
class AdoptionRequest:
    """Which model is adopted under which name, and what its owner says of it."""

    source: str
    name: str
    golden: Path
    roles: RowRoles
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    costs: Mapping[tuple[str, str], float] = field(default_factory=dict)
    about: str = ""
    mlflow_uri: str = ""
    """Of the store that holds it; empty for the platform's own."""
    run_its_code: bool = False
    trained_until: datetime | None = None


@dataclass(frozen=True)
class Adoption:
    """What became of an adopted model."""

    outcome: TrainingOutcome
    result: ExportResult
    sentences: tuple[str, ...]


def adoption_name(context: AppContext, source: str, name: str | None) -> str:
    """The name under which a model is adopted: the one given, else PLATFORM_MODEL, else one after its own.

    Raises SettingsError for one that cannot be.
    """
    own = registered_name(source)
    chosen = name or context.settings.model or (re.sub(r"[^A-Za-z0-9_-]", "-", own) + "-served" if own else "")
    if not re.fullmatch(NAME_PATTERN, chosen):
        raise SettingsError(
            f"{chosen!r} names no model; give --name, or PLATFORM_MODEL: letters, digits, and then - and _"
        )
    if len(chosen) > MAX_NAME_LETTERS:
        raise SettingsError(
            f"the name {chosen[:300]!r} has {len(chosen)} letters, and {MAX_NAME_LETTERS} are the most; give a shorter "
            "one with --name"
        )
    return chosen


def adopt_model(context: AppContext, request: AdoptionRequest, actor: str) -> Adoption:
    """Open, export, judge and register the model; where the gate lets it pass it is champion.

    Raises SettingsError for a pickle without `run_its_code`, ConflictError where the name holds versions of others,
    ProcessError where opening it failed, and what reading rows, exporting and registering raise.
    """
    _check_versions(context, request.name)
    with work_folder(context.settings.home / WORK_FOLDER) as folder:
        uri = request.mlflow_uri or context.settings.tracking_uri
        stored = fetch_mlflow_model(uri, request.source, folder)
        _check_consent(stored, request)
        kinds = {name: kind for name, kind in stored.columns.items() if kind}
        columns = request.columns or tuple(stored.columns)
        rows = read_golden_rows(request.golden, request.roles, columns, kinds)
        result, content, isolation = _export(context, stored, rows, request, columns, kinds, folder)
    contract = adopted_contract(rows, result, kinds, request.costs)
    opened = _opening(stored, isolation)
    details = {"Adopted from": f"{request.source}, {stored.file} with sha256 {stored.sha256}", "Opened": opened}
    adopted = AdoptedModel(content, result.fidelity, _plain(result.model), details)
    texts = AdoptionTexts(request.name, request.source, request.about)
    pipeline = adopted_pipeline(rows, contract, adopted, texts)
    tags = {ADOPTED_FROM_TAG: request.source, ADOPTED_SHA256_TAG: stored.sha256}
    if request.trained_until is not None:
        tags[TRAINED_UNTIL_TAG] = f"{request.trained_until.astimezone(UTC).timestamp():.3f}"
    reason = f"adopted from {request.source}"
    outcome = training_worker(context).train(
        pipeline, reason, actor, recipe=pipeline.recipe(), tags=tags, use_labels=False
    )
    noted = {
        "version": outcome.candidate.version,
        "from": request.source,
        "sha256": stored.sha256,
        "format": stored.format,
        "opened": opened,
    }
    with context.database.write() as connection:
        audit_entries.append(connection, actor, "adopt-model", request.name, context.clock(), noted)
    return Adoption(outcome, result, _sentences(request, stored, result, outcome, opened))


def _check_versions(context: AppContext, name: str) -> None:
    """Raise ConflictError where versions of somebody else have this name: aliases of the platform would move theirs."""
    foreign = [version.version for version in context.catalog.versions(name) if "gate" not in version.tags]
    if foreign:
        raise ConflictError(
            f"MLflow's model {name!r} has versions that this platform did not make (such as {foreign[0]}); the "
            "platform's own versions and aliases would come among them: give another name, "
            f"--name {name[: MAX_NAME_LETTERS - 7]}-served"
        )


def _check_consent(stored: MlflowModel, request: AdoptionRequest) -> None:
    if stored.format == "pickle" and not request.run_its_code:
        raise SettingsError(
            f"{stored.file} of {request.source} is a pickle, and opening it runs whatever code is in it; log it anew "
            'as skops (serialization_format="skops"), or, where you trust all who may write there, give --run-its-code'
        )


def _export(
    context: AppContext,
    stored: MlflowModel,
    rows: GoldenRows,
    request: AdoptionRequest,
    columns: tuple[str, ...],
    kinds: dict[str, str],
    folder: Path,
) -> tuple[ExportResult, bytes, Isolation]:
    """What a process of its own made of the model, the graph, and what that process was kept from."""
    work = folder / "work"
    work.mkdir(mode=0o700)
    rows.write(work)
    code = None if stored.code is None or not request.run_its_code else str(stored.folder / stored.code)
    ExportRequest(
        path=str(stored.folder / stored.file),
        format=stored.format,
        classifier=stored.classifier,
        code=code,
        columns=columns,
        offered=rows.offered,
        kinds=kinds,
        truths=rows.truths,
        classes=request.classes,
    ).write(work)
    limits = IsolationLimits(memory_mb=context.settings.training_memory_mb or DEFAULT_MEMORY_MB)
    try:
        isolation = run_isolated(EXPORT_FUNCTION, work, limits)
    except ProcessError as error:
        raise ProcessError(
            f"the process that opened {stored.file} of {request.source} failed: {error}. PLATFORM_TRAINING_MEMORY_MB "
            "gives it more memory; its requirements.txt names the versions it was logged with"
        ) from error
    result = ExportResult.read(work)
    return result, read_graph(work), isolation


def _opening(stored: MlflowModel, isolation: Isolation) -> str:
    kind = {"pickle": "a pickle, whose code ran", "skops": "skops"}.get(stored.format, f"a file of {stored.format}")
    return f"once, in a process of its own {isolation.sentence}: {kind}"


def _plain(text: str) -> str:
    """A text of the opened model, which may be hostile, as it stands on a card."""
    return re.sub(r"[^\w ,.()-]", "?", text)[:200]


def _sentences(
    request: AdoptionRequest, stored: MlflowModel, result: ExportResult, outcome: TrainingOutcome, opened: str
) -> tuple[str, ...]:
    """What people are told, shortest first."""
    candidate, scores = outcome.candidate, outcome.candidate.scores
    same = result.rows - result.different_answers
    what = (
        f"{request.name} {candidate.version}: {_plain(result.model)} ({stored.flavor}, {stored.format}) as an ONNX "
        f"graph of {len(result.columns)} columns and the classes {', '.join(result.classes)}; golden {scores.n:,} "
        f"rows, error {1 - scores.accuracy:.1%} (at most {1 - scores.accuracy_low:.1%})"
    )
    likeness = (
        f"the graph answers as the model did on {same:,} of {result.rows:,} rows, probabilities at most "
        f"{result.largest_difference:.2g} apart; the graph is what is judged and served"
    )
    promoted = "it is champion now" if outcome.promotion is not None else "it is challenger, and serves nothing"
    if outcome.approval is not None:
        promoted = f"it waits for approval: `platform models approve {candidate.version}`"
    verdict = f"gate: {candidate.verdict.outcome}; {promoted}"
    return what, likeness, f"opened {opened}", *result.warnings, verdict, *candidate.verdict.reasons
