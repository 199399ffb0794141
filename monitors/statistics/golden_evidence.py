"""What the golden set says about a version's error share, as evidence that multiplies with that of labels.

The error share in production is held against the golden set's, which is known by a few hundred or thousand rows. A
confidence limit would add all that these leave open to what the rule allows. Instead each candidate `q` of the golden
error share is a part of the null hypothesis (`CompositeNull`): "the share is q, and labels show at most q plus the
threshold". The golden counts are an e-value `G(q)` against `q`, labels are a detector against `q` plus the threshold,
and the part is refuted when their product reaches 1, which is wealth of `1 / G(q)`.

For the true `q` the mean of `G(q)` over golden sets is 1. So the expected number of false alarms up to any moment is at
most the budget earned by then, *averaged over golden sets*, for repeated alarms as well, without an exception for
unlucky golden sets. For one golden set it is at most `G(q)` times the budget, and who draws a set that flatters the
version has more. It assumes that the golden rows are drawn independently of the version.

Of several versions compared on the same rows the best one's share is flattered. With `versions` of them, `G(q)` is
divided by the mean that the largest of so many independent `G(q)` has (`expected_largest`: 1.8 of 3, 3.7 of 10, 9 of
50). Then the promise holds for whichever of them is chosen by whatever rule, if their golden counts are independent or
tend to go together, as those of models on the same rows do.

`G` is a mixture of likelihood ratios of the binomial counts against `q`, for smaller shares. In the angle
`a = arcsin(sqrt(q))` a standard deviation is `1 / (2 sqrt(n))` everywhere; the smaller shares lie SHIFTS of these
below. The log-likelihood is concave in `a`, so each ratio, and `G`, rises with `q`. Hence candidates may be taken
together in CELLS intervals, each with `G` at its left end and the bound on errors at its right end: nothing is
approximated.

Golden values between 0 and a largest one (losses, chances to be wrong) have no likelihood. Their evidence against a
mean `q` is a bet on each row that it is below: a mixture over stakes of the product of `1 + stake * (q - value)`, whose
mean is 1 whatever the values' shape (Waudby-Smith and Ramdas 2024). A stake depends on `q` and on the number of rows,
and on nothing that was seen. Each factor rises with `q` at the value 0 and at the largest one, and is linear between
them, so this `G` rises with `q` too. Nothing is known of how such means of several versions go together, so of
`versions` the evidence is divided by their number, which holds however they do.
"""

from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from math import asin, exp, inf, lgamma, log, log1p, pi, sin, sqrt
from typing import Final

from monitors.errors import WindowError
from monitors.statistics.e_detector import CompositeNull

SHIFTS: Final[tuple[tuple[float, float], ...]] = ((1.5, 0.5), (3.0, 0.1))
"""How many standard deviations an alternative lies below the candidate, and its weight; the rest of the weight is 1."""

STAKES_IN_STD: Final[tuple[tuple[float, float], ...]] = ((1.5, 0.3), (3.0, 0.2), (6.0, 0.1))
"""Of golden values: stakes that would be best for a mean so many of the largest possible standard errors below the
candidate, and their weights."""
_MAX_STAKE: Final = 0.95
"""The largest part of what a row of the largest value could lose."""

CELLS: Final = 40
_FIRST_EDGE, _LAST_EDGE = -1.0, 6.0
"""Where cells begin and end, in standard deviations from the golden set's share; the outer ones reach to 0 and 1."""
_REFUTED: Final = 1e6
_HALVINGS: Final = 30
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


def golden_mean_evidence(values: Mapping[float, int], largest: float, mean: float) -> float:
    """The e-value of so many golden rows of each value, up to the largest there can be, against this mean of them."""
    if mean <= 0:
        return 1 - sum(weight for _, weight in STAKES_IN_STD)
    rows, left = sum(values.values()), largest - mean
    evidence = 1 - sum(weight for _, weight in STAKES_IN_STD)
    for shift, weight in STAKES_IN_STD:
        stake = min(_MAX_STAKE / left, shift / sqrt(rows * mean * left))
        logarithm = sum(n * log1p(stake * (mean - value)) for value, n in values.items())
        evidence += weight * exp(min(_MAX_LOG, logarithm))
    return evidence


