"""Bins of confidence, and the calibration fit: how often a prediction of some confidence is right.

Confidences are counted in steps: equal ones of 2 % up to 0.9, and above, where nearly all of a good model's answers
lie, ten times finer ones: each halves what is missing to 1. (Ten equal steps above 0.9 would misplace the expected
accuracy of a model of 98 % by up to 0.7 points, these by 0.02; see docs/LOG.md.)

A calibration is logistic in the logit of the confidence (Platt 1999), drawn towards the model's own word: with few
errors to learn from it changes little.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from registry.errors import GateError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CALIBRATION_TAG: Final = "calibration"
"""The tag of a version that keeps its `CalibrationFit`."""
EVEN_BINS: Final = 50
"""Steps below this number are equal parts of 0 to 1. Those above 0.9 are not written any more, but still read."""
_FINE_START: Final = 0.9
_FINE_BINS: Final = 11
_PRIOR_STRENGTH: Final = 1.0
_MAX_ITERATIONS: Final = 50
_MIN_PROBABILITY: Final = 1e-6


def bin_of(confidence: float) -> int:
    """The step a confidence lies in."""
    if confidence < _FINE_START:
        return max(0, int(confidence * EVEN_BINS))
    missing = max(1 - confidence, 1e-12)
    return EVEN_BINS + min(_FINE_BINS - 1, max(0, math.floor(math.log2((1 - _FINE_START) / missing) + 1e-9)))


def bin_centre(step: int) -> float:
    """The confidence a step stands for."""
    if step < EVEN_BINS:
        return (step + 0.5) / EVEN_BINS
    return 1 - (1 - _FINE_START) * math.exp2(EVEN_BINS - 0.5 - step)


def count_by_bin(confidences: Iterable[float]) -> dict[int, int]:
    """How many of these confidences lie in which step."""
    return dict(sorted(Counter(bin_of(confidence) for confidence in confidences).items()))


@dataclass(frozen=True)
class CalibrationFit:
    """How likely an answer of some confidence is wrong, and how many golden answers lie in which step.

    `rows` is how many answers with known truth it was learnt from; none of them trained the model.
    """

    offset: float
    slope: float
    rows: int
    golden: Mapping[int, int]

    def error_probability(self, confidence: float) -> float:
        """The chance that an answer of this confidence is wrong."""
        sure = min(1 - _MIN_PROBABILITY, max(_MIN_PROBABILITY, confidence))
        return 1 / (1 + math.exp(self.offset + self.slope * math.log(sure / (1 - sure))))

    def error_by_bin(self) -> dict[int, float]:
        """The chance to be wrong by step."""
        return {step: self.error_probability(bin_centre(step)) for step in range(EVEN_BINS + _FINE_BINS)}

    def to_json(self) -> str:
        """One line, short enough for a tag; `from_json` gives back an equal record."""
        golden = {str(step): n for step, n in self.golden.items()}
        parts = {"offset": self.offset, "slope": self.slope, "rows": self.rows, "golden": golden}
        return json.dumps(parts, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "CalibrationFit":
        """The record of `to_json`; raises GateError naming what does not fit."""
        try:
            raw = json.loads(text)
            golden = {int(step): int(n) for step, n in raw["golden"].items()}
            fit = cls(float(raw["offset"]), float(raw["slope"]), int(raw["rows"]), golden)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise GateError(
                f"{text[:60]!r} is no calibration ({error!r}): give the text of CalibrationFit.to_json"
            ) from error
        invalid_steps = [step for step, n in golden.items() if not 0 <= step < EVEN_BINS + _FINE_BINS or n < 0]
        if invalid_steps or not (math.isfinite(fit.offset) and math.isfinite(fit.slope)):
            raise GateError(f"{text[:60]!r} is no calibration: its steps {invalid_steps} or numbers cannot be")
        return fit


def fit_calibration(
    confidence: "NDArray[np.floating]", correct: "NDArray[np.bool_]", golden: "NDArray[np.floating]"
) -> CalibrationFit:
    """Learn from n answers how often some confidence is right; the golden answers are only counted.

    The offset is drawn to 0 and the slope to 1, as strongly as a few answers would. Raises GateError without answers.
    """
    import numpy as np

    if not len(correct) or len(correct) != len(confidence):
        raise GateError(f"{len(confidence)} confidences of {len(correct)} answers cannot be learnt from: give one each")
    sure = np.clip(confidence.astype(np.float64), _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    rows = np.column_stack([np.ones(len(sure)), np.log(sure / (1 - sure))])
    target, identity = correct.astype(np.float64), np.array([0.0, 1.0])
    weights = identity.copy()

    def loss(at: "NDArray[np.float64]") -> float:
        score = rows @ at
        return float(np.sum(np.logaddexp(0, score) - target * score) + _PRIOR_STRENGTH * np.sum((at - identity) ** 2))

    for _ in range(_MAX_ITERATIONS):
        chance = 1 / (1 + np.exp(-(rows @ weights)))
        gradient = rows.T @ (chance - target) + 2 * _PRIOR_STRENGTH * (weights - identity)
        hessian = (rows * (chance * (1 - chance))[:, None]).T @ rows + 2 * _PRIOR_STRENGTH * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        step_size = 1.0
        while step_size > 1e-6 and loss(weights - step_size * step) > loss(weights):
            step_size /= 2
        weights = weights - step_size * step
        if float(np.abs(step_size * step).max()) < 1e-9:
            break
    return CalibrationFit(
        round(float(weights[0]), 6), round(float(weights[1]), 6), len(correct), count_by_bin(golden.tolist())
    )
