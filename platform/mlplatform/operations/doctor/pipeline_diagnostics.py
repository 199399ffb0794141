"""The doctor's check of the pipeline that trainings use: imported in a process of its own, as a training would."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlplatform.context import AppContext
from mlplatform.errors import ModelUnavailableError, SettingsError
from mlplatform.operations.doctor.check_requirements import schema_is_current
from mlplatform.promotion import promotion_history
from mlplatform.retraining.training_pipeline import may_make_model
from pipelines.discovery import pipeline_names
from registry.errors import RegistryError
from registry.model_contract import ModelContract, same_rows

IMPORT_SECONDS: Final = 120.0
"""A module that takes longer to import most likely works at import, or waits for something."""
MAX_PACKAGES: Final = 8


@dataclass(frozen=True)
class ImportedPipeline:
    """What a pipeline's import showed."""

    name: str
    contract: ModelContract
    seconds: float
    packages: tuple[str, ...]
    """Top-level packages that came with it, by name."""


def check_pipeline(context: AppContext) -> Iterator[tuple[str, str]]:
    """Whether the pipeline can be imported, makes the model that is served, and still takes what its champion takes."""
    named, model = context.settings.pipeline, context.model_name
    if not may_make_model(context.settings):
        yield from _without_pipeline(context)
        return
    if named in pipeline_names():
        yield "ok", f"{named} is built in"
        return
    pipeline = import_pipeline(named, context.settings.data_dir)
    listed = ", ".join(pipeline.packages[:MAX_PACKAGES]) + ("…" if len(pipeline.packages) > MAX_PACKAGES else "")
    yield "ok", f"{named} was imported in {pipeline.seconds:.1f} s" + (f", with {listed}" if listed else "")
    if pipeline.name != model:
        yield (
            "problem",
            (
                f"{named} makes versions of {pipeline.name}, and {model} is served and watched; set "
                f"PLATFORM_MODEL={pipeline.name}"
            ),
        )
        return
    champion = _champion_contract(context)
    if champion is not None:
        yield from _differences(champion, pipeline.contract)


def _without_pipeline(context: AppContext) -> Iterator[tuple[str, str]]:
    """What it means that nothing here makes versions of the model: a problem where a rule asks for them."""
    named, model = context.settings.pipeline, context.model_name
    why = f"nothing here makes versions of {model}: PLATFORM_PIPELINE={named} makes those of {named}"
    exists = context.settings.alerts_file.exists()
    asking = [rule.name for rule in context.rules.rules if rule.action == "retrain"] if exists else []
    if not asking:
        yield "note", f"{why}. An adopted model is served and watched without"
        return
    yield (
        "problem",
        (
            f"{why}, and the retrainings that {', '.join(asking)} ask for will fail: write `action: none` "
            "into these rules, or a pipeline of that name (docs/how-to/add-a-table-pipeline.md)"
        ),
    )


def import_pipeline(name: str, data: Path | None = None, seconds: float = IMPORT_SECONDS) -> ImportedPipeline:
    """Import a pipeline in a child process, so that its code never runs in this one; raises SettingsError.

    `data` is the folder of its data: a table's columns are known by its rows.
    """
    command = [sys.executable, "-P", "-m", "mlplatform.operations.doctor.pipeline_import", name]
    command += [] if data is None else [str(data)]
    try:
        ended = subprocess.run(  # noqa: S603 - our own module; the name is an argument
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SettingsError(
            f"PLATFORM_PIPELINE={name} was not imported within {seconds:g} s; keep work out of its module's level"
        ) from error
    if ended.returncode:
        lines = ended.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {ended.returncode}"]
        raise SettingsError(f"PLATFORM_PIPELINE={name} cannot be imported: {lines[-1]}")
    document = json.loads(ended.stdout.splitlines()[-1])
    contract = ModelContract.from_dict(document["contract"])
    return ImportedPipeline(document["name"], contract, document["seconds"], tuple(document["packages"]))


def _champion_contract(context: AppContext) -> ModelContract | None:
    if not schema_is_current(context):
        return None
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, context.model_name)
        if champion is None:
            return None
        try:
            return context.contracts.of(connection, context.model_name, champion.to_version)
        except (ModelUnavailableError, RegistryError):
            return None


def _differences(champion: ModelContract, pipeline: ModelContract) -> Iterator[tuple[str, str]]:
    if not same_rows(champion.inputs, pipeline.inputs):
        yield (
            "problem",
            (
                "the pipeline's inputs are not those of the champion, so a retraining cannot compare them; give the "
                "pipeline another name, which begins anew"
            ),
        )
    gained = [name for name in pipeline.counted_names if name not in champion.counted_names]
    lost = [name for name in champion.counted_names if name not in pipeline.counted_names]
    if gained or lost:
        changes = [f"{words} {', '.join(names)}" for words, names in (("gained", gained), ("lost", lost)) if names]
        yield (
            "note",
            f"since the champion the pipeline has {' and '.join(changes)}; a person promotes the first such version",
        )
