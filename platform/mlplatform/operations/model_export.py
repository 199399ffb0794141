"""Exports a registered version as a file for other machines, and compares it with PyTorch."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError, SettingsError
from mlplatform.promotion.promotion_service import promotion_service

if TYPE_CHECKING:
    from pipelines.edge.export import Parity

FILE_SUFFIXES: Final = {"onnx": ".onnx", "onnx-int8": "-int8.onnx", "executorch": ".pte"}


@dataclass(frozen=True)
class ExportedModel:
    """A version written to `file`, and how the file compares with PyTorch on the golden set."""

    model: str
    version: int
    file: str
    parity: "Parity"


def export_version(
    context: AppContext, version: int | None, file_format: str, out: Path | None, *, with_server: bool = False
) -> ExportedModel:
    """Write a version (the champion unless told) in a format; returns the file and how it compares with PyTorch.

    `with_server` writes the edge server's files beside it. Raises SettingsError for an unknown format, NotFoundError
    without a champion, ModelFormatError, DataError.
    """
    from mlplatform.retraining.training_pipeline import training_pipeline
    from pipelines.edge.export import compare_export, copy_edge_server, export_file, export_formats
    from registry.model_package import read_contract

    if file_format not in export_formats():
        raise SettingsError(f"format {file_format!r} is not known; known: {', '.join(export_formats())}")
    model = context.model_name
    if version is None:
        current = promotion_service(context).current(model)
        if current is None:
            raise NotFoundError("there is no champion to export; `platform train` makes the first one")
        version = current.to_version
    folder = context.catalog.download(model, version, context.model_cache)
    path = out or Path(f"{model}-{version}{FILE_SUFFIXES[file_format]}")
    classes = read_contract(folder).classes
    split = training_pipeline(context.settings).load(context.settings.data_dir)
    export_file(folder, classes, model, version, file_format, split.validation, path)  # type: ignore[arg-type]
    if with_server:
        copy_edge_server(path.parent)
    parity = compare_export(path, folder, classes, file_format, split.golden)
    return ExportedModel(model, version, str(path), parity)
