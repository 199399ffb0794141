"""The temperature of a model, one number that makes its confidence honest; refuses to know networks and files.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017). Dividing all logits by one
number moves confidence and never an answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from pipelines.errors import DataError

COLDEST, HOTTEST = 0.2, 10.0


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The temperature with the smallest loss on n rows that trained nothing; logits (n, classes), a class index each.

    One error more than was seen is expected among them, spread over all rows and classes (as Platt smoothed his
    targets, 1999): a model without an error on few rows is not told that it can never err. Raises DataError for rows
    that teach nothing.
    """
    rows, classes = logits.shape if logits.ndim == 2 else (0, 0)
    if rows == 0 or labels.shape != (rows,) or classes < 2 or not np.isfinite(logits).all():
        raise DataError(
            f"logits of shape {logits.shape} and {len(labels)} labels give no temperature; "
            "give finite logits (n, classes) and one class index per row, at least one"
        )
    exact = logits.astype(np.float64)
    doubt = 1 / (rows + 2)
    target = np.full((rows, classes), doubt / (classes - 1))
    target[np.arange(rows), labels] = 1 - doubt
    wanted = float((target * exact).sum())

    def loss(log_temperature: float) -> float:
        cold = exact / np.exp(log_temperature)
        top = cold.max(axis=1, keepdims=True)
        total = top[:, 0] + np.log(np.exp(cold - top).sum(axis=1))
        return float(total.sum() - wanted / np.exp(log_temperature))

    found = optimize.minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return round(float(np.exp(found.x)), 4)
