"""What the golden set says about a version's error share, as evidence that multiplies with that of labels.

The error share in production is held against the golden set's, which is known by a few hundred or thousand rows. A
confidence limit would add all that these leave open to what the rule allows. Instead each candidate `q` of the golden
error share is a part of the null hypothesis (`CompositeNull`): "the share is q, and labels show at most q plus the
threshold". The golden counts are an e-value `G(q)` against `q`, labels are a detector against `q` plus the threshold,
and the part is refuted when their product reaches 1, which is wealth of `1 / G(q)`.

For the true `q` the mean of `G(q)` over golden sets is 1. So the expected number of false alarms up to any moment is at
most the budget earned by then, *averaged over golden sets*, for repeated alarms as well, without an exception for
unlucky golden sets. For one golden set it is at most `G(q)` times the budget, and who draws a set that flatters the
version has more. It assumes that the golden rows are drawn independently of the version: of versions chosen by the
same rows, the best one's share is flattered.

`G` is a mixture of likelihood ratios of the binomial counts against `q`, for smaller shares. In the angle
`a = arcsin(sqrt(q))` a standard deviation is `1 / (2 sqrt(n))` everywhere; the smaller shares lie SHIFTS of these
below. The log-likelihood is concave in `a`, so each ratio, and `G`, rises with `q`. Hence candidates may be taken
together in CELLS intervals, each with `G` at its left end and the bound on errors at its right end: nothing is
approximated.
"""

from math import asin, exp, inf, log, log1p, pi, sin, sqrt
from typing import Final

from monitors.errors import WindowError
from monitors.statistics.e_detector import CompositeNull

SHIFTS: Final[tuple[tuple[float, float], ...]] = ((1.5, 0.5), (3.0, 0.1))
"""How many standard deviations an alternative lies below the candidate, and its weight; the rest of the weight is 1."""

CELLS: Final = 40
_FIRST_EDGE, _LAST_EDGE = -1.0, 6.0
"""Where cells begin and end, in standard deviations from the golden set's share; the outer ones reach to 0 and 1."""
_MIN_BOUND: Final = 1e-4
_MAX_BEST: Final = 0.999
_MAX_LOG: Final = 500.0


def golden_evidence(errors: int, total: int, share: float) -> float:
    """The e-value of a golden set of this many errors against this error share; it rises with the share."""
    angle, step = asin(sqrt(share)), 1 / (2 * sqrt(total))
    evidence = 1 - sum(weight for _, weight in SHIFTS)
    for shift, weight in SHIFTS:
        alternative = sin(max(0.0, angle - shift * step)) ** 2
        evidence += weight * exp(min(_MAX_LOG, _log_likelihood_ratio(errors, total, alternative, share)))
    return evidence


def golden_null(errors: int, total: int, allowed_rise: float) -> CompositeNull:
    """The null hypothesis that labels show at most the golden set's true error share plus `allowed_rise`."""
    if not 0 <= errors <= total or not total:
        raise WindowError(f"{errors} errors in a golden set of {total} rows cannot be; count it again")
    centre, step = asin(sqrt(errors / total)), 1 / (2 * sqrt(total))
    spacing = (_LAST_EDGE - _FIRST_EDGE) / (CELLS - 2)
    angles = (centre + (_FIRST_EDGE + place * spacing) * step for place in range(CELLS - 1))
    edges = [0.0, *(sin(angle) ** 2 for angle in angles if 0 < angle < pi / 2), 1.0]
    bounds = tuple(min(1.0, max(_MIN_BOUND, right + allowed_rise)) for right in edges[1:])
    goals = tuple(1 / golden_evidence(errors, total, left) for left in edges[:-1])
    best = min(_MAX_BEST, max(_MIN_BOUND, errors / total + allowed_rise))
    return CompositeNull(bounds, goals, best)


def _log_likelihood_ratio(errors: int, total: int, alternative: float, share: float) -> float:
    """How much likelier the counts are under the alternative, as a logarithm."""
    if errors and alternative == 0:
        return -inf
    if share in (0, 1):
        return 0.0
    wrong = errors * log(alternative / share) if errors else 0.0
    right = (total - errors) * (log1p(-alternative) - log1p(-share)) if errors < total else 0.0
    return wrong + right
