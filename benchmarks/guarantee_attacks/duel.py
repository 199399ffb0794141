"""Attacks on the comparison of a new version with the one before: an equal version that labels make look worse.

Every attack is a week of answers on which the two versions differ, under a version that is as good: in clumps, worse at
weekends and better on weekdays, its errors known before its right answers, its right answers never labelled. `before`
is how often the former test sent such a version back, which read every label by itself as soon as it came.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.guarantee_attacks import Attack, share_attack
from monitors.decisions.version_comparison import ComparisonTerms, DifferingAnswer, compare_versions

Floats = NDArray[np.float64]
START: Final = datetime(2026, 1, 3, tzinfo=UTC)
"""A Saturday."""
DAY: Final = timedelta(days=1)
DAYS: Final = 7
LOOKS: Final = (1, 2, 4, 7, 10, 12, 16)
"""On these days the comparison is looked at: after each weekend, the week, and the days at which labels are mature."""
PROMISED: Final = 0.01
LEVEL: Final = 0.008
"""The part of `false_rollbacks: 1 per 100 promotions` that labels may spend."""
MARGIN: Final = 0.05
NEVER: Final = np.inf
FORMER_STAKES: Final = np.array([0.02 * 45 ** (place / 7) for place in range(8)])


@dataclass(frozen=True)
class Week:
    """The answers of one week on which the versions differ; times in days since the promotion.

    `difference`: 1 where only the version before is right, -1 where only the new one is. `known` is when the label
    comes, `drawn` whether it is one of those drawn for review; `compared` answers a day were put to both versions.
    """

    at: Floats
    block: Floats
    difference: Floats
    known: Floats
    drawn: bool
    compared: float


Scenario = Callable[[np.random.Generator], Week]


def clumps(size: int, per_day: int, share: float = 0.04) -> Scenario:
    """Requests of so many answers each; where the versions differ on one they differ on all, all the same way."""

    def week(generator: np.random.Generator) -> Week:
        requests = generator.binomial(round(DAYS * per_day / size), share)
        at = np.sort(generator.uniform(0, DAYS, requests))
        difference = generator.choice([-1.0, 1.0], requests)
        known = np.repeat(at, size) + 0.01
        return Week(
            np.repeat(at, size),
            np.repeat(np.arange(float(requests)), size),
            np.repeat(difference, size),
            known,
            True,
            per_day,
        )

    return week


def weekends(per_day: int, weekend: float = 0.036, weekday: float = -0.0144, differing: float = 0.04) -> Scenario:
    """Worse on Saturday and Sunday, better on weekdays, equal over the week; promoted on Saturday."""

    def week(generator: np.random.Generator) -> Week:
        days = np.repeat(np.arange(DAYS), generator.poisson(per_day * differing, DAYS))
        at = days + generator.uniform(0, 1, len(days))
        loss = np.where(days < 2, weekend, weekday) / differing
        difference = np.where(generator.uniform(size=len(at)) < (1 + loss) / 2, 1.0, -1.0)
        return Week(at, np.arange(float(len(at))), difference, at + 0.01, True, per_day)

    return week


def errors_first(per_day: int, *, fixed: bool, share: float = 0.06) -> Scenario:
    """The new version's errors are known after a day, its right answers after seven: exactly, or on average."""

    def week(generator: np.random.Generator) -> Week:
        at, difference = _even_week(generator, per_day, share)
        mean = np.where(difference > 0, 1.0, 7.0)
        lag = mean if fixed else generator.exponential(mean)
        return Week(at, np.arange(float(len(at))), difference, at + lag, False, per_day)

    return week


def right_answers_unlabelled(per_day: int, share: float = 0.04) -> Scenario:
    """Half of the new version's right answers are never labelled."""

    def week(generator: np.random.Generator) -> Week:
        at, difference = _even_week(generator, per_day, share)
        missing = (difference < 0) & (generator.uniform(size=len(at)) < 0.5)
        return Week(at, np.arange(float(len(at))), difference, np.where(missing, NEVER, at + 1.0), False, per_day)

    return week


def _even_week(generator: np.random.Generator, per_day: int, share: float) -> tuple[Floats, Floats]:
    n = generator.poisson(DAYS * per_day * share)
    return np.sort(generator.uniform(0, DAYS, n)), generator.choice([-1.0, 1.0], n)


