"""Says what a rule about shares of a column can find at one look, given how many rows its window has."""

from typing import Final

from monitors.rules.alerts_config import Rule
from monitors.statistics.intervals import binomial_tail, clopper_pearson, smallest_sufficient

FOUND_SHARE: Final = 0.9
"""A rise is called found where so many looks find it."""
_STEPS: Final = 1_000
"""Rises are tried in steps of a tenth of a point."""


def smallest_rise_found(rule: Rule, rows: int, columns: int, reference_rows: int) -> float | None:
    """The smallest rise, from nothing, that nine of ten looks find in one of so many columns; None where none is.

    As `column_shares` decides: at the look's level over the number of columns, half of it for either share.
    """
    if rows < rule.min_samples or not columns:
        return None
    half = 1 - (1 - rule.confidence) / columns / 2
    before = clopper_pearson(0, reference_rows, half)[1] if reference_rows else 0.0
    confidence = half if reference_rows else 2 * half - 1

    def proves(count: int) -> bool:
        return count <= rows and clopper_pearson(count, rows, confidence)[0] - before > rule.threshold

    needed = smallest_sufficient(lambda count: proves(min(count, rows)))
    if needed is None or not proves(needed):
        return None
    step = smallest_sufficient(lambda step: binomial_tail(needed, rows, min(1.0, step / _STEPS)) >= FOUND_SHARE)
    return None if step is None else min(1.0, step / _STEPS)
