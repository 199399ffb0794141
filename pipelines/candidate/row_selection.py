"""Which rows a candidate is trained and judged on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.candidate.training_spec import Order
from pipelines.data import FeedbackRows, ImageSet
from pipelines.image.near_duplicates import near_duplicates
from pipelines.labels.label_curation import (
    SetAside,
    curate,
    curate_judges,
    keep_apart,
    leave_known,
    settle,
)
from pipelines.labels.label_provenance import Witnesses
from pipelines.training.training_mix import capped, mix, mixed_weights

PAST = "it was held back, and was answered before answers became bad: the gate asks about the world since then"


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one order, each on one side only, and the labels that are on none."""

    epoch: ImageSet
    weights: NDArray[np.float32]
    """How much each row of the epoch counts, (n,)."""
    new: FeedbackRows | None
    trust: NDArray[np.float32]
    """How much each row of `new` counts, (n,)."""
    held_back: FeedbackRows | None
    set_aside: tuple[SetAside, ...]
    base_left_out: int
    """Base rows that look like a golden or a gate image."""


def choose_rows(order: Order) -> Rows:
    """Base rows and new labels for training, held-back labels for the gate.

    No golden or gate image trains, nor a near-duplicate of one. Where the order knows which images are recent, only
    those are repeated up to their share of an epoch, and only those judge: the benefit must lie in the world as it is.
    """
    split, recipe = order.split, order.recipe
    base = capped(split.train, recipe.max_train_rows)
    if order.feedback is None or not len(order.feedback):
        fresh = base.take(~near_duplicates(base.images, split.golden.images))
        alike, none = np.ones(len(fresh), dtype=np.float32), np.ones(0, dtype=np.float32)
        return Rows(fresh, alike, None, none, None, order.unusable, len(base) - len(fresh))
    witnesses = Witnesses(None if order.champion is None else order.champion.predictor, order.origins)
    settled, contradicted = settle(order.feedback, witnesses)
    unseen, known = leave_known(settled.held_back(), split.train.ids + split.validation.ids + split.golden.ids)
    teaching, held, copies = keep_apart(settled.for_training(), unseen)
    judging = np.concatenate([split.golden.images, held.images])
    fresh = base.take(~near_duplicates(base.images, judging))
    protected = np.concatenate([judging, split.validation.images])
    new = curate(teaching, witnesses, protected, order.quotas)
    judges = curate_judges(held, witnesses, new.rows, order.quotas)
    now, now_judges = _recent(order, new.rows), _recent(order, judges.rows)
    past = tuple(SetAside(i, "before the change", PAST) for i in judges.rows.take(~now_judges).feedback_ids)
    return Rows(
        epoch=mix(fresh, new.rows.take(now), recipe, new.rows.take(~now)),
        weights=mixed_weights(len(fresh), new.weights[now], recipe, new.weights[~now]),
        new=new.rows,
        trust=new.weights,
        held_back=judges.rows.take(now_judges),
        set_aside=(*order.unusable, *contradicted, *known, *copies, *new.set_aside, *judges.set_aside, *past),
        base_left_out=len(base) - len(fresh),
    )


def _recent(order: Order, rows: FeedbackRows) -> NDArray[np.bool_]:
    """Which of the rows show the world as it is now, (n,)."""
    if order.recent is None:
        return np.ones(len(rows), dtype=bool)
    return np.array([i in order.recent for i in rows.ids], dtype=bool)
