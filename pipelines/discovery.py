"""Finds a pipeline by its name."""

from __future__ import annotations

import importlib
import pkgutil

import pipelines.builtin
from pipelines.errors import UnknownPipelineError
from pipelines.pipeline import Pipeline


def pipeline_names() -> tuple[str, ...]:
    """The names of the built-in pipelines, without importing them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(pipelines.builtin.__path__)))


def find_pipeline(name: str) -> Pipeline:
    """The pipeline of this name: the value PIPELINE of the module pipelines.builtin.<name>."""
    if not name.isidentifier() or name not in pipeline_names():
        names = ", ".join(pipeline_names())
        raise UnknownPipelineError(f"unknown pipeline '{name}'; known: {names}")
    pipeline = getattr(importlib.import_module(f"pipelines.builtin.{name}"), "PIPELINE", None)
    if not isinstance(pipeline, Pipeline):
        raise UnknownPipelineError(f"pipelines.builtin.{name} holds no PIPELINE; define it there")
    return pipeline
