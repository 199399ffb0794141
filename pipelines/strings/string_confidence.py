"""How sure a reading is, as a probability to be believed.

The network's probability of a whole text is too bold or too shy; one temperature, fitted on strings that trained
nothing, mends that: each candidate's probability is raised to 1 / temperature, and all are divided by their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from pipelines.errors import DataError
from pipelines.strings.ctc_decoding import Candidate

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.2, 20.0
LOG_TEMPERATURE_SD: Final = 1.0
"""How far the logarithm of a temperature may stray from 0: few strings without an error do not make a reader sure."""


def candidate_probabilities(candidates: Sequence[Candidate], temperature: float) -> NDArray[np.float64]:
    """The calibrated probability of each candidate; they sum to 1."""
    cooled = np.array([candidate.log_probability for candidate in candidates], np.float64) / temperature
    weights = np.exp(cooled - cooled.max(initial=-np.inf))
    return np.asarray(weights / weights.sum())


def position_confidences(candidates: Sequence[Candidate], probabilities: NDArray[np.float64]) -> tuple[float, ...]:
    """For each character of the first candidate, the probability of all that have it there, at the same length."""
    best = candidates[0].text
    alike = [
        (candidate.text, probability)
        for candidate, probability in zip(candidates, probabilities.tolist(), strict=True)
        if len(candidate.text) == len(best)
    ]
    return tuple(
        min(1.0, sum(probability for text, probability in alike if text[place] == character))
        for place, character in enumerate(best)
    )


def fit_string_temperature(readings: Sequence[Sequence[Candidate]], texts: Sequence[str]) -> float:
    """The temperature under which right and wrong first candidates are least surprising; one true text a reading."""
    pairs = [(candidates, text) for candidates, text in zip(readings, texts, strict=True) if candidates]
    if not pairs:
        raise DataError("no string of the validation part was read; train longer, or give strings of digits")
    right = np.array([candidates[0].text == text for candidates, text in pairs])

    def loss(log_temperature: float) -> float:
        temperature = float(np.exp(log_temperature))
        sure = np.array([candidate_probabilities(candidates, temperature)[0] for candidates, _ in pairs])
        sure = np.clip(sure, 1e-9, 1 - 1e-9)
        surprise = -np.log(np.where(right, sure, 1 - sure)).sum()
        return float(surprise + (log_temperature / LOG_TEMPERATURE_SD) ** 2 / 2)

    bounds = (np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE))
    return round(float(np.exp(optimize.minimize_scalar(loss, bounds=bounds, method="bounded").x)), 4)
