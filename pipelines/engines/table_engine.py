"""Answers rows of a table with an ONNX graph that has one input per column."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import ClassReader
from pipelines.batch import Batch
from pipelines.engines.graph_check import check_table_graph, is_text
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.engines.onnx_engine import open_graph, open_session
from pipelines.errors import DataError, ModelFormatError
from registry.model_contract import ModelContract, TableInputs

if TYPE_CHECKING:
    import onnxruntime

LARGEST_FLOAT32: Final = float(np.finfo(np.float32).max)


class TableEngine(InferenceEngine):
    """A model of a table that ONNX Runtime answers, on the CPU.

    Numbers are fed as float32, NaN where missing; texts as strings, empty where missing; each column as (n, 1).
    """

    name = "onnx"
    device = "cpu"

    def __init__(self, session: onnxruntime.InferenceSession, contract: ModelContract, inputs: TableInputs) -> None:
        super().__init__(ClassReader(contract.classes), inputs)
        self._session, self._output_names = session, [session.get_outputs()[0].name]
        self._texts = {column.name for column in inputs.columns if is_text(column)}
        self._numbers = {column.name for column in inputs.columns} - self._texts

    def validate(self, batch: Batch) -> None:
        """Raise DataError unless the rows have every column, numbers as float64 (n,) and texts as objects (n,)."""
        for names, wanted in ((self._numbers, np.dtype(np.float64)), (self._texts, np.dtype(object))):
            for name in names:
                array = batch.array(name)
                if array.ndim != 1 or array.dtype != wanted:
                    raise DataError(
                        f"the column {name!r} of shape {array.shape} and type {array.dtype} does not fit this model; "
                        f"give {wanted} of shape (n,)"
                    )

    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        arrays = batch.arrays
        fed: dict[str, NDArray[Any]] = {name: _floats(arrays[name]) for name in self._numbers}
        for name in self._texts:
            fed[name] = np.array([["" if value is None else value] for value in arrays[name]], dtype=object)
        [answer] = self._session.run(self._output_names, fed)
        probabilities: NDArray[np.float32] = answer
        if not np.isfinite(probabilities).all():
            raise DataError("the model gives no probabilities for these values; they are too far from what it learnt")
        return probabilities


def load_table_engine(path: Path, contract: ModelContract, threads: int = 1) -> TableEngine:
    """Read a table's graph that is proved to fit; raises ModelFormatError, or ModelUnreadableError for what passes."""
    return open_graph(path, lambda content: table_engine_from_bytes(content, contract, threads))


def table_engine_from_bytes(content: bytes, contract: ModelContract, threads: int) -> TableEngine:
    """The graph in these bytes, ready to answer with so many intra-op threads."""
    check_table_graph(content, contract)
    if not isinstance(contract.inputs, TableInputs):
        raise ModelFormatError("a table's graph answers no other inputs; register it with its columns")
    return TableEngine(open_session(content, threads), contract, contract.inputs)


def _floats(array: NDArray[np.float64]) -> NDArray[np.float32]:
    """A column (n,) as the graph takes it (n, 1); what float32 cannot hold is its largest number."""
    return np.clip(array, -LARGEST_FLOAT32, LARGEST_FLOAT32).astype(np.float32).reshape(-1, 1)
