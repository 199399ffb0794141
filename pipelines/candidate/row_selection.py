"""Selects the rows that a candidate is trained on and those that the gate compares it on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.candidate.training_spec import TrainingSpec
from pipelines.data import FeedbackRows, ImageSet
from pipelines.image.near_duplicates import near_duplicate_mask
from pipelines.labels.label_curation import (
    ExcludedLabel,
    curate_holdout,
    curate_training_rows,
    exclude_cross_duplicates,
    exclude_known,
    resolve_conflicts,
)
from pipelines.labels.label_provenance import LabelContext
from pipelines.training.training_mix import epoch_weights, mix_epoch_rows, subsample

BEFORE_CHANGE = "it was held back, and was answered before answers became bad: the gate asks about the world since then"


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one order, each on one side only, and the labels that are on none."""

    epoch_rows: ImageSet
    weights: NDArray[np.float32]
    """How much each row of the epoch counts, (n,)."""
    feedback: FeedbackRows | None
    feedback_weights: NDArray[np.float32]
    """How much each row of `new` counts, (n,)."""
    holdout: FeedbackRows | None
    excluded: tuple[ExcludedLabel, ...]
    base_excluded: int
    """Base rows that look like a golden or a gate image."""


def select_rows(spec: TrainingSpec) -> Rows:
    """Base rows and new labels for training, held-back labels for the gate.

    No golden or gate image trains, nor a near-duplicate of one. Where the order knows which images are recent, only
    those are repeated up to their share of an epoch, and only those judge: the benefit must lie in the world as it is.
    """
    split, recipe = spec.split, spec.recipe
    base = subsample(split.train, recipe.max_train_rows)
    if spec.feedback is None or not len(spec.feedback):
        fresh = base.take(~near_duplicate_mask(base.images, split.golden.images))
        alike, none = np.ones(len(fresh), dtype=np.float32), np.ones(0, dtype=np.float32)
        return Rows(fresh, alike, None, none, None, spec.unusable, len(base) - len(fresh))
    witnesses = LabelContext(None if spec.champion is None else spec.champion.predictor, spec.origins)
    settled, contradicted = resolve_conflicts(spec.feedback, witnesses)
    unseen, known = exclude_known(settled.holdout_rows(), split.train.ids + split.validation.ids + split.golden.ids)
    teaching, held, copies = exclude_cross_duplicates(settled.training_rows(), unseen)
    judging = np.concatenate([split.golden.images, held.images])
    fresh = base.take(~near_duplicate_mask(base.images, judging))
    protected = np.concatenate([judging, split.validation.images])
    new = curate_training_rows(teaching, witnesses, protected, spec.quotas)
    judges = curate_holdout(held, witnesses, new.rows, spec.quotas)
    now, now_judges = _recent_mask(spec, new.rows), _recent_mask(spec, judges.rows)
    past = tuple(
        ExcludedLabel(i, "before the change", BEFORE_CHANGE) for i in judges.rows.take(~now_judges).feedback_ids
    )
    return Rows(
        epoch_rows=mix_epoch_rows(fresh, new.rows.take(now), recipe, new.rows.take(~now)),
        weights=epoch_weights(len(fresh), new.weights[now], recipe, new.weights[~now]),
        feedback=new.rows,
        feedback_weights=new.weights,
        holdout=judges.rows.take(now_judges),
        excluded=(*spec.unusable, *contradicted, *known, *copies, *new.excluded, *judges.excluded, *past),
        base_excluded=len(base) - len(fresh),
    )


def _recent_mask(spec: TrainingSpec, rows: FeedbackRows) -> NDArray[np.bool_]:
    """Which of the rows show the world as it is now, (n,)."""
    if spec.recent_images is None:
        return np.ones(len(rows), dtype=bool)
    return np.array([i in spec.recent_images for i in rows.ids], dtype=bool)
