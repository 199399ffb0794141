"""Keeps near-duplicates of evaluated images out of training, and images that are sent again and again.

A picture that trains must not judge, nor one that looks like it. Where real traffic repeats itself, nearly every
picture looks like one of the held-back third, and if those always won, nothing of such traffic would be learnt. So the
picture seen first decides for all that look like it: its side keeps them, and the other side does without.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.data import FeedbackRows
from pipelines.image.near_duplicates import first_occurrence_indices


def separate_near_duplicates(
    training: FeedbackRows, holdout: FeedbackRows
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows of each side, (n,) and (m,), stay when no picture is on both.

    First is what has the first feedback id, which the platform gives in the order of arrival, so nobody takes a row
    away from the gate by sending its picture again. Rows that may never judge come last: they decide for none but
    their like.
    """
    ids = (*training.feedback_ids, *holdout.feedback_ids)
    picked = (*(training.trains_only or (False,) * len(training)), *(False,) * len(holdout))
    order = sorted(range(len(ids)), key=lambda place: (picked[place], ids[place]))
    images = np.concatenate([training.images, holdout.images])[order] if order else training.images
    trains = np.array([place < len(training) for place in order], dtype=bool)
    fitting = trains[first_occurrence_indices(images)] == trains if order else trains
    stays = np.zeros(len(order), dtype=bool)
    stays[order] = fitting
    return stays[: len(training)], stays[len(training) :]
