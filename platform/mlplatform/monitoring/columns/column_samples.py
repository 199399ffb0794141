"""Draws rows of a table for a report: some of the window, and some of the same hours of the version's first days."""

from collections.abc import Sequence

import numpy as np
from sqlalchemy import Connection

from mlplatform.monitoring.reference_inputs import (
    MAX_SAMPLED_PREDICTIONS,
    equal_pieces,
    matching_hours,
    per_hour,
    reference_period,
)
from mlplatform.predictions.input_samples import SampledInput, sample_inputs
from mlplatform.store.version_contracts import VersionContracts
from monitors.decisions.drift import MAX_COMPARED_INPUTS
from monitors.rules.alerts_config import Rule
from monitors.windows.window import Window
from pipelines.inputs.table_codec import TableCodec
from registry.model_contract import NAMED_KINDS, TableInputs

ColumnValues = dict[str, Sequence[float | str | None]]


def sample_columns(
    connection: Connection, contracts: VersionContracts, rule: Rule, window: Window
) -> tuple[ColumnValues, ColumnValues] | None:
    """The values of each kept column, first of the reference, then of the window.

    None where the version takes no table, where its first days are not over, or where either side has no row.
    """
    inputs = contracts.of(connection, window.model, window.version).inputs
    if not isinstance(inputs, TableInputs):
        return None
    period = reference_period(connection, window.model, window.version, rule.reference)
    span = period.comparable_window(window.start, window.end)
    if span is None:
        return None
    pieces = equal_pieces(*span)
    stretches = (matching_hours(period, span), per_hour(period)), (pieces, MAX_SAMPLED_PREDICTIONS // len(pieces))
    first, newest = (
        sample_inputs(connection, window.model, window.version, spans, each, MAX_COMPARED_INPUTS)
        for spans, each in stretches
    )
    codec = TableCodec(inputs.columns)
    return (_values(codec, first), _values(codec, newest)) if first and newest else None


def _values(codec: TableCodec, rows: Sequence[SampledInput]) -> ColumnValues:
    batch = codec.unpack([row.content for row in rows])
    values: ColumnValues = {}
    for column in codec.columns:
        if column.kept:
            array = batch.array(column.name)
            is_text = column.kind in NAMED_KINDS
            values[column.name] = array.tolist() if is_text else np.asarray(array, dtype=np.float64).tolist()
    return values
