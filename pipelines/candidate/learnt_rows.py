"""Keeps the rows that labels have taught the champion from judging it: they train on, whatever is said of them later.

A correction trains at once. Where its input is drawn for an audit later, or labelled again, it could judge by its hash,
and would ask the champion what it was taught.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from pipelines.candidate.training_spec import Champion, TrainingSpec
from pipelines.data import FORGOTTEN_GROUPS, FeedbackRows
from pipelines.labels.learnt_labels import LINEAGE_FILE, TRAINED_FILE, LearntLabels
from registry.runs import TrackingStore

log = logging.getLogger(__name__)


def with_lineage(spec: TrainingSpec, tracking: TrackingStore) -> TrainingSpec:
    """The same training, of whose champion is known what labels taught it."""
    if spec.champion is None or not spec.champion.run_id:
        return spec
    return replace(spec, champion=replace(spec.champion, learnt=_read_lineage(spec.champion, tracking)))


def _read_lineage(champion: Champion, tracking: TrackingStore) -> LearntLabels:
    """What its run noted; where the run or its lineage is gone, all labels given before it was registered."""
    text = tracking.read_text(champion.run_id, LINEAGE_FILE)
    if text is None:
        log.warning(
            "Run %s keeps no %s of version %d, so nobody knows which labels taught it: none that was given before it "
            "was registered judges",
            *(champion.run_id, LINEAGE_FILE, champion.version),
        )
        return LearntLabels(given_until=champion.registered_at)
    return LearntLabels.from_json(text, lambda: tracking.read_text(champion.run_id, TRAINED_FILE))


def learnt_rows(spec: TrainingSpec) -> frozenset[str]:
    """The identities of the rows that labels have taught the champion."""
    if spec.champion is None:
        return frozenset()
    rows = spec.champion.learnt.rows
    if spec.feedback is None:
        return rows
    known = spec.champion.learnt.mask(spec.feedback, spec.origins)
    return rows | {row for row, is_known in zip(spec.feedback.ids, known, strict=True) if is_known}


def separate_learnt(labels: FeedbackRows, spec: TrainingSpec) -> tuple[FeedbackRows, FeedbackRows]:
    """The labels, of which those that the champion has learnt never judge, and these by themselves.

    Of events, nothing judges that belongs to a group of which the champion has learnt a label.
    """
    if spec.champion is None:
        return labels, labels.take([])
    known = learnt_rows(spec)
    learnt = np.array([row in known for row in labels.ids], dtype=bool)
    owners = labels.groups or ("",) * len(labels)
    taught = {owners[row] for row in np.flatnonzero(learnt)} - {"", *FORGOTTEN_GROUPS.values()}
    bound = learnt | np.array([owner in taught for owner in owners], dtype=bool)
    flags = np.array(labels.trains_only or (False,) * len(labels), dtype=bool) | bound
    return replace(labels, trains_only=tuple(flags.tolist())), labels.take(learnt)
