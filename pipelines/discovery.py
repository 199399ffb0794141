"""Finds the pipeline that is named, and imports no other: a training's only way to a pipeline's code.

A name is that of a built-in pipeline or of an entry point of an installed package; `package.module:NAME` and
`file.py:NAME` say where the value lies.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import pipelines.builtin
from pipelines.errors import UnknownPipelineError
from pipelines.pipeline import Pipeline, UnreadPipeline

ENTRY_POINT_GROUP = "mlplatform.pipelines"
FILE_MODULE_PREFIX = "mlplatform_pipeline_file_"
"""A file is no module of any package: its name can hide no other."""


def pipeline_names() -> tuple[str, ...]:
    """The names of the built-in pipelines, without importing them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(pipelines.builtin.__path__)))


def installed_pipelines() -> dict[str, EntryPoint]:
    """The pipelines that installed packages offer, by name, without importing them; a built-in name is never theirs."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name not in pipeline_names()}


def find_pipeline(name: str, folder: Path | None = None) -> Pipeline:
    """The pipeline of this name; raises UnknownPipelineError that names what was looked for, and what there is.

    The kinds of a table's columns are read from its rows in `folder`.
    """
    place = locate_pipeline(name)
    source, _, attribute = place.rpartition(":")
    module = _load_file(Path(source)) if source.endswith(".py") else _import_module(source)
    pipeline = getattr(module, attribute, None)
    if isinstance(pipeline, UnreadPipeline):
        return pipeline.with_rows(folder)
    if not isinstance(pipeline, Pipeline):
        kinds = (Pipeline, UnreadPipeline)
        found = ", ".join(key for key, value in vars(module).items() if isinstance(value, kinds)) or "none"
        holds = "nothing" if pipeline is None else f"a {type(pipeline).__name__}"
        raise UnknownPipelineError(
            f"{source} holds no {attribute} that is a Pipeline, but {holds}; pipelines there: {found}"
        )
    return pipeline


def locate_pipeline(name: str) -> str:
    """Where the pipeline of this name lies, as `module:NAME` or `file.py:NAME`; nothing of it is imported.

    Raises UnknownPipelineError for a name without a place that is neither built in nor installed.
    """
    if ":" in name:
        return name
    if name in pipeline_names():
        return f"pipelines.builtin.{name}:PIPELINE"
    installed = installed_pipelines()
    if name in installed:
        return installed[name].value
    offered = f"; installed: {', '.join(sorted(installed))}" if installed else ""
    raise UnknownPipelineError(
        f"unknown pipeline '{name}'; known: {', '.join(pipeline_names())}{offered}; one of your own is named by "
        f"package.module:NAME, file.py:NAME, or an entry point of the group {ENTRY_POINT_GROUP}"
    )


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UnknownPipelineError(f"{name!r} is no module's name; write package.module:NAME or file.py:NAME")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UnknownPipelineError(
            f"module {name!r} cannot be imported: {error}; install its package into {sys.prefix}, or set PYTHONPATH"
        ) from error


def _load_file(path: Path) -> ModuleType:
    """The file as a module of its own; nothing is added to the places where modules are looked for."""
    if not path.is_file():
        raise UnknownPipelineError(f"there is no file {path.absolute()}; give the path of the pipeline's file")
    name = FILE_MODULE_PREFIX + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UnknownPipelineError(f"{path} is no Python file; give one")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up there
    spec.loader.exec_module(module)
    return module
