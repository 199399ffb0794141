"""Keeps the rows that labels have taught the champion from judging it: they train on, whatever is said of them later.

A correction trains at once. Where its input is drawn for an audit later, or labelled again, it could judge by its hash,
and would ask the champion what it was taught.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipelines.candidate.training_spec import TrainingSpec
from pipelines.data import FORGOTTEN_GROUPS, FeedbackRows
from pipelines.labels.learnt_labels import LINEAGE_FILE, NOTHING_LEARNT, LearntLabels
from registry.runs import TrackingStore


def with_lineage(spec: TrainingSpec, tracking: TrackingStore) -> TrainingSpec:
    """The same training, of whose champion is known what labels taught it."""
    if spec.champion is None or not spec.champion.run_id:
        return spec
    text = tracking.read_text(spec.champion.run_id, LINEAGE_FILE)
    learnt = NOTHING_LEARNT if text is None else LearntLabels.from_json(text)
    return replace(spec, champion=replace(spec.champion, learnt=learnt))


def learnt_rows(spec: TrainingSpec) -> frozenset[str]:
    """The identities of the rows that labels have taught the champion."""
    if spec.champion is None:
        return frozenset()
    rows = spec.champion.learnt.rows
    if spec.feedback is None:
        return rows
    known = spec.champion.learnt.mask(spec.feedback)
    return rows | {row for row, is_known in zip(spec.feedback.ids, known, strict=True) if is_known}


def separate_learnt(labels: FeedbackRows, spec: TrainingSpec) -> tuple[FeedbackRows, FeedbackRows]:
    """The labels, of which those that the champion has learnt never judge, and these by themselves.

    Of events, nothing judges that belongs to a group of which the champion has learnt a label.
    """
    if spec.champion is None:
        return labels, labels.take([])
    learnt = np.isin(labels.ids, list(learnt_rows(spec)))
    owners = labels.groups or ("",) * len(labels)
    taught = {owners[row] for row in np.flatnonzero(learnt)} - {"", *FORGOTTEN_GROUPS.values()}
    bound = learnt | np.array([owner in taught for owner in owners], dtype=bool)
    flags = np.array(labels.trains_only or (False,) * len(labels), dtype=bool) | bound
    return replace(labels, trains_only=tuple(flags.tolist())), labels.take(learnt)