def is_sent_back(week: Week, mature: float = 9.0, looks: Sequence[int] = LOOKS) -> bool:
    """Whether the comparison, looked at on these days, ever sends the version back."""
    terms = ComparisonTerms(START, START + DAYS * DAY, LEVEL, MARGIN, mature * DAY)
    columns = (week.at, week.block, week.difference, week.known)
    rows = [tuple(map(float, row)) for row in zip(*columns, strict=True)]
    for day in looks:
        answers = [_answer(row, week.drawn, day) for row in rows if row[0] <= day]
        compared = round(week.compared * min(day, DAYS))
        old_enough = round(week.compared * min(max(0.0, day - mature), DAYS))
        if compare_versions(answers, compared, old_enough, terms, START + day * DAY).proved_worse:
            return True
    return False


def _answer(row: tuple[float, ...], drawn: bool, day: float) -> DifferingAnswer:
    at, block, difference, known = row
    moment = START + at * DAY
    if known > day:
        return DifferingAnswer(moment, str(block), moment, None, float(drawn), drawn)
    label_at = START + known * DAY
    reviewed_at, delayed_at = (label_at, None) if drawn else (None, label_at)
    return DifferingAnswer(moment, str(block), moment, int(difference), float(drawn), drawn, reviewed_at, delayed_at)


def was_sent_back(week: Week) -> bool:
    """Whether the former test sent the version back: every label by itself, in the order in which they came."""
    in_time = week.known <= DAYS
    outcomes = week.difference[in_time][np.argsort(week.known[in_time], kind="stable")]
    wealth = np.exp(np.minimum(700, np.cumsum(np.log1p(np.outer(outcomes, FORMER_STAKES)), axis=0)))
    return bool((wealth.mean(axis=1) >= 1 / LEVEL).any())


ATTACKS: Final[dict[str, Scenario]] = {
    **{
        f"clumps-of-{size}-at-{per_day}-a-day": clumps(size, per_day)
        for per_day in (100, 1000)
        for size in (2, 5, 10, 20)
    },
    **{f"worse-at-weekends-at-{per_day}-a-day": weekends(per_day) for per_day in (100, 1000)},
    "errors-after-1-d-right-after-7-d": errors_first(100, fixed=True),
    **{f"errors-sooner-exponential-at-{per_day}-a-day": errors_first(per_day, fixed=False) for per_day in (100, 1000)},
    **{f"right-answers-unlabelled-at-{per_day}-a-day": right_answers_unlabelled(per_day) for per_day in (100, 1000)},
    "equal-and-independent-at-100-a-day": clumps(1, 100),
    "equal-and-independent-at-1000-a-day": clumps(1, 1000),
}


def run_attacks(quick: bool) -> Iterator[Attack]:
    """How often each attack sends an equal version back, and how often a loss of a point is missed."""
    for number, (name, scenario) in enumerate(ATTACKS.items()):
        generator = np.random.default_rng(100 + number)
        many = (20, 400) if name.endswith("-1000-a-day") else (60, 1500)
        runs = many[0] if quick else many[1]
        weeks = [scenario(generator) for _ in range(runs)]
        before = sum(map(was_sent_back, weeks)) / runs
        yield share_attack(f"duel-{name}", "4", PROMISED, sum(map(is_sent_back, weeks)), runs, before)
    runs = 100 if quick else 2000
    missed = sum(not found for found in _losses_found(99, 700, runs))
    former = sum(not found for found in _losses_found(99, 21, runs)) / runs
    yield share_attack(
        "duel-minus-1-point-missed-in-700-labels-drawn-where-versions-differ", "4", PROMISED, missed, runs, former
    )


def disagreement_labels(quick: bool) -> float:
    """So many labels a week, drawn where the versions differ, find a loss of one point in half of the weeks."""
    runs, fewest, most = 60 if quick else 400, 1, 700
    while fewest < most:
        labels = (fewest + most) // 2
        found = sum(_losses_found(98, labels, runs))
        fewest, most = (fewest, labels) if 2 * found >= runs else (labels + 1, most)
    return float(fewest)


def _losses_found(seed: int, labels: int, runs: int) -> list[bool]:
    """Whether weeks of so many labels on answers that differ prove a version one point worse: 2 % lost, 1 % won.

    Of 700 labels drawn at random 21 would lie on such answers.
    """
    generator = np.random.default_rng(seed)
    return [is_sent_back(_losing_week(generator, labels), looks=(DAYS + 1,)) for _ in range(runs)]


def _losing_week(generator: np.random.Generator, labels: int) -> Week:
    at = np.sort(generator.uniform(0, DAYS, labels))
    difference = np.where(generator.uniform(size=labels) < 2 / 3, 1.0, -1.0)
    return Week(at, np.arange(float(labels)), difference, at + 0.01, True, labels / DAYS / 0.03)
