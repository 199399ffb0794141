"""Selects the rows that a candidate is trained on and those that the gate compares it on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.candidate.training_spec import TrainingSpec
from pipelines.data import FeedbackRows, ImageSet
from pipelines.inputs.codec_of import codec_of
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
    """The rows of one training, each on one side only, and the labels that are excluded."""

    epoch_rows: ImageSet
    weights: NDArray[np.float32]
    """How much each row of the epoch counts, (n,)."""
    feedback: FeedbackRows | None
    feedback_weights: NDArray[np.float32]
    """How much each row of `feedback` counts, (n,)."""
    holdout: FeedbackRows | None
    excluded: tuple[ExcludedLabel, ...]
    base_excluded: int
    """Base rows that look like a golden or a gate image."""


def select_rows(spec: TrainingSpec) -> Rows:
    """Base rows and new labels for training, held-back labels for the gate.

    No golden or gate image trains, nor a near-duplicate of one. Where the spec says which images are recent, only
    those are repeated up to their share of an epoch, and the gate compares on those alone: the benefit must lie in the
    world as it is.
    """
    split, recipe, codec = spec.split, spec.recipe, codec_of(spec.pipeline.contract.inputs)
    base = subsample(split.train, recipe.max_train_rows)
    if spec.feedback is None or not len(spec.feedback):
        fresh = base.take(~codec.near_duplicates(base.batch, split.golden.batch))
        alike, none = np.ones(len(fresh), dtype=np.float32), np.ones(0, dtype=np.float32)
        return Rows(fresh, alike, None, none, None, spec.unusable, len(base) - len(fresh))
    # 1. One label per image; known images and near-duplicates on one side only.
    context = LabelContext(None if spec.champion is None else spec.champion.predictor, codec, spec.origins)
    resolved, contradicted = resolve_conflicts(spec.feedback, context)
    unseen, known_rows = exclude_known(
        resolved.holdout_rows(), split.train.ids + split.validation.ids + split.golden.ids
    )
    candidates, holdout, duplicates = exclude_cross_duplicates(resolved.training_rows(), unseen, codec)
    evaluated = Batch.concat([split.golden.batch, holdout.batch])
    fresh = base.take(~codec.near_duplicates(base.batch, evaluated))
    protected = Batch.concat([evaluated, split.validation.batch])

    # 2. Which labels are trusted, for training and for the gate.
    training = curate_training_rows(candidates, context, protected, spec.quotas)
    gate = curate_holdout(holdout, context, training.rows, spec.quotas)

    # 3. The gate asks about the world since the change, and recent rows are repeated for training.
    is_recent, is_recent_gate = _recent_mask(spec, training.rows), _recent_mask(spec, gate.rows)
    before_change = tuple(
        ExcludedLabel(i, "before the change", BEFORE_CHANGE) for i in gate.rows.take(~is_recent_gate).feedback_ids
    )
    return Rows(
        epoch_rows=mix_epoch_rows(fresh, training.rows.take(is_recent), recipe, training.rows.take(~is_recent)),
        weights=epoch_weights(len(fresh), training.weights[is_recent], recipe, training.weights[~is_recent]),
        feedback=training.rows,
        feedback_weights=training.weights,
        holdout=gate.rows.take(is_recent_gate),
        excluded=(
            *spec.unusable,
            *contradicted,
            *known_rows,
            *duplicates,
            *training.excluded,
            *gate.excluded,
            *before_change,
        ),
        base_excluded=len(base) - len(fresh),
    )


def _recent_mask(spec: TrainingSpec, rows: FeedbackRows) -> NDArray[np.bool_]:
    """Which of the rows show the world as it is now, (n,)."""
    if spec.recent_images is None:
        return np.ones(len(rows), dtype=bool)
    return np.array([i in spec.recent_images for i in rows.ids], dtype=bool)
