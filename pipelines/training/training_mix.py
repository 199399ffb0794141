"""Mixes base rows and feedback rows into the rows of an epoch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipelines.data import Examples, FeedbackRows, hash_fraction
from pipelines.errors import DataError
from pipelines.recipe import Recipe


def mix_epoch_rows(
    base: Examples, feedback: FeedbackRows | None, recipe: Recipe, older: FeedbackRows | None = None
) -> Examples:
    """The rows of one epoch: base rows (at most as many as the recipe takes), older feedback, feedback repeated.

    Held-back feedback is refused: it belongs to the gate.
    """
    chosen = subsample(base, recipe.max_train_rows)
    parts = [rows for rows in (older, feedback) if rows is not None and len(rows)]
    for rows in parts:
        if len(rows.holdout_rows()):
            raise DataError(
                f"{len(rows.holdout_rows())} of {len(rows)} feedback rows are held back for the gate; "
                "train on .for_training() only"
            )
    if not parts:
        return chosen
    kept = chosen if older is None else Examples.concat(base.name, chosen, older)
    copies = feedback_repeats(len(kept), len(feedback), recipe) if feedback is not None and len(feedback) else 0
    return Examples.concat(f"{base.name}+feedback", kept, *[feedback] * copies if feedback is not None else [])


def feedback_repeats(base_rows: int, feedback_rows: int, recipe: Recipe) -> int:
    """How often each feedback row is seen in an epoch."""
    wanted = recipe.feedback_share * base_rows / ((1 - recipe.feedback_share) * feedback_rows)
    return max(1, min(recipe.feedback_repeats, math.ceil(wanted)))


def epoch_weights(
    base_rows: int, trust: NDArray[np.float32], recipe: Recipe, older: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """How much each row of an epoch counts: a base row 1, a feedback row its trust (n,), repeated like the row."""
    kept = np.ones(base_rows, dtype=np.float32) if older is None else np.append(np.ones(base_rows, np.float32), older)
    copies = feedback_repeats(len(kept), len(trust), recipe) if len(trust) else 0
    return np.concatenate([kept, *[trust] * copies])


def subsample(base: Examples, limit: int | None) -> Examples:
    """At most so many rows, chosen by hash."""
    if limit is None or len(base) <= limit:
        return base
    order = np.argsort([hash_fraction(i, "rows") for i in base.ids], kind="stable")
    return base.take(np.sort(order[:limit]))
