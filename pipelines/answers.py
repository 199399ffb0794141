"""What a model's outputs mean: the answer of each row, how sure it is, and the shares that are kept with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError
from registry.prediction_task import Classification, Task
from registry.prediction_task import Sequence as SequenceTask

Outputs = NDArray[np.floating]
"""What an engine gives, (n, width)."""
SUM_TOLERANCE: Final = 1e-3


class Answer(NamedTuple):
    """One row's answer, its confidence from 0 to 1, and a share for each class, or for each character of a text.

    `counted_as` is what it is counted as where that is not itself: a text by its length.
    """

    label: str
    confidence: float
    shares: list[float]
    counted_as: str = ""


class AnswerReader(Protocol):
    """Reads the outputs of models of one task; it holds no state, so threads may share it."""

    @property
    def width(self) -> int:
        """How many numbers a model gives for a row."""

    @property
    def description(self) -> str:
        """What a model gives, in a line of its card."""

    def answers(self, outputs: Outputs) -> list[Answer]:
        """The answer of each row of outputs (n, width)."""

    def numbers(self, outputs: Outputs) -> NDArray[np.int64]:
        """The number of each row's answer, as labelled rows have them, (n,)."""

    def confidences(self, outputs: Outputs) -> NDArray[np.float64]:
        """How sure each answer is, (n,)."""

    def by_class(self, shares: Sequence[float]) -> dict[str, float]:
        """The shares that are kept with an answer by class; nothing of a text."""

    def by_character(self, shares: Sequence[float]) -> list[float]:
        """Those of each character of a text; nothing of a class."""

    def is_sound(self, row: Outputs) -> bool:
        """Whether a row (width,) can be a model's output."""


@dataclass(frozen=True)
class ClassReader:
    """Probabilities of classes, in their order: the likeliest is the answer."""

    names: tuple[str, ...]

    @property
    def width(self) -> int:
        """One for each class."""
        return len(self.names)

    @property
    def description(self) -> str:
        """Its classes."""
        return f"probabilities of {', '.join(self.names)}"

    def answers(self, outputs: Outputs) -> list[Answer]:
        """The likeliest class, the first of several."""
        highest = [(max(shares), shares) for shares in outputs.tolist()]
        return [Answer(self.names[shares.index(most)], min(most, 1.0), shares) for most, shares in highest]

    def numbers(self, outputs: Outputs) -> NDArray[np.int64]:
        """The place of the likeliest class."""
        places: NDArray[np.int64] = outputs.argmax(axis=1)
        return places

    def confidences(self, outputs: Outputs) -> NDArray[np.float64]:
        """The greatest probability."""
        greatest: NDArray[np.float64] = np.clip(outputs.max(axis=1).astype(np.float64), 0.0, 1.0)
        return greatest

    def by_class(self, shares: Sequence[float]) -> dict[str, float]:
        """The probability of each class."""
        return dict(zip(self.names, shares, strict=True))

    def by_character(self, _shares: Sequence[float]) -> list[float]:
        """Classes have no characters."""
        return []

    def is_sound(self, row: Outputs) -> bool:
        """Probabilities are finite, none is below 0, and they sum to 1."""
        return bool(np.isfinite(row).all() and abs(float(row.sum()) - 1.0) < SUM_TOLERANCE and row.min() >= 0)


