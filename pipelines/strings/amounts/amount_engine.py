"""Answers pictures of amounts, as a server keeps them, with texts: a network of strings as an inference engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import TextReader
from pipelines.batch import Batch
from pipelines.data import images_of
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.engines.onnx_engine import open_graph
from pipelines.errors import ModelFormatError
from pipelines.strings.amount_grammar import AmountGrammar
from pipelines.strings.amounts.canvas import from_canvas
from pipelines.strings.string_alphabet import DIGITS
from pipelines.strings.string_engine import StringEngine, StringReading, string_engine_from_bytes
from registry.model_contract import ModelContract, image_inputs
from registry.prediction_task import Sequence


class AmountEngine(InferenceEngine):
    """A network of strings that ONNX Runtime computes, on the CPU, and the decoder of amounts behind it.

    `content` is its graph, with which a training may begin.
    """

    name = "onnx"
    device = "cpu"

    def __init__(self, content: bytes, contract: ModelContract, threads: int = 1) -> None:
        task = contract.task
        if not isinstance(task, Sequence) or task.alphabet != DIGITS:
            raise ModelFormatError(f"a network of amounts answers texts of {DIGITS}; register it with such a task")
        reader = TextReader(task)
        super().__init__(reader, image_inputs(contract))
        self.content = content
        self._texts = reader
        self._strings: StringEngine = string_engine_from_bytes(content, threads, AmountGrammar(task.longest))

    def read(self, image: NDArray[np.uint8]) -> StringReading:
        """What is written on one canvas, with the candidates that it was chosen from."""
        return self._strings.read(from_canvas(image))

    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        readings = [self.read(image) for image in images_of(batch)]
        return self._texts.outputs([(reading.text, reading.confidence, reading.positions) for reading in readings])


def load_amount_engine(path: Path, contract: ModelContract, threads: int = 1) -> AmountEngine:
    """Read a graph that is proved plain; raises ModelFormatError, or ModelUnreadableError for what passes."""
    return open_graph(path, lambda content: AmountEngine(content, contract, threads))
