"""Finds labels that are probably wrong, by confident learning: for training to set aside, and for people to audit.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, 2021: the
threshold of a class is the mean probability that rows labelled so have of being in it, and a label is in doubt where
another class reaches its threshold.

For training (`find_label_issues`) champion and a probe must both contradict a label. The probe learns from the feedback
itself, and a provider's rows are decided by what all others say, so that a changed world is learnt and a lie is not
vouched for by its own copies.

For an audit (`select_batch`) the recorded probabilities of production are used, which came before the label and so
stand in for the paper's cross-validation. A row whose greatest probability over its threshold is of another class
counts off the diagonal of the confident joint, and rows are ranked by normalized margin. cleanlab ranks alike;
docs/LOG.md compares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from pipelines.data import FeedbackRows, hash_fraction
from pipelines.labels.label_provenance import LabelContext

FoldedFeatures = tuple[NDArray[np.float64], NDArray[np.int64]]
"""What a probe sees of each row, (n, d), and the row's fold, (n,)."""

FOLDS = 5
MIN_CLASS_ROWS = 5
"""A probe that learnt from fewer rows of a class has no say about it."""
FINGERPRINT_SCALE, PREDICTION_SCALE, PROBABILITY_FLOOR = 8.0, 1 / 3, 1e-4
"""They give the probe's inputs, unit vectors and log-probabilities, comparable sizes."""


UNREACHABLE = 2.0
"""The threshold of a class that no label names: no probability reaches it."""


@dataclass(frozen=True)
class LabelIssue:
    """One label in doubt: how strongly, 0 to 1 (the probe's margin for another class), and a sentence."""

    score: float
    detail: str


@dataclass(frozen=True)
class RecordedPrediction:
    """One recorded prediction: probabilities in class order, and the label it was given, where it has one."""

    prediction_id: str
    label: str
    probabilities: Sequence[float]
    given_label: str | None = None
    feedback_id: str | None = None
    reviewed: bool = False
    input_hash: str = ""
    """The identity of its input: one is looked at once, however often it was sent."""


@dataclass(frozen=True)
class LabelIssueCandidate:
    """One prediction to look at: how doubtful from 0 to 1, and why; with the label in doubt, where it has one."""

    prediction_id: str
    score: float
    reason: str
    feedback_id: str | None = None


