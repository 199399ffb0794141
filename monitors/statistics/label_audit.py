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

NEVER = 2.0
"""The threshold of a class that no label names: no probability reaches it."""


@dataclass(frozen=True)
class Answer:
    """One recorded answer: probabilities in class order, and the label it was given, where it has one."""

    prediction_id: str
    label: str
    probabilities: Sequence[float]
    given: str | None = None
    feedback_id: str | None = None
    reviewed: bool = False
    image: str = ""
    """The identity of its picture: one is looked at once, however often it was sent."""


@dataclass(frozen=True)
class Suspect:
    """One answer to look at: how doubtful from 0 to 1, and why; with the label in doubt, where it has one."""

    prediction_id: str
    doubt: float
    why: str
    feedback_id: str | None = None


def thresholds(labelled: Sequence[Answer], classes: Sequence[str]) -> list[float]:
    """For each class, the mean probability that the answers labelled so had of being in it."""
    sums, counts = [0.0] * len(classes), [0] * len(classes)
    for answer in labelled:
        place = classes.index(answer.given) if answer.given in classes else None
        if place is not None:
            sums[place] += answer.probabilities[place]
            counts[place] += 1
    return [total / count if count else NEVER for total, count in zip(sums, counts, strict=True)]


def contradicted(labelled: Sequence[Answer], classes: Sequence[str], label: str) -> list[Suspect]:
    """The answers labelled so that the model contradicts and nobody reviewed; off-diagonal first, then by margin."""
    sure, own = thresholds(labelled, classes), classes.index(label)
    ranked = []
    for answer in labelled:
        if answer.given != label or answer.label == label or answer.reviewed:
            continue
        chances = answer.probabilities
        other = max((place for place in range(len(classes)) if place != own), key=lambda place: chances[place])
        confident = _confident(chances, sure)
        off = confident is not None and confident != own
        doubt = (1 + chances[other] - chances[own]) / 2
        why = f"labelled {label}; the model gives {classes[other]} {chances[other]:.0%} and {label} {chances[own]:.0%}"
        if off and confident is not None:
            why += f", and it is as sure of {classes[confident]} as it usually is ({sure[confident]:.0%})"
        ranked.append((not off, -doubt, Suspect(answer.prediction_id, doubt, why, answer.feedback_id)))
    return [suspect for *_, suspect in sorted(ranked, key=lambda row: (*row[:2], row[2].prediction_id))]


def misread(unlabelled: Sequence[Answer], classes: Sequence[str], label: str) -> list[Suspect]:
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
        suspects.append(Suspect(answer.prediction_id, 1 - chance if same else chance, why))
    return sorted(suspects, key=lambda each: (-each.doubt, each.prediction_id))


def batch(
    labelled: Sequence[Answer], unlabelled: Sequence[Answer], classes: Sequence[str], label: str, limit: int
) -> list[Suspect]:
    """The suspects about a class, the contradicted and the unlabelled in turns: their doubts are not on one scale."""
    pairs = zip_longest(contradicted(labelled, classes, label), misread(unlabelled, classes, label))
    pictures = {answer.prediction_id: answer.image or answer.prediction_id for answer in (*labelled, *unlabelled)}
    chosen: dict[str, Suspect] = {}
    for suspect in (each for pair in pairs for each in pair if each is not None):
        chosen.setdefault(pictures[suspect.prediction_id], suspect)
    return list(chosen.values())[:limit]


def _confident(chances: Sequence[float], sure: Sequence[float]) -> int | None:
    """The class with the greatest probability among those that reach their threshold."""
    reached = [place for place, chance in enumerate(chances) if chance >= sure[place]]
    return max(reached, key=lambda place: chances[place], default=None)
