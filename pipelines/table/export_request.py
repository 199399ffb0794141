"""What a process that opens a stored model is asked, and what it answers, as JSON files in one folder."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pipelines.engines.graph_check import MAX_BYTES as MAX_GRAPH_BYTES
from pipelines.errors import DataError, ModelFormatError
from pipelines.exports.export_model import ExportFidelity

REQUEST_FILE: Final = "request.json"
RESULT_FILE: Final = "result.json"
ROWS_FILE: Final = "rows.parquet"
GRAPH_FILE: Final = "model.onnx"
MAX_RESULT_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True)
class ExportRequest:
    """Which model is opened and how, and what its owner says of it; rows lie beside it in ROWS_FILE."""

    path: str
    """Of the model's file."""
    format: str
    classifier: bool
    code: str | None
    """A folder with modules that the model needs."""
    columns: tuple[str, ...]
    """In the model's order; empty: as the model itself says, else `offered`."""
    offered: tuple[str, ...]
    """All columns of the rows that may be inputs."""
    kinds: dict[str, str]
    """By column, where the kind is known."""
    truths: tuple[str, ...]
    """The classes that the rows have."""
    classes: tuple[str, ...] = ()
    """As the owner names them, where he does."""

    def write(self, folder: Path) -> None:
        """Leave it in a folder."""
        (folder / REQUEST_FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> ExportRequest:
        """What was left in the folder."""
        values = json.loads((folder / REQUEST_FILE).read_text(encoding="utf-8"))
        lists = {name: tuple(values[name]) for name in ("columns", "offered", "truths", "classes")}
        return cls(**{**values, **lists})


@dataclass(frozen=True)
class ExportResult:
    """What was found in the model; its graph lies beside it in GRAPH_FILE."""

    columns: tuple[str, ...]
    classes: tuple[str, ...]
    required: tuple[str, ...]
    """Columns of which no value may be missing: the graph has no way to say so."""
    model: str
    rows: int
    different_answers: int
    largest_difference: float
    warnings: tuple[str, ...] = ()
    error: str = ""

    @property
    def fidelity(self) -> ExportFidelity:
        """How far the graph lies from the model."""
        return ExportFidelity(self.rows, self.different_answers, self.largest_difference)

    def write(self, folder: Path) -> None:
        """Leave it in a folder."""
        (folder / RESULT_FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> ExportResult:
        """What a process left in the folder, not believed; raises ModelFormatError, or DataError as it says."""
        try:
            values = json.loads(_read_left(folder / RESULT_FILE, MAX_RESULT_BYTES).decode("utf-8"))
            texts = {
                name: tuple(str(text)[:300] for text in values[name])
                for name in ("columns", "classes", "required", "warnings")
            }
            found = cls(
                **texts,
                model=str(values["model"])[:200],
                rows=int(values["rows"]),
                different_answers=int(values["different_answers"]),
                largest_difference=float(values["largest_difference"]),
                error=str(values["error"])[:4000],
            )
        except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
            raise ModelFormatError(
                f"the process that opened the model left no result that can be read: {error}"
            ) from error
        if found.error:
            raise DataError(found.error)
        return found

    @classmethod
    def failed(cls, error: str) -> ExportResult:
        """No model, and why."""
        return cls((), (), (), "", 0, 0, 0.0, error=error)


def read_graph(folder: Path) -> bytes:
    """The graph that a process left in the folder, not believed; raises ModelFormatError where none can be read."""
    try:
        return _read_left(folder / GRAPH_FILE, MAX_GRAPH_BYTES)
    except (OSError, ValueError) as error:
        raise ModelFormatError(
            f"the process that opened the model left no graph that can be read: {error}; graphs of at most "
            f"{MAX_GRAPH_BYTES // 2**20} MiB are taken"
        ) from error


def _read_left(path: Path, limit: int) -> bytes:
    """A file that others wrote: a link is not followed, a pipe not waited for, and no more than the limit is read."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{path.name} is no file")
        content = file.read(limit + 1) if os.fstat(file.fileno()).st_size <= limit else None
    if content is None or len(content) > limit:
        raise ValueError(f"{path.name} is too large")
    return content
