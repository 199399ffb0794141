"""Confidence limits for any statistic of rows by a delete-a-group jackknife.

Kott, "The delete-a-group jackknife", Journal of Official Statistics 17 (2001): rows are put into G groups at random,
the statistic is taken again without each group in turn, and (G - 1)/G times the squared differences is its variance,
with G - 1 degrees of freedom for Student's t. It asks for a statistic that changes smoothly with its rows, such as a
mean, a ratio or an F1, and that does not grow with their number: no sum, no maximum.
"""

import math
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from monitors.errors import MetricsError
from monitors.statistics.intervals import Estimate
from monitors.windows.window import Row

RowStatistic = Callable[[Sequence[Row]], float]
GROUP_COUNT: Final = 20


def jackknife_estimate(
    statistic: RowStatistic, rows: Sequence[Row], confidence: float, groups: int = GROUP_COUNT
) -> Estimate:
    """The statistic of all rows, each limit with that confidence; raises MetricsError for what is no number.

    A row's group follows from its prediction id, so that the same rows give the same limits everywhere.
    """
    from scipy.special import stdtrit

    value = _finite_number(statistic(rows))
    members = [_group_of(row, groups) for row in rows]
    present = sorted(set(members))
    if len(present) < 2:
        raise MetricsError(f"{len(rows)} rows make no interval; raise min_samples")
    without = [
        _finite_number(statistic([row for row, mine in zip(rows, members, strict=True) if mine != group]))
        for group in present
    ]
    freedom = len(present) - 1
    spread = math.sqrt(freedom / len(present) * sum((replicate - value) ** 2 for replicate in without))
    reach = float(stdtrit(freedom, confidence)) * spread
    return Estimate(value, value - reach, value + reach, len(rows))


def _group_of(row: Row, groups: int) -> int:
    return int.from_bytes(sha256(row.prediction_id.encode()).digest()[:8], "big") % groups


def _finite_number(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise MetricsError(f"a metric must be one number, not {str(value)[:200]!r}; return a float") from error
    if not math.isfinite(number):
        raise MetricsError(f"a metric must be a finite number, not {number}; return a float for any rows")
    return number