@lru_cache(maxsize=1_000)
def golden_null(errors: int, total: int, allowed_rise: float, versions: int = 1) -> CompositeNull:
    """The null hypothesis that labels show at most the golden set's true error share plus `allowed_rise`.

    `versions`: among how many that were compared on these golden rows this one was chosen.
    """
    if versions < 1:
        raise WindowError(f"a version chosen among {versions} cannot be; count it as one of them")
    if not 0 <= errors <= total or not total:
        raise WindowError(f"{errors} errors in a golden set of {total} rows cannot be; count it again")
    centre, step = asin(sqrt(errors / total)), 1 / (2 * sqrt(total))
    spacing = (_LAST_EDGE - _FIRST_EDGE) / (CELLS - 2)
    angles = (centre + (_FIRST_EDGE + place * spacing) * step for place in range(CELLS - 1))
    edges = [0.0, *(sin(angle) ** 2 for angle in angles if 0 < angle < pi / 2), 1.0]
    bounds = tuple(min(1.0, max(_MIN_BOUND, right + allowed_rise)) for right in edges[1:])
    largest = [expected_largest(total, edge, versions) for edge in edges]
    goals = tuple(
        max(ends) / golden_evidence(errors, total, left)
        for left, ends in zip(edges[:-1], pairwise(largest), strict=True)
    )
    best = min(_MAX_BEST, max(_MIN_BOUND, errors / total + allowed_rise))
    return CompositeNull(bounds, goals, best)


def golden_mean_null(
    values: Mapping[float, int], largest: float, allowed_rise: float, versions: int = 1
) -> CompositeNull:
    """The null hypothesis that new values have at most the true mean of the golden ones plus `allowed_rise`.

    `values`: how many golden rows have each; `largest`: the largest that any row can have, known before they were seen.
    """
    if versions < 1:
        raise WindowError(f"a version chosen among {versions} cannot be; count it as one of them")
    rows = sum(values.values())
    if not rows or not 0 < largest <= 1 or not all(0 <= value <= largest for value in values):
        raise WindowError(f"{rows} golden values from 0 to {largest} cannot be; measure the golden set again")
    mean = sum(value * n for value, n in values.items()) / rows
    variance = sum((value - mean) ** 2 * n for value, n in values.items()) / rows
    first = mean + _FIRST_EDGE * sqrt(variance / rows)
    last = _refuted_mean(values, largest, mean)
    means = {first + (last - first) * place / (CELLS - 2) for place in range(CELLS - 1)}
    edges = [0.0, *sorted(each for each in means if 0 < each < largest), largest]
    bounds = tuple(min(1.0, max(_MIN_BOUND, right + allowed_rise)) for right in edges[1:])
    goals = tuple(versions / golden_mean_evidence(values, largest, left) for left in edges[:-1])
    return CompositeNull(bounds, goals, min(_MAX_BEST, max(_MIN_BOUND, mean + allowed_rise)))


def _refuted_mean(values: Mapping[float, int], largest: float, mean: float) -> float:
    """A mean that the golden values all but rule out by themselves; the largest value where they rule out none."""
    high = largest * (1 - 1e-9)
    low = min(mean, high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if golden_mean_evidence(values, largest, middle) > _REFUTED else (middle, high)
    return high


@lru_cache(maxsize=10_000)
def expected_largest(total: int, share: float, versions: int) -> float:
    """The mean of the largest evidence against a share which so many versions that truly err by it show; 1 for one.

    Each has its own golden counts, independent of the others'. Exact but for counts nine standard deviations away.
    """
    if versions == 1 or share <= 0 or share >= 1:
        return 1.0
    reach = 9 * sqrt(total * share * (1 - share)) + 5
    counts = range(max(0, int(total * share - reach)), min(total, int(total * share + reach)) + 1)
    at_least, mean = 1.0, 0.0  # the chance that one version has at least so many errors
    for errors in counts:
        choices = lgamma(total + 1) - lgamma(errors + 1) - lgamma(total - errors + 1)
        more = max(0.0, at_least - exp(choices + errors * log(share) + (total - errors) * log1p(-share)))
        mean += (at_least**versions - more**versions) * golden_evidence(errors, total, share)
        at_least = more
    return max(1.0, mean)


def _log_likelihood_ratio(errors: int, total: int, alternative: float, share: float) -> float:
    """How much likelier the counts are under the alternative, as a logarithm."""
    if errors and alternative == 0:
        return -inf
    if share in (0, 1):
        return 0.0
    wrong = errors * log(alternative / share) if errors else 0.0
    right = (total - errors) * (log1p(-alternative) - log1p(-share)) if errors < total else 0.0
    return wrong + right
