"""Suspects, answers that a person should look at because a label or the model must be wrong; it reads no store.

A labelled answer is judged by confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating
Uncertainty in Dataset Labels", JAIR 70, 2021): the threshold of a class is the mean probability that answers labelled
so had of being in it; a row whose greatest probability over its threshold is of another class counts off the diagonal
of the confident joint, and rows are ranked by normalized margin. cleanlab ranks alike; docs/LOG.md compares. The
probabilities were recorded before the label came, which stands in for the paper's cross-validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

UNREACHABLE = 2.0
"""The threshold of a class that no label names: no probability reaches it."""


@dataclass(frozen=True)
class RecordedPrediction:
    """One recorded answer: probabilities in class order, and the label it was given, where it has one."""

    prediction_id: str
    label: str
    probabilities: Sequence[float]
    given_label: str | None = None
    feedback_id: str | None = None
    reviewed: bool = False
    input_hash: str = ""
    """The identity of its picture: one is looked at once, however often it was sent."""


@dataclass(frozen=True)
class LabelIssueCandidate:
    """One answer to look at: how doubtful from 0 to 1, and why; with the label in doubt, where it has one."""

    prediction_id: str
    score: float
    reason: str
    feedback_id: str | None = None


def class_thresholds(labelled: Sequence[RecordedPrediction], classes: Sequence[str]) -> list[float]:
    """For each class, the mean probability that the answers labelled so had of being in it."""
    sums, counts = [0.0] * len(classes), [0] * len(classes)
    for answer in labelled:
        place = classes.index(answer.given_label) if answer.given_label in classes else None
        if place is not None:
            sums[place] += answer.probabilities[place]
            counts[place] += 1
    return [total / count if count else UNREACHABLE for total, count in zip(sums, counts, strict=True)]


def label_error_candidates(
    labelled: Sequence[RecordedPrediction], classes: Sequence[str], label: str
) -> list[LabelIssueCandidate]:
    """The answers labelled so that the model contradicts and nobody reviewed; off-diagonal first, then by margin."""
    sure, own = class_thresholds(labelled, classes), classes.index(label)
    ranked = []
    for answer in labelled:
        if answer.given_label != label or answer.label == label or answer.reviewed:
            continue
        chances = answer.probabilities
        other = max((place for place in range(len(classes)) if place != own), key=lambda place: chances[place])
        confident = _confident_class(chances, sure)
        off = confident is not None and confident != own
        doubt = (1 + chances[other] - chances[own]) / 2
        why = f"labelled {label}; the model gives {classes[other]} {chances[other]:.0%} and {label} {chances[own]:.0%}"
        if off and confident is not None:
            why += f", and it is as sure of {classes[confident]} as it usually is ({sure[confident]:.0%})"
        ranked.append((not off, -doubt, LabelIssueCandidate(answer.prediction_id, doubt, why, answer.feedback_id)))
    return [suspect for *_, suspect in sorted(ranked, key=lambda row: (*row[:2], row[2].prediction_id))]


def likely_errors(
    unlabelled: Sequence[RecordedPrediction], classes: Sequence[str], label: str
) -> list[LabelIssueCandidate]:
    """Unlabelled answers that may hide an error about one class, most doubtful first.

    Of an answer that names another class the doubt is the probability that the model gave this class: an image of
    it that was misread. Of an answer that names this class it is what was left for the others.
    """
    place = classes.index(label)
    suspects = []
    for answer in unlabelled:
        chance = answer.probabilities[place]
        same = answer.label == label
        why = f"unlabelled; read as {answer.label}, with {chance:.0%} for {label}"
        suspects.append(LabelIssueCandidate(answer.prediction_id, 1 - chance if same else chance, why))
    return sorted(suspects, key=lambda each: (-each.score, each.prediction_id))


def select_batch(
    labelled: Sequence[RecordedPrediction],
    unlabelled: Sequence[RecordedPrediction],
    classes: Sequence[str],
    label: str,
    limit: int,
) -> list[LabelIssueCandidate]:
    """The suspects about a class, the contradicted and the unlabelled in turns: their doubts are not on one scale."""
    pairs = zip_longest(label_error_candidates(labelled, classes, label), likely_errors(unlabelled, classes, label))
    pictures = {answer.prediction_id: answer.input_hash or answer.prediction_id for answer in (*labelled, *unlabelled)}
    chosen: dict[str, LabelIssueCandidate] = {}
    for suspect in (each for pair in pairs for each in pair if each is not None):
        chosen.setdefault(pictures[suspect.prediction_id], suspect)
    return list(chosen.values())[:limit]


def _confident_class(chances: Sequence[float], sure: Sequence[float]) -> int | None:
    """The class with the greatest probability among those that reach their threshold."""
    reached = [place for place, chance in enumerate(chances) if chance >= sure[place]]
    return max(reached, key=lambda place: chances[place], default=None)
