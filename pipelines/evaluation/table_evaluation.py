"""What reports and the gate ask of a table's rows: what each column does, and what is left when it is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.data import Examples, rows_by_hash
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.evaluation.column_effects import MAX_COLUMNS, column_effects, with_one_value
from pipelines.input_evaluation import CardTexts, ColumnEffects, Disturbance, Drawing, RobustnessScore
from registry.model_contract import Column, ModelContract, TableInputs
from registry.prediction_task import Task

ROBUSTNESS_ROWS = 1000
UNSEEN_CATEGORY = "\N{REPLACEMENT CHARACTER} unseen"
"""A text that no category is called."""
MISSING, UNSEEN = "without", "unseen"
TEXTS = CardTexts(
    tag="tabular-classification",
    row="row",
    answered="answered",
    robustness="each column that may be missing made missing in turn (without), and each category replaced by one that "
    "was never seen (unseen), with how many answers become another class. "
    f"Of a wide table the first {MAX_COLUMNS} columns are tried.",
    no_groups="Nothing is known by which the golden rows could be grouped, so no group of people could be compared.",
)


@dataclass(frozen=True)
class TableEvaluation:
    """The evaluation of a table's rows with these columns."""

    columns: tuple[Column, ...]

    @property
    def texts(self) -> CardTexts:
        """Rows are answered."""
        return TEXTS

    def describe(self, contract: ModelContract) -> str:
        """The columns with their kinds."""
        columns = contract.inputs.columns if isinstance(contract.inputs, TableInputs) else self.columns
        return "one row of " + ", ".join(f"{column.name} ({column.kind})" for column in columns)

    def mild_disturbances(self, _batch: Batch) -> tuple[Disturbance, ...]:
        """None: no change of a value is known to leave the truth as it is."""
        return ()

    def severe_disturbances(self, _batch: Batch) -> tuple[Disturbance, ...]:
        """None, as for mild ones."""
        return ()

    def robustness(self, engine: InferenceEngine, golden: Examples) -> tuple[RobustnessScore, ...]:
        """Some golden rows, drawn by hash, with each column missing in turn, and with each category unseen."""
        some = rows_by_hash(golden, ROBUSTNESS_ROWS)
        if not len(some):
            return ()
        usual, scores = engine(some.batch).argmax(axis=1), []
        for kind, level, batch in self._harmed(some.batch):
            answers = engine(batch).argmax(axis=1)
            correct, changed = int((answers == some.labels).sum()), int((answers != usual).sum())
            scores.append(RobustnessScore(kind, level, correct, len(some), changed))
        return tuple(scores)

    def column_effects(
        self, engine: InferenceEngine, golden: Examples, contract: ModelContract
    ) -> ColumnEffects | None:
        """Permutation importance of each column, and partial dependence of those that matter most."""
        return column_effects(engine, golden, self.columns, contract)

    def _harmed(self, batch: Batch) -> Iterator[Disturbance]:
        for column in self.columns[:MAX_COLUMNS]:
            if column.optional:
                yield Disturbance(f"{MISSING} {column.name}", 1, with_one_value(batch, column, None))
            if column.kind == "category":
                yield Disturbance(f"{UNSEEN} {column.name}", 1, with_one_value(batch, column, UNSEEN_CATEGORY))

    def sample_figure(self, _rows: Examples, _label: Callable[[int], str], _answers: Sequence[str] | None) -> None:
        """None: rows of a table are no picture."""
        return

    def confusion_figure(
        self,
        _rows: Examples,
        _answers: NDArray[np.int64],
        _pairs: Sequence[tuple[int, int, int]],
        _classes: Sequence[str],
    ) -> None:
        """None, as for samples."""
        return

    def profile_figures(self, _rows: Examples, _task: Task) -> Mapping[str, Drawing]:
        """No pictures."""
        return {}
