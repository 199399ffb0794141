"""Reads golden rows from a Parquet or CSV file, for a model that was fitted elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from pipelines.errors import CorruptDataError, DataError, MissingDataError
from pipelines.table.adopted_columns import truth_texts
from pipelines.table.columns import named_series
from pipelines.table.export_request import ROWS_FILE
from pipelines.table.table_data import FEWEST_ROWS, RowRoles

MAX_BYTES: Final = 2 * 1024**3
_TEXT_KINDS: Final = ("category", "text")


@dataclass(frozen=True, eq=False)
class GoldenRows:
    """Rows with their outcomes, as their owner has them; `roles` says which columns are no inputs."""

    frame: pd.DataFrame
    roles: RowRoles

    @property
    def offered(self) -> tuple[str, ...]:
        """The columns that may be inputs, in their order."""
        taken = {self.roles.target, self.roles.time, self.roles.group}
        return tuple(name for name in self.frame.columns if name not in taken)

    @property
    def truths(self) -> tuple[str, ...]:
        """The classes that are there."""
        return truth_texts(self.frame[self.roles.target])

    def write(self, folder: Path) -> None:
        """Leave the rows in a folder, for the process that opens the model; raises DataError."""
        try:
            self.frame.to_parquet(folder / ROWS_FILE, index=False)
        except (TypeError, ValueError) as error:  # Arrow's errors are of these
            raise DataError(
                f"the golden rows mix kinds in a column ({str(error)[:300]}); give each column one"
            ) from error


def read_golden_rows(path: Path, roles: RowRoles, columns: Sequence[str], kinds: Mapping[str, str]) -> GoldenRows:
    """The rows of the file; `kinds` says which columns are texts, where a CSV file cannot.

    Raises MissingDataError, CorruptDataError, and DataError naming a column that is not there, or too few rows.
    """
    frame = _read(path, kinds)
    for name in (roles.target, roles.time, roles.group):
        if name is not None:
            named_series(frame, name)
    if doubled := frame.columns[frame.columns.duplicated()].tolist():
        raise DataError(f"the golden rows have two columns named {doubled[0]!r}; name each its own")
    if roles.target in columns:
        raise DataError(f"the target {roles.target!r} is among the columns that the model reads; give another target")
    if len(frame) < FEWEST_ROWS:
        raise DataError(
            f"{path.name} has {len(frame)} rows; at least {FEWEST_ROWS} are needed to judge a model, better thousands"
        )
    return GoldenRows(frame, roles)


def _read(path: Path, kinds: Mapping[str, str]) -> pd.DataFrame:
    if not path.is_file():
        raise MissingDataError(f"there is no file {path}; give the golden rows as Parquet or CSV")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} has more than {MAX_BYTES // 1024**3} GiB; a few thousand golden rows are enough")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    try:
        if suffixes and suffixes[-1] in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
        elif ".csv" in suffixes[-2:]:
            texts = {name: str for name, kind in kinds.items() if kind in _TEXT_KINDS}
            frame = pd.read_csv(path, dtype=texts, low_memory=False)
        else:
            raise DataError(f"{path.name} is neither Parquet nor CSV by its name; call it .parquet, .csv or .csv.gz")
    except (DataError, MemoryError):
        raise
    except Exception as error:  # pandas and Arrow raise anything on a damaged file
        raise CorruptDataError(
            f"{path} cannot be read ({type(error).__name__}: {str(error)[:200]}); write it again"
        ) from error
    return frame.rename(columns=str).reset_index(drop=True)
