"""Median labels from a drop of accuracy to its alarm, by golden set and drop: what guarantees must not cost."""

from typing import Final

import numpy as np

from benchmarks.detection_delay import MIN_SAMPLES, PERIOD_DAYS, USUAL, NullKind, make_null
from monitors.statistics.detection_simulation import StreamSettings, days_until_alarm

GOLDEN_SIZES: Final = (400, 1_000, 3_000, 10_000)
DROPS: Final = (0.01, 0.02, 0.05, 0.10)
PER_DAY: Final = 100.0
_HEALTHY_DAYS: Final = 14.0


def median_labels(quick: bool) -> dict[str, tuple[float | None, float | None]]:
    """With the golden set's confidence limit, as before, and with its evidence; None where more than half find none."""
    days, runs = (60.0, 30) if quick else (300.0, 100)
    return {
        f"golden {golden:,}, -{100 * drop:g} points": (
            _median("limit", golden, drop, days, runs),
            _median("product", golden, drop, days, runs),
        )
        for golden in GOLDEN_SIZES
        for drop in DROPS
    }


def _median(kind: NullKind, golden: int, drop: float, days: float, runs: int) -> float | None:
    null = make_null(kind, round(USUAL * golden), golden)
    budget = 1 / (PERIOD_DAYS * 86_400)
    settings = StreamSettings(null.bounds, null.goals, PER_DAY, budget, MIN_SAMPLES)
    found = np.median(days_until_alarm(settings, USUAL, [USUAL + drop], days, runs, _HEALTHY_DAYS, seed=7))
    return round(PER_DAY * float(found)) if found < np.inf else None
