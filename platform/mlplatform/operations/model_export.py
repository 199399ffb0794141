"""Exports a registered version as a file for other machines, and compares it with PyTorch."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError, SettingsError
from mlplatform.promotion.promotion_service import promotion_service

FILE_SUFFIXES: Final = {"onnx": ".onnx", "onnx-int8": "-int8.onnx", "executorch": ".pte"}


def export_version(
    context: AppContext, version: int | None, file_format: str, out: Path | None, *, with_server: bool = False
) -> dict[str, Any]:
    """Write a version (the champion unless told) in a format; returns the file and how it compares with PyTorch.

    `with_server` writes the edge server's files beside it. Raises SettingsError for an unknown format, NotFoundError
    without a champion, ModelFormatError, DataError.
    """
    from pipelines.edge.export import compare_export, copy_edge_server, export_file, export_formats

    if file_format not in export_formats():
        raise SettingsError(f"format {file_format!r} is not known; known: {', '.join(export_formats())}")
    family = context.pipeline
    if version is None:
        current = promotion_service(context).current(family.name)
        if current is None:
            raise NotFoundError("there is no champion to export; `platform train` makes the first one")
        version = current.to_version
    folder = context.catalog.download(family.name, version, context.model_cache)
    path = out or Path(f"{family.name}-{version}{FILE_SUFFIXES[file_format]}")
    split = family.load(context.settings.data_dir)
    export_file(folder, family.classes, family.name, version, file_format, split.validation, path)  # type: ignore[arg-type]
    if with_server:
        copy_edge_server(path.parent)
    parity = compare_export(path, folder, family.classes, file_format, split.golden)
    return {"model": family.name, "version": version, "file": str(path), **asdict(parity)}
