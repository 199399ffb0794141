"""Temperature scaling: fits the one number that makes a model's confidence honest.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017). Dividing all logits by one
number moves confidence and never an answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from pipelines.errors import DataError

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.2, 10.0
LOG_TEMPERATURE_SD = 0.3
"""How far the logarithm of a temperature usually strays from 0 (standard deviation)."""


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The temperature with the smallest loss on n rows that trained nothing; logits (n, classes), a class index each.

    It is drawn to 1 as temperatures usually lie there (a normal prior on its logarithm, STRAY wide): a model without an
    error on few rows is not told that it can never err. Raises DataError for rows that teach nothing.
    """
    rows, classes = logits.shape if logits.ndim == 2 else (0, 0)
    if rows == 0 or labels.shape != (rows,) or classes < 2 or not np.isfinite(logits).all():
        raise DataError(
            f"logits of shape {logits.shape} and {len(labels)} labels give no temperature; "
            "give finite logits (n, classes) and one class index per row, at least one"
        )
    exact = logits.astype(np.float64)
    wanted = float(exact[np.arange(rows), labels].sum())

    def loss(log_temperature: float) -> float:
        cold = exact / np.exp(log_temperature)
        top = cold.max(axis=1, keepdims=True)
        total = top[:, 0] + np.log(np.exp(cold - top).sum(axis=1))
        prior = (log_temperature / LOG_TEMPERATURE_SD) ** 2 / 2
        return float(total.sum() - wanted / np.exp(log_temperature) + prior)

    minimum = optimize.minimize_scalar(
        loss, bounds=(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)), method="bounded"
    )
    return round(float(np.exp(minimum.x)), 4)
