"""Finds the pipeline that a training asks for: the only door by which a pipeline's code comes into a process."""

from collections.abc import Callable
from pathlib import Path

from mlplatform.errors import SettingsError
from mlplatform.settings import Settings
from pipelines.discovery import find_pipeline, pipeline_names
from pipelines.pipeline import Pipeline


def training_pipeline(settings: Settings, find: Callable[[str, Path | None], Pipeline] = find_pipeline) -> Pipeline:
    """The pipeline that the settings name; raises SettingsError where it makes another model than is served."""
    pipeline = find(settings.pipeline, settings.data_dir)
    if pipeline.name != settings.model_name:
        raise SettingsError(
            f"PLATFORM_PIPELINE={settings.pipeline} makes versions of {pipeline.name!r}, and {settings.model_name!r} "
            "is served and watched; set PLATFORM_PIPELINE to a pipeline of that model, or PLATFORM_MODEL to the "
            "pipeline's name. A model that was adopted has no pipeline until you write one "
            "(docs/how-to/add-a-table-pipeline.md); `platform adopt` takes its next version over"
        )
    return pipeline


def may_make_model(settings: Settings) -> bool:
    """Whether the pipeline may make versions of the model that is watched; one of your own may, until it is imported.

    A built-in pipeline makes versions of its own name alone, so that a model that was adopted has none.
    """
    return settings.pipeline not in pipeline_names() or settings.pipeline == settings.model_name


def require_model(pipeline: Pipeline, model: str) -> None:
    """Raise SettingsError unless the pipeline makes versions of the model that a retraining is of."""
    if pipeline.name != model:
        raise SettingsError(
            f"the retraining is of {model!r}, and PLATFORM_PIPELINE makes versions of {pipeline.name!r}; run "
            f"its worker with the pipeline of {model!r}"
        )
