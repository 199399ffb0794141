"""The training mixture, base rows and feedback rows in shares; refuses to know where rows come from."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipelines.data import FeedbackRows, ImageSet, bucket
from pipelines.errors import DataError
from pipelines.recipe import Recipe


def mix(base: ImageSet, feedback: FeedbackRows | None, recipe: Recipe) -> ImageSet:
    """The rows of one epoch: base rows (at most as many as the recipe takes), then feedback, repeated.

    Held-back feedback is refused: it belongs to the gate.
    """
    chosen = capped(base, recipe.max_train_rows)
    if feedback is None or len(feedback) == 0:
        return chosen
    if len(feedback.held_back()):
        raise DataError(
            f"{len(feedback.held_back())} of {len(feedback)} feedback rows are held back for the gate; "
            "train on .for_training() only"
        )
    copies = repeats(len(chosen), len(feedback), recipe)
    return ImageSet.concat(f"{base.name}+feedback", chosen, *[feedback] * copies)


def repeats(base_rows: int, feedback_rows: int, recipe: Recipe) -> int:
    """How often each feedback row is seen in an epoch."""
    wanted = recipe.feedback_share * base_rows / ((1 - recipe.feedback_share) * feedback_rows)
    return max(1, min(recipe.feedback_repeats, math.ceil(wanted)))


def mixed_weights(base_rows: int, trust: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """How much each row of `mix` counts: a base row 1, a feedback row its trust (n,), repeated as it is there."""
    copies = repeats(base_rows, len(trust), recipe) if len(trust) else 0
    return np.concatenate([np.ones(base_rows, dtype=np.float32), *[trust] * copies])


def capped(base: ImageSet, limit: int | None) -> ImageSet:
    """At most so many rows, chosen by hash."""
    if limit is None or len(base) <= limit:
        return base
    order = np.argsort([bucket(i, "rows") for i in base.ids], kind="stable")
    return base.take(np.sort(order[:limit]))
