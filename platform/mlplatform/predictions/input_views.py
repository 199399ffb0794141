"""What people are shown of a recorded input: its picture, or the values of its row by column."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson
from sqlalchemy import Connection, select

from mlplatform.predictions import prediction_records
from mlplatform.predictions.prediction_records import StoredInput
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.tables.predictions import inputs, predictions
from mlplatform.store.version_contracts import VersionContracts
from pipelines.input_row import ROW_FORM_PREFIX, is_table_form
from pipelines.inputs.table_codec import JsonValue, TableCodec
from registry.model_contract import Column, ModelContract, TableInputs

MISSING: Final = "missing"
NOT_KEPT: Final = "not kept"


@dataclass(frozen=True)
class RowCell:
    """One value of a row as people read it; `is_missing` where there is none."""

    name: str
    text: str
    is_missing: bool = False


@dataclass(frozen=True)
class InputView:
    """A picture as PNG, or a row: the values by column, and the same as people read them."""

    png: bytes | None = None
    row: Mapping[str, JsonValue] | None = None
    cells: tuple[RowCell, ...] = ()


def load_input_view(connection: Connection, contracts: VersionContracts, prediction: PredictionRecord) -> InputView:
    """The input of a prediction; raises NotFoundError where it is not kept."""
    stored = prediction_records.load_input(connection, prediction.image_hash)
    if not is_table_form(stored.form):
        return InputView(png=stored.content)
    return _row_view(contracts.of(connection, prediction.model_name, prediction.model_version), stored)


def load_rows(
    connection: Connection, contracts: VersionContracts, prediction_ids: Collection[str]
) -> dict[str, tuple[RowCell, ...]]:
    """The rows of those of the predictions that were made for rows, as people read them."""
    query = (
        select(predictions.c.id, predictions.c.model_name, predictions.c.model_version, inputs.c.form, inputs.c.content)
        .join(inputs, inputs.c.hash == predictions.c.image_hash)
        .where(predictions.c.id.in_(prediction_ids), inputs.c.form.startswith(ROW_FORM_PREFIX))
    )
    rows: dict[str, tuple[RowCell, ...]] = {}
    for row in connection.execute(query):
        contract = contracts.of(connection, row.model_name, row.model_version)
        rows[row.id] = _row_view(contract, StoredInput(row.form, bytes(row.content))).cells
    return rows


def _row_view(contract: ModelContract, stored: StoredInput) -> InputView:
    """A row by its contract's columns; by numbers where it was kept with others."""
    if isinstance(contract.inputs, TableInputs) and TableCodec(contract.inputs.columns).form == stored.form:
        columns = contract.inputs.columns
        row = TableCodec(columns).to_record(stored.content)
        return InputView(row=row, cells=tuple(_cell(column, row[column.name]) for column in columns))
    values: list[JsonValue] = orjson.loads(stored.content)
    row = {f"value {number}": value for number, value in enumerate(values, start=1)}
    return InputView(row=row, cells=tuple(_plain_cell(name, value) for name, value in row.items()))


def _cell(column: Column, value: JsonValue) -> RowCell:
    if not column.kept:
        return RowCell(column.name, NOT_KEPT, is_missing=True)
    if column.kind == "time" and isinstance(value, int | float):
        return RowCell(column.name, _time_text(value))
    return _plain_cell(column.name, value)


def _plain_cell(name: str, value: JsonValue) -> RowCell:
    if value is None:
        return RowCell(name, MISSING, is_missing=True)
    if isinstance(value, bool):
        return RowCell(name, "yes" if value else "no")
    if isinstance(value, float):
        return RowCell(name, f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value))
    return RowCell(name, str(value))


def _time_text(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):  # of a year that no calendar here has
        return f"{seconds!r} seconds since 1970"
