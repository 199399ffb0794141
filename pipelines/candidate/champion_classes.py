"""Lets a champion be compared on the classes of a pipeline that has changed since: gained, lost or moved some."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import Answer, ClassReader, TextReader, answer_reader
from pipelines.batch import Batch
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.errors import TrainingError
from registry.prediction_task import Task


class _AlignedEngine(InferenceEngine):
    """An engine's probabilities by other places; a class that it does not know has the probability 0."""

    def __init__(self, engine: InferenceEngine, places: Sequence[int], classes: tuple[str, ...]) -> None:
        super().__init__(ClassReader(classes), engine.inputs)
        self.name, self.device = engine.name, engine.device
        self._engine, self._places = engine, list(places)

    def validate(self, batch: Batch) -> None:
        """As the engine does."""
        self._engine.validate(batch)

    def limited_threads(self, threads: int) -> AbstractContextManager[None]:
        """As the engine does."""
        return self._engine.limited_threads(threads)

    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        known = self._engine(batch)
        absent = np.zeros((len(known), 1), dtype=known.dtype)
        return np.hstack((known, absent))[:, self._places]


class _AlignedTexts(InferenceEngine):
    """An engine's texts in the form of another task; what the task cannot answer is an empty text of no confidence."""

    def __init__(self, engine: InferenceEngine, reader: TextReader) -> None:
        super().__init__(reader, engine.inputs)
        self.name, self.device = engine.name, engine.device
        self._engine, self._texts = engine, reader

    def validate(self, batch: Batch) -> None:
        """As the engine does."""
        self._engine.validate(batch)

    def limited_threads(self, threads: int) -> AbstractContextManager[None]:
        """As the engine does."""
        return self._engine.limited_threads(threads)

    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        task, answers = self._texts.task, self._engine.reader.answers(self._engine(batch))
        fitting = [
            (answer if task.canonical(answer.label) == answer.label else Answer("", 0.0, []))[:3] for answer in answers
        ]
        return self._texts.outputs(fitting)


def align_champion(engine: InferenceEngine, task: Task) -> InferenceEngine:
    """The same model answering as this task has it: classes that it does not know it never names.

    Of a class that is none any more it may be sure all the same; then it is judged by what it holds for next likely.
    Raises TrainingError for a model that answers texts where classes are asked for, or the other way round.
    """
    wanted, reader = answer_reader(task), engine.reader
    if type(wanted) is not type(reader):
        raise TrainingError(
            f"the champion answers with {type(reader).__name__}, and the pipeline's versions with "
            f"{type(wanted).__name__}: they cannot be compared; give the pipeline another name, which begins anew"
        )
    if reader == wanted:
        return engine
    if isinstance(wanted, TextReader):
        return _AlignedTexts(engine, wanted)
    classes = task.counted_names
    places = [engine.classes.index(name) if name in engine.classes else len(engine.classes) for name in classes]
    return _AlignedEngine(engine, places, classes)
