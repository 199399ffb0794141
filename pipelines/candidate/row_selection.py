"""Selects the rows that a candidate is trained on and those that the gate compares it on."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.candidate.judging_rows import may_be_in_file, on_days, same_events, unlearnt_golden_rows
from pipelines.candidate.learnt_rows import separate_learnt
from pipelines.candidate.training_spec import TrainingSpec
from pipelines.data import Examples, FeedbackRows
from pipelines.inputs.codec_of import codec_of
from pipelines.labels.label_curation import (
    CurationResult,
    ExcludedLabel,
    curate_holdout,
    curate_training_rows,
    exclude_cross_duplicates,
    exclude_groups,
    exclude_known,
    exclude_where,
    resolve_conflicts,
)
from pipelines.labels.label_provenance import LabelContext
from pipelines.labels.learnt_labels import asked_again, same_unowned_inputs
from pipelines.training.training_mix import epoch_weights, mix_epoch_rows, subsample
from registry.prediction_task import Classification

BEFORE_CHANGE = "it was held back, and was answered before answers became bad: the gate asks about the world since then"
SAME_EVENT = "a row of the file that judges or tunes has this content: it may be the same event"
FILE_TEACHES = "a row of the file that trains or tunes has this content: it may be the same event, and must not judge"
CHAMPION_KNOWS = "the champion has learnt a label of this input, or of one that looks like it, and must not be asked it"
ASKED_AGAIN = "its input was asked under another id whose label trains or has trained: it may be the same event"
JUDGED_INPUT = "another label of this input judges, and nobody is named whose they are: they may be one event"
JUDGED_DAY = "golden rows of that day judge, and rows of one day tell of each other"


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one training, each on one side only, and the labels that are excluded."""

    epoch_rows: Examples
    weights: NDArray[np.float32]
    """How much each row of the epoch counts, (n,)."""
    feedback: FeedbackRows | None
    feedback_weights: NDArray[np.float32]
    """How much each row of `feedback` counts, (n,)."""
    holdout: FeedbackRows | None
    excluded: tuple[ExcludedLabel, ...]
    base_excluded: int
    """Base rows that look like a golden or a gate image."""
    golden: Examples
    """The golden rows, none of which trains."""

    @property
    def label_counts(self) -> tuple[int, int]:
        """How many labels train, and how many judge."""
        trained, judging = (0 if side is None else len(side) for side in (self.feedback, self.holdout))
        return trained, judging


def select_rows(spec: TrainingSpec) -> Rows:
    """Base rows and new labels for training, held-back labels for the gate.

    No golden or gate image trains, nor a near-duplicate of one. Where the spec says which images are recent, only
    those are repeated up to their share of an epoch, and the gate compares on those alone: the benefit must lie in the
    world as it is.
    """
    base = subsample(spec.split.train, spec.recipe.max_train_rows)
    if spec.pipeline.contract.truth == "event":
        return _select_events(spec, base)
    split, codec = spec.split, codec_of(spec.pipeline.contract.inputs)
    if spec.feedback is None or not len(spec.feedback):
        return _base_rows(spec, base, base.take(~codec.near_duplicates(base.batch, split.golden.batch)))
    # 1. One label per image; known images and near-duplicates on one side only.
    # A champion that tells classes apart may doubt labels; of texts there is no probability for every other answer.
    doubts = spec.champion is not None and isinstance(spec.pipeline.contract.task, Classification)
    context = LabelContext(spec.champion.predictor if doubts and spec.champion else None, codec, spec.origins)
    labels, learnt = separate_learnt(spec.feedback, spec)
    resolved, contradicted = resolve_conflicts(labels, context)
    unseen, known_rows = exclude_known(
        resolved.holdout_rows(), split.train.ids + split.validation.ids + split.golden.ids
    )
    taught = codec.near_duplicates(unseen.batch, learnt.batch)
    unseen, known_likes = exclude_where(unseen, taught, "near-duplicate of a training image", CHAMPION_KNOWS)
    candidates, holdout, duplicates = exclude_cross_duplicates(resolved.training_rows(), unseen, codec)
    evaluated = Batch.concat([split.golden.batch, holdout.batch])
    fresh = base.take(~codec.near_duplicates(base.batch, evaluated))
    protected = Batch.concat([evaluated, split.validation.batch])

    # 2. Which labels are trusted, for training and for the gate.
    training = curate_training_rows(candidates, context, protected, spec.quotas)
    gate = curate_holdout(holdout, context, training.rows, spec.quotas)
    return _mixed_rows(spec, base, fresh, training, gate, (*contradicted, *known_rows, *known_likes, *duplicates))


