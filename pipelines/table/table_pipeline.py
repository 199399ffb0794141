"""Makes a pipeline of a function that reads rows, a function that fits a model on them, and the names of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Final

import pandas as pd

from pipelines.data import Examples, Split
from pipelines.errors import DataError, PipelineError, UnknownPipelineError
from pipelines.evaluation.table_evaluation import TableEvaluation
from pipelines.pipeline import CARD_KEYS, Pipeline, UnreadPipeline
from pipelines.table.columns import contract_columns, named_series
from pipelines.table.row_segments import row_segments
from pipelines.table.table_data import RowRoles, labelled_rows, split_rows
from pipelines.table.table_trainer import TableTrainer
from pipelines.table.table_training import TrainFunction
from registry.model_contract import Column, ModelContract, TableInputs
from registry.prediction_task import Classification

NOT_STATED: Final = "Not stated by the owner."
"""Stands on the model card for a text that nobody wrote: an invented one would be worse."""
BLOCK_SECONDS: Final = 86_400
"""Labels of a day are one observation where rows have a time: neighbours in time are right and wrong together."""


@dataclass(frozen=True, eq=False)
class TableRows:
    """Rows on their sides, with the contract that they have."""

    contract: ModelContract
    split: Split
    segments: Mapping[str, Mapping[str, str]]
    """By sensitive column, the segment of each row by its key."""

    def sensitive_groups(self, rows: Examples) -> Mapping[str, Sequence[str]]:
        """The segments of these rows, "" for a row that is not among them."""
        return {name: [known.get(key, "") for key in rows.ids] for name, known in self.segments.items()}


@dataclass(frozen=True, eq=False)
class TablePipeline(UnreadPipeline):
    """A pipeline whose kinds of columns are known when its rows are read."""

    name: str
    title: str
    columns: tuple[str | Column, ...]
    roles: RowRoles
    task: Classification
    rows: Callable[[Path | None], pd.DataFrame]
    train: TrainFunction
    card: Mapping[str, str] = field(default_factory=dict)
    sensitive_columns: tuple[str, ...] = ()
    first_accuracy: float | None = None

    def with_rows(self, folder: Path | None) -> Pipeline:
        """The pipeline with the contract that the rows in this folder have; it loads these rows alone."""
        table_rows = self.read(folder)
        contract, split = table_rows.contract, table_rows.split
        assert isinstance(contract.inputs, TableInputs)
        return Pipeline(
            name=self.name,
            title=self.title,
            contract=contract,
            load=lambda _folder: split,
            trainer=TableTrainer(self.train, folder),
            evaluation=TableEvaluation(contract.inputs.columns),
            card=self.card,
            sensitive_groups=table_rows.sensitive_groups,
            first_accuracy=self.first_accuracy,
        )

    def read(self, folder: Path | None) -> TableRows:
        """The contract as the rows in this folder have it, and the rows on their sides; raises DataError."""
        frame = self._frame(folder)
        if not isinstance(frame, pd.DataFrame):
            raise DataError(f"rows() of {self.name} gave back a {type(frame).__name__}; give back a pandas DataFrame")
        columns = contract_columns(frame, self.columns)
        block = None if self.roles.time is None else BLOCK_SECONDS
        contract = ModelContract(TableInputs(columns), self.task, truth="event", block_seconds=block)
        rows = labelled_rows(frame, columns, self.roles, contract.classes, self.name)
        tags = {name: row_segments(named_series(frame, name)) for name in self.sensitive_columns}
        segments = {name: dict(zip(rows.ids, each, strict=True)) for name, each in tags.items()}
        return TableRows(contract, split_rows(rows, block), segments)

    def _frame(self, folder: Path | None) -> pd.DataFrame:
        """What the owner's function reads; raises DataError that says where it failed, and on which folder."""
        try:
            return self.rows(folder)
        except PipelineError:
            raise
        except Exception as error:
            steps = extract_tb(error.__traceback__)[1:2]
            place = "".join(f" at {Path(step.filename).name}, line {step.lineno}" for step in steps)
            where = "PLATFORM_DATA_DIR is not set, so its folder is None: set it to the folder with the data"
            where = where if folder is None else f"its folder (PLATFORM_DATA_DIR) is {folder}"
            fault = f"{type(error).__name__}: {error}"
            raise DataError(f"rows() of {self.name} failed{place}: {fault}; {where}") from error


def table(
    *,
    name: str,
    columns: Sequence[str | Column],
    target: str,
    task: Classification,
    rows: Callable[[Path | None], pd.DataFrame],
    train: TrainFunction,
    about: str,
    time: str | None = None,
    group: str | None = None,
    card: Mapping[str, str] | None = None,
    sensitive_columns: Sequence[str] = (),
    first_accuracy: float | None = None,
) -> TablePipeline:
    """A pipeline of a table.

    `rows(folder)` gives a DataFrame with the columns, the target and, where they are named, the time and the group of
    each row, such as its customer. `train(context)` gives back a fitted classifier. `about` says what the model is
    for; `card` has further texts for the model card. `sensitive_columns` are compared for fairness: the share of right
    answers is told by their values, whether or not the model reads them. `first_accuracy` is what a first version must
    surely reach, a share, where that is not the accuracy of always naming the commonest class.
    """
    given = [column if isinstance(column, str) else column.name for column in columns]
    for role, column in (("target", target), ("time", time), ("group", group)):
        if role != "time" and column in given:
            raise DataError(
                f"{name}: the {role} {column!r} is among the columns, so it would be learnt from; take it out"
            )
    if not given:
        raise DataError(f"{name}: columns is empty; name the columns that the model reads")
    texts = card or {}
    if unknown := [key for key in texts if key not in CARD_KEYS]:
        raise UnknownPipelineError(f"{name}: card has no text {unknown[0]!r}; known: {', '.join(CARD_KEYS)}")
    stated = {key: texts.get(key, "").strip() or NOT_STATED for key in CARD_KEYS}
    stated["intended_use"] = texts.get("intended_use", "").strip() or about.strip() or NOT_STATED
    return TablePipeline(
        name=name,
        title=about.strip().rstrip(".") or name,
        columns=tuple(columns),
        roles=RowRoles(target, time, group),
        task=task,
        rows=rows,
        train=train,
        card=stated,
        sensitive_columns=tuple(sensitive_columns),
        first_accuracy=first_accuracy,
    )