@dataclass(frozen=True)
class TextReader:
    """Texts: the confidence of the whole, then for each place a character, by its place from 1, and its confidence.

    Places behind the text's end hold 0 and 0.
    """

    task: SequenceTask

    @property
    def width(self) -> int:
        """One for the whole and two for each place."""
        return 1 + 2 * self.task.longest

    @property
    def description(self) -> str:
        """Its characters."""
        return f"{self.task.allowed}, with a confidence for the whole and for each character"

    def outputs(self, texts: Sequence[tuple[str, float, Sequence[float]]]) -> Outputs:
        """The outputs that say these texts, each with its confidence and that of each of its characters."""
        rows = np.zeros((len(texts), self.width), np.float32)
        for row, (text, confidence, places) in enumerate(texts):
            if len(text) != len(places) or len(text) > self.task.longest:
                raise DataError(f"a text of {len(text)} characters has {len(places)} confidences; give one each")
            codes = [self.task.alphabet.index(character) + 1 for character in text]
            rows[row, 0], rows[row, 1 : 1 + len(text)] = confidence, codes
            rows[row, 1 + self.task.longest : 1 + self.task.longest + len(text)] = places
        return rows

    def answers(self, outputs: Outputs) -> list[Answer]:
        """The text, how sure it is as a whole, and how sure each of its characters is."""
        longest = self.task.longest
        read = []
        for row in outputs.tolist():
            codes = [round(code) for code in row[1 : 1 + longest] if code]
            text = "".join(self.task.alphabet[code - 1] for code in codes)
            sure = row[1 + longest : 1 + longest + len(codes)]
            read.append(Answer(text, min(row[0], 1.0), sure, self.task.segment(text)))
        return read

    def numbers(self, outputs: Outputs) -> NDArray[np.int64]:
        """The number of each text."""
        return np.array([self.task.number(answer.label) for answer in self.answers(outputs)], dtype=np.int64)

    def confidences(self, outputs: Outputs) -> NDArray[np.float64]:
        """The confidence of the whole text."""
        return np.clip(outputs[:, 0].astype(np.float64), 0.0, 1.0)

    def by_class(self, _shares: Sequence[float]) -> dict[str, float]:
        """Texts have no classes."""
        return {}

    def by_character(self, shares: Sequence[float]) -> list[float]:
        """How sure each character is."""
        return list(shares)

    def is_sound(self, row: Outputs) -> bool:
        """Confidences lie from 0 to 1, characters are known, and none comes behind the end."""
        longest = self.task.longest
        codes, places = row[1 : 1 + longest], row[1 + longest :]
        sure = np.append(places, row[0])
        length = int(np.count_nonzero(codes))
        return bool(
            np.isfinite(row).all()
            and sure.min() >= 0
            and sure.max() <= 1 + SUM_TOLERANCE
            and (codes == np.round(codes)).all()
            and (length == 0 or codes[:length].min() >= 1)
            and codes.max() <= len(self.task.alphabet)
        )


def answer_reader(task: Task) -> AnswerReader:
    """What reads the outputs of a task's models."""
    return ClassReader(task.names) if isinstance(task, Classification) else TextReader(task)


@dataclass(frozen=True, eq=False)
class JudgedAnswers:
    """Answers held against true labels, both by the places of what the task counts them as.

    `of_truth` is the probability given to the truth, (n,): of a class its own, of a text that it is right, or wrong.
    `distance` is the squared distance of the probabilities from the truth, (n,).
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    answers: NDArray[np.int64]
    confidences: NDArray[np.float64]
    of_truth: NDArray[np.float64]
    distance: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which answers are right."""
        alike: NDArray[np.bool_] = self.answers == self.labels
        return alike


def judge_answers(task: Task, outputs: Outputs, labels: NDArray[np.int64]) -> JudgedAnswers:
    """Hold outputs (n, width) against the numbers of the true labels (n,); raises DataError where they do not fit."""
    reader = answer_reader(task)
    if outputs.shape != (len(labels), reader.width):
        raise DataError(f"outputs have shape {outputs.shape}; give ({len(labels)}, {reader.width}), one row per label")
    if not np.isfinite(outputs).all():
        raise DataError("outputs hold values that are not finite; judge a model that was trained soundly")
    confidences = reader.confidences(outputs)
    if isinstance(task, Classification):
        if len(labels) and not 0 <= labels.min() <= labels.max() < reader.width:
            raise DataError(
                f"labels go from {labels.min()} to {labels.max()}; give class indices from 0 to {reader.width - 1}"
            )
        of_truth = outputs[np.arange(len(labels)), labels].astype(np.float64)
        distance = np.square(outputs - np.eye(reader.width)[labels]).sum(axis=1)
        return JudgedAnswers(task.names, labels, reader.numbers(outputs), confidences, of_truth, distance)
    places = {name: place for place, name in enumerate(task.counted_names)}
    counted = [
        task.counted(task.label(number), answer.label)
        for number, answer in zip(labels.tolist(), reader.answers(outputs), strict=True)
    ]
    truths, answers = (np.array([places[pair[side]] for pair in counted], dtype=np.int64) for side in (0, 1))
    of_truth = np.where(truths == answers, confidences, 1 - confidences)
    return JudgedAnswers(
        task.counted_names, truths, answers, confidences, of_truth, np.asarray(2 * np.square(1 - of_truth))
    )


def counted_labels(task: Task, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """By the numbers of true labels (n,), the places of what the task counts them as."""
    if isinstance(task, Classification):
        return labels
    places = {name: place for place, name in enumerate(task.counted_names)}
    return np.array([places[task.segment(task.label(number))] for number in labels.tolist()], dtype=np.int64)