def _select_events(spec: TrainingSpec, base: Examples) -> Rows:
    """Rows of events, of which equal ones may have several truths: what is kept apart are groups, not contents.

    An outcome that the champion did not expect is no mistake of whoever told it, so no label is doubted for that. A
    label may be of an event that the file holds too; and of the days that judge nothing trains. What came since answers
    became bad is what a retraining is for: it trains, where enough golden rows are left, and those it may be are no
    golden rows of this version; golden rows of its days do not judge.
    """
    split = spec.split
    held = {*split.golden.groups, *split.validation.groups}
    if spec.feedback is None or not len(spec.feedback):
        return _base_rows(spec, base, _without_groups(base, held))
    block = spec.pipeline.contract.block_seconds
    unlearnt = unlearnt_golden_rows(split.golden, spec.champion, block)
    # 1. Held-back labels of events that neither model can have learnt from the file.
    context = LabelContext(None, codec_of(spec.pipeline.contract.inputs), spec.origins)
    labels, learnt = separate_learnt(spec.feedback, spec)
    resolved, contradicted = resolve_conflicts(labels, context)
    holdout, known_rows = exclude_known(
        resolved.holdout_rows(), split.train.ids + split.validation.ids + split.golden.ids
    )
    maybe_learnt = split.golden.exclude(() if unlearnt is None else unlearnt.ids)
    teaching = Examples.concat("file", split.train, split.validation, maybe_learnt)
    holdout, taught = exclude_where(holdout, _twins(holdout, teaching, spec), "known image", FILE_TEACHES)
    teaching_labels = Examples.concat("labels", resolved.training_rows(), learnt)
    again = asked_again(holdout, teaching_labels)
    holdout, repeated = exclude_where(holdout, again, "known image", ASKED_AGAIN)

    # 2. Labels and rows of the file that train: of nobody, no event and no day that judges.
    held |= set(holdout.groups)
    candidates, shared = exclude_groups(resolved.training_rows(), held)
    candidates, of_judged = exclude_where(
        candidates, same_unowned_inputs(candidates, holdout), "of a judged group", JUDGED_INPUT
    )
    is_recent = _recent_mask(spec, candidates) & (spec.recent_images is not None)
    judged = _twins(candidates, split.golden, spec)
    tuning = np.zeros(len(candidates), dtype=bool)
    tuning[~judged] = _twins(candidates.take(~judged), split.validation, spec)
    tuning &= ~is_recent
    judged_recent = judged & is_recent
    if len(split.golden) - int(judged_recent.sum()) >= min(spec.policy.min_rows, len(split.golden)):
        judged &= ~is_recent
    same_event = tuning | judged
    same_day = on_days(candidates, unlearnt, block) & ~is_recent & ~same_event
    _, same = exclude_where(candidates, same_event, "known image", SAME_EVENT)
    _, same_days = exclude_where(candidates, same_day, "of a judged day", JUDGED_DAY)
    learnt_golden = frozenset(np.array(candidates.ids, dtype=object)[judged_recent & ~same_event])
    candidates = candidates.take(~same_event & ~same_day)
    fresh = _without_groups(base, held)

    # 3. Which labels are within their quotas.
    training = curate_training_rows(candidates, context, None, spec.quotas)
    gate = curate_holdout(holdout, context, training.rows, spec.quotas)
    excluded = (*contradicted, *known_rows, *taught, *repeated, *shared, *of_judged, *same, *same_days)
    rows = _mixed_rows(spec, base, fresh, training, gate, excluded)
    trained = training.rows.take([i in learnt_golden for i in training.rows.ids])
    return replace(rows, golden=split.golden.take(~same_events(split.golden, trained))) if len(trained) else rows


def _twins(labels: FeedbackRows, rows: Examples, spec: TrainingSpec) -> NDArray[np.bool_]:
    """Which labels may be of the same events as these rows of the file, (n,)."""
    possible = np.flatnonzero(may_be_in_file(labels, spec.split, spec.pipeline.contract.block_seconds))
    twins = np.zeros(len(labels), dtype=bool)
    twins[possible[same_events(labels.take(possible), rows)]] = True
    return twins


def _without_groups(rows: Examples, groups: Collection[str]) -> Examples:
    """The rows that belong to none of these groups."""
    named = frozenset(groups) - {""}
    return rows.take([row for row in range(len(rows)) if not rows.groups or rows.groups[row] not in named])


def _base_rows(spec: TrainingSpec, base: Examples, fresh: Examples) -> Rows:
    """The rows of a training without feedback."""
    alike, none = np.ones(len(fresh), dtype=np.float32), np.ones(0, dtype=np.float32)
    return Rows(fresh, alike, None, none, None, spec.unusable, len(base) - len(fresh), spec.split.golden)


def _mixed_rows(
    spec: TrainingSpec,
    base: Examples,
    fresh: Examples,
    training: CurationResult,
    gate: CurationResult,
    excluded: tuple[ExcludedLabel, ...],
) -> Rows:
    """The gate asks about the world since the change, and recent rows are repeated for training."""
    recipe = spec.recipe
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
        excluded=(*spec.unusable, *excluded, *training.excluded, *gate.excluded, *before_change),
        base_excluded=len(base) - len(fresh),
        golden=spec.split.golden,
    )


def _recent_mask(spec: TrainingSpec, rows: FeedbackRows) -> NDArray[np.bool_]:
    """Which of the rows show the world as it is now, (n,)."""
    if spec.recent_images is None:
        return np.ones(len(rows), dtype=bool)
    return np.array([i in spec.recent_images for i in rows.ids], dtype=bool)
