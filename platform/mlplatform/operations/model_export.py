"""Exports of registered versions for other machines: fetched, written, compared with PyTorch; it prints nothing."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from mlplatform.context import Parts
from mlplatform.errors import NotFoundError, SettingsError
from mlplatform.promotion.promotion_service import promotion_service

ENDINGS: Final = {"onnx": ".onnx", "onnx-int8": "-int8.onnx", "executorch": ".pte"}


def export(
    parts: Parts, version: int | None, form: str, out: Path | None, *, with_server: bool = False
) -> dict[str, Any]:
    """Write a version (the champion unless told) in a format; returns the file and how it compares with PyTorch.

    `with_server` writes the edge server's files beside it. Raises SettingsError for an unknown format, NotFoundError
    without a champion, ModelFormatError, DataError.
    """
    from pipelines.edge.export import compare_file, copy_server, export_file, formats

    if form not in formats():
        raise SettingsError(f"format {form!r} is not known; known: {', '.join(formats())}")
    family = parts.family
    if version is None:
        current = promotion_service(parts).current(family.name)
        if current is None:
            raise NotFoundError("there is no champion to export; `platform train` makes the first one")
        version = current.to_version
    folder = parts.catalog.download(family.name, version, parts.model_cache)
    path = out or Path(f"{family.name}-{version}{ENDINGS[form]}")
    split = family.load(parts.settings.data_dir)
    export_file(folder, family.classes, family.name, version, form, split.validation, path)  # type: ignore[arg-type]
    if with_server:
        copy_server(path.parent)
    parity = compare_file(path, folder, family.classes, form, split.golden)
    return {"model": family.name, "version": version, "file": str(path), **asdict(parity)}
