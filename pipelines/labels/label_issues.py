"""Doubts about labels, where champion and a probe both contradict one; it sets nothing aside.

The probe learns from the feedback itself, and a giver's rows are judged by what all others say, so that a changed
world is learnt and a lie is not vouched for by its own copies. Its rule is that of confident learning (Northcutt, Jiang
and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.data import FeedbackRows, hash_fraction
from pipelines.image.near_duplicates import fingerprint
from pipelines.labels.label_provenance import LabelContext

FoldedFeatures = tuple[NDArray[np.float64], NDArray[np.int64]]
"""What a probe sees of each row, (n, d), and the row's fold, (n,)."""

FOLDS = 5
MIN_CLASS_ROWS = 5
"""A probe that learnt from fewer rows of a class has no say about it."""
FINGERPRINT_SCALE, PREDICTION_SCALE, PROBABILITY_FLOOR = 8.0, 1 / 3, 1e-4
"""They give the probe's inputs, unit vectors and log-probabilities, comparable sizes."""


@dataclass(frozen=True)
class LabelIssue:
    """One label in doubt: how strongly, 0 to 1 (the probe's margin for another class), and a sentence."""

    score: float
    detail: str


def find_label_issues(rows: FeedbackRows, reference: FeedbackRows, context: LabelContext) -> dict[int, LabelIssue]:
    """The places of labels that champion and probe both contradict; a review, made by a person, is not doubted.

    Where the probe hardly knows the label's own class, the two must name the same other class.
    """
    if context.champion is None or not len(rows) or not len(reference):
        return {}
    answers, taught_answers = context.champion(rows.images), context.champion(reference.images)
    views, taught_views = _probe_features(rows, answers), _probe_features(reference, taught_answers)
    folds, taught_folds = _assign_folds(rows, reference, context), _assign_folds(reference, reference, context)
    classes = answers.shape[1]
    usual = _cross_fit_probabilities(
        (taught_views, taught_folds), (taught_views, taught_folds), reference.labels, classes
    )
    beliefs = _cross_fit_probabilities((views, folds), (taught_views, taught_folds), reference.labels, classes)
    sure = _class_thresholds(usual, reference.labels)
    places = np.arange(len(rows))
    rival = np.where(beliefs >= sure, beliefs, -1.0)
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


def _probe_features(rows: FeedbackRows, answers: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the probe sees (n, d): the picture, and what the champion makes of it."""
    parts = [fingerprint(rows.images) * FINGERPRINT_SCALE, np.log(answers + PROBABILITY_FLOOR) * PREDICTION_SCALE]
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


def _class_thresholds(beliefs: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean probability (classes,) that rows of each class have of being in it; above 1 where nobody can say."""
    own = beliefs[np.arange(len(labels)), labels]
    means = [own[(labels == label) & (own >= 0)] for label in range(beliefs.shape[1])]
    return np.array([part.mean() if len(part) else 2.0 for part in means])
