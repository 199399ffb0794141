"""How far confidence lies from accuracy; it does not know whose confidence it is, nor what is too far."""

import numpy as np
from numpy.typing import NDArray

BINS = 15


def calibration_error(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Expected calibration error of n answers: mean gap of confidence and accuracy over equally wide bins; 0 for none.

    Naeini, Cooper and Hauskrecht, AAAI 2015.
    """
    if not len(right):
        return 0.0
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, weights=confidence.astype(np.float64) - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(right))
