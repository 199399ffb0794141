"""Pictures that were labelled in use, as tests draw them."""

import numpy as np
from numpy.typing import NDArray

from pipelines.data import FeedbackRows, image_batch
from pipelines.image.image_examples import rows_of_images


def image_feedback(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    name: str,
    feedback_ids: tuple[str, ...],
    trains_only: tuple[bool, ...] = (),
) -> FeedbackRows:
    """Grey pictures (n, height, width), each with its label and feedback id, and whether it may never judge."""
    return FeedbackRows(image_batch(images), labels, name, rows_of_images, feedback_ids, trains_only)