def class_thresholds(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean probability (classes,) that rows of each class have of being in it, from (n, classes) and (n,).

    A negative probability says nothing; a class without any other is UNREACHABLE.
    """
    own = probabilities[np.arange(len(labels)), labels]
    known, classes = own >= 0, probabilities.shape[1]
    counts = np.bincount(labels[known], minlength=classes)
    sums = np.bincount(labels[known], weights=own[known], minlength=classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), UNREACHABLE)


def find_label_issues(rows: FeedbackRows, reference: FeedbackRows, context: LabelContext) -> dict[int, LabelIssue]:
    """The places of labels that champion and probe both contradict; a review, made by a person, is not doubted.

    Where the probe hardly knows the label's own class, the two must name the same other class.
    """
    if context.champion is None or not len(rows) or not len(reference):
        return {}
    answers, taught_answers = context.champion(rows.batch), context.champion(reference.batch)
    views, taught_views = _probe_features(rows, answers, context), _probe_features(reference, taught_answers, context)
    folds, taught_folds = _assign_folds(rows, reference, context), _assign_folds(reference, reference, context)
    classes = answers.shape[1]
    usual = _cross_fit_probabilities(
        (taught_views, taught_folds), (taught_views, taught_folds), reference.labels, classes
    )
    beliefs = _cross_fit_probabilities((views, folds), (taught_views, taught_folds), reference.labels, classes)
    thresholds = class_thresholds(usual, reference.labels)
    places = np.arange(len(rows))
    rival = np.where(beliefs >= thresholds, beliefs, -1.0)
    rival[places, rows.labels] = -1.0
    other, own = rival.argmax(axis=1), beliefs[places, rows.labels]
    read = answers.argmax(axis=1)
    doubted = (rival.max(axis=1) > own) & (read != rows.labels) & ((own >= 0) | (other == read))
    doubted &= np.array([origin.source != "review" for origin in context.origins_of(rows)], dtype=bool)
    margin = rival.max(axis=1) - np.maximum(own, 0.0)
    return {
        int(i): LabelIssue(
            round(float(margin[i]), 6),
            f"labelled class {rows.labels[i]}; the champion reads {read[i]}, the probe {other[i]}",
        )
        for i in np.flatnonzero(doubted)
    }


def _probe_features(rows: FeedbackRows, answers: NDArray[np.float32], context: LabelContext) -> NDArray[np.float64]:
    """What the probe sees (n, d): the input, and what the champion makes of it."""
    fingerprints = context.codec.fingerprints(rows.batch)
    parts = [fingerprints * FINGERPRINT_SCALE, np.log(answers + PROBABILITY_FLOOR) * PREDICTION_SCALE]
    return np.hstack(parts).astype(np.float64)


def _assign_folds(rows: FeedbackRows, reference: FeedbackRows, context: LabelContext) -> NDArray[np.int64]:
    """Which fold of the teachers has no say about each row, -1 where all have one.

    Rows of one giver share a fold, so that they never vouch for each other. One who gave more than half of all would
    leave the probe nothing to learn from: those are dealt row by row.
    """
    givers = Counter(origin.provider for origin in context.origins_of(reference))
    frequent = {giver for giver, given in givers.items() if 2 * given > len(reference)}

    def keys(asked: FeedbackRows) -> list[str]:
        named = [origin.provider for origin in context.origins_of(asked)]
        pairs = zip(named, asked.feedback_ids, strict=True)
        return [f"giver {giver}" if giver and giver not in frequent else f"row {i}" for giver, i in pairs]

    sizes, loads, fold = Counter(keys(reference)), [0] * FOLDS, dict[str, int]()
    for key in sorted(sizes, key=lambda key: (-sizes[key], hash_fraction(key, "probe"))):
        fold[key] = loads.index(min(loads))
        loads[fold[key]] += sizes[key]
    return np.array([fold.get(key, -1) for key in keys(rows)], dtype=np.int64)


def _cross_fit_probabilities(
    asked: FoldedFeatures, taught: FoldedFeatures, labels: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """Probabilities (n, classes) of the rows asked, each by a probe that did not learn from its fold."""
    views, folds = asked
    beliefs = np.full((len(views), classes), -1.0)
    for fold in np.unique(folds):
        inside, teaching = folds == fold, taught[1] != fold
        beliefs[inside] = _probe_probabilities(taught[0][teaching], labels[teaching], views[inside], classes)
    return beliefs


def _probe_probabilities(
    taught: NDArray[np.float64], labels: NDArray[np.int64], asked: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    """A linear probe's probabilities (n, classes) for the rows asked; -1 for classes it hardly knows."""
    # scikit-learn takes a second to import, and a training without feedback does not need it.
    from sklearn.linear_model import LogisticRegression

    beliefs = np.full((len(asked), classes), -1.0)
    counts = np.bincount(labels, minlength=classes)
    enough = np.flatnonzero(counts >= MIN_CLASS_ROWS)
    if len(enough) > 1:
        chosen = np.isin(labels, enough)
        probe = LogisticRegression(tol=1e-3, max_iter=5_000).fit(taught[chosen], labels[chosen])
        beliefs[:, enough] = probe.predict_proba(asked)
    return beliefs


def label_error_candidates(
    labelled: Sequence[RecordedPrediction], classes: Sequence[str], label: str
) -> list[LabelIssueCandidate]:
    """The answers labelled so that the model contradicts and nobody reviewed; off-diagonal first, then by margin."""
    thresholds, own = _audit_thresholds(labelled, classes), classes.index(label)
    ranked = []
    for answer in labelled:
        if answer.given_label != label or answer.label == label or answer.reviewed:
            continue
        chances = answer.probabilities
        other = max((place for place in range(len(classes)) if place != own), key=lambda place: chances[place])
        confident = _confident_class(chances, thresholds)
        off = confident is not None and confident != own
        doubt = (1 + chances[other] - chances[own]) / 2
        why = f"labelled {label}; the model gives {classes[other]} {chances[other]:.0%} and {label} {chances[own]:.0%}"
        if off and confident is not None:
            why += f", and it is as sure of {classes[confident]} as it usually is ({thresholds[confident]:.0%})"
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
    return sorted(suspects, key=lambda suspect: (-suspect.score, suspect.prediction_id))


def select_batch(
    labelled: Sequence[RecordedPrediction],
    unlabelled: Sequence[RecordedPrediction],
    classes: Sequence[str],
    label: str,
    limit: int,
) -> list[LabelIssueCandidate]:
    """The suspects about a class, the contradicted and the unlabelled in turns: their doubts are not on one scale."""
    pairs = zip_longest(label_error_candidates(labelled, classes, label), likely_errors(unlabelled, classes, label))
    inputs = {answer.prediction_id: answer.input_hash or answer.prediction_id for answer in (*labelled, *unlabelled)}
    chosen: dict[str, LabelIssueCandidate] = {}
    for suspect in (candidate for pair in pairs for candidate in pair if candidate is not None):
        chosen.setdefault(inputs[suspect.prediction_id], suspect)
    return list(chosen.values())[:limit]


def _audit_thresholds(labelled: Sequence[RecordedPrediction], classes: Sequence[str]) -> list[float]:
    """For each class, the mean probability that the predictions labelled so had of being in it."""
    rows = [row for row in labelled if row.given_label in classes]
    probabilities = np.array([row.probabilities for row in rows], dtype=np.float64).reshape(len(rows), len(classes))
    labels = np.array([classes.index(str(row.given_label)) for row in rows], dtype=np.int64)
    thresholds: list[float] = class_thresholds(probabilities, labels).tolist()
    return thresholds


def _confident_class(chances: Sequence[float], thresholds: Sequence[float]) -> int | None:
    """The class with the greatest probability among those that reach their threshold."""
    reached = [place for place, chance in enumerate(chances) if chance >= thresholds[place]]
    return max(reached, key=lambda place: chances[place], default=None)
