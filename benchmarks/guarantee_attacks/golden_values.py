"""Attacks on rules by what they are held against: golden losses by cost, golden chances to be wrong, few golden days.

The golden set is drawn anew in each run, because the budget is promised on average over golden sets. Production is then
worse by exactly what the rule allows, in different ways. A detector that alarms begins anew at once.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.guarantee_attacks import Attack, rate_attack
from benchmarks.guarantee_attacks.labels import BUDGET, CLASS, DAYS, START, Answer, count_alarms
from monitors.decisions.performance_estimation import MinuteCounts, update_performance_detector
from monitors.rules.alerts_config import Rule
from monitors.statistics.e_detector import Observation, restart_detector, start_detector, update_detector
from monitors.statistics.golden_evidence import golden_null
from monitors.windows.window import Baseline, ErrorByConfidence

PER_DAY: Final = 50
"""Labels of `loss_rise`, and blocks of answers of `expected_drop`."""
BLOCK: Final = 20
ALLOWED: Final = 0.005
LOSSES: Final[Mapping[float, float]] = {0.0: 0.965, 0.2: 0.025, 1.0: 0.010}
"""The share of golden rows of each loss: small mistakes and grave ones."""
CHANCES: Final[Mapping[int, float]] = {0: 0.5, 1: 0.2, 2: 0.05, 3: 0.001}
"""The chance to be wrong at each step of confidence."""
STEPS: Final[Mapping[int, float]] = {0: 0.004, 1: 0.016, 2: 0.08, 3: 0.90}
"""The share of golden rows on each step."""
ROWS_A_DAY: Final = 800
USUAL, ALLOWED_BY_DAY = 0.22, 0.02
"""Of a table whose days go wrong together: the usual share of errors, and how much more the rule allows."""
YEARS: Final = 2
Generator = np.random.Generator


def run_attacks(quick: bool) -> Iterator[Attack]:
    """Every attack on rules about golden values."""
    runs = 12 if quick else 120
    yield from _losses(runs)
    yield from _expected_errors(runs)
    yield from _few_golden_days(2 * runs)


def _losses(runs: int) -> Iterator[Attack]:
    """`loss_rise` at its limit: by grave mistakes, by small ones, in clumps, and chosen by the golden rows."""
    for name, golden, worst, size, versions in (
        ("by-grave-mistakes-400-golden-rows", 400, 1.0, 1, 1),
        ("by-grave-mistakes-3000-golden-rows", 3_000, 1.0, 1, 1),
        ("by-small-mistakes-400-golden-rows", 400, 0.2, 1, 1),
        ("in-requests-of-5", 3_000, 1.0, 5, 1),
        ("best-of-10-on-400-golden-rows", 400, 1.0, 1, 10),
    ):
        counts = []
        for seed in range(runs):
            draw = np.random.default_rng(seed)
            baseline = _golden_losses(draw, golden, versions)
            answers = _costly_answers(draw, worst, size)
            counts.append(count_alarms(loss_rule(), baseline, answers, DAYS + 1))
        yield rate_attack(f"loss-rise-at-the-limit-{name}", "2b", 1.0, counts)


def loss_rule() -> Rule:
    """A rule about the mean loss, half a point of the worst mistake's more than golden."""
    return Rule.model_validate(
        {"name": "loss-rise", "metric": "loss_rise", "above": "0.5 points", "window": "7d", "min_samples": 5}
        | {"false_alarms": "1 per 90d"}
    )


def _golden_losses(draw: Generator, rows: int, versions: int) -> Baseline:
    """The golden losses of the best of so many equal versions, each on rows drawn by itself."""
    losses = np.array(list(LOSSES))
    counts = draw.multinomial(rows, list(LOSSES.values()), versions)
    best = counts[np.argmin(counts @ losses)]
    golden = dict(zip(LOSSES, best.tolist(), strict=True))
    return Baseline(golden[0.0], rows, {}, golden_versions=versions, golden_losses=golden)


def _costly_answers(draw: Generator, worst: float, size: int) -> list[Answer]:
    """Answers that lose half a point more than golden ones on average, by more mistakes of one loss."""
    shares = dict(LOSSES)
    shares[worst] += ALLOWED / worst
    shares[0.0] -= ALLOWED / worst
    drawn = draw.choice(list(shares), DAYS * PER_DAY // size, p=list(shares.values())).tolist()
    answers = []
    for number, loss in enumerate(drawn):
        day = number * size / PER_DAY
        one = Answer(day, loss > 0, {"audit": day + 0.02}, truth=CLASS, request=f"sheet {number}", loss=loss)
        answers += [one] * size
    return answers


def _expected_errors(runs: int) -> Iterator[Attack]:
    """`expected_drop` at its limit, all the time; and chosen by the golden rows."""
    for name, golden, versions in (
        ("400-golden-rows", 400, 1),
        ("3000-golden-rows", 3_000, 1),
        ("best-of-10-on-400-golden-rows", 400, 10),
    ):
        counts = [_expected_drop_alarms(np.random.default_rng(seed), golden, versions) for seed in range(runs)]
        yield rate_attack(f"expected-drop-at-the-limit-{name}", "2b", 1.0, counts)


def expected_drop_rule() -> Rule:
    """A rule about the accuracy to expect, half a point below the golden one."""
    return Rule.model_validate(
        {"name": "expected-drop", "metric": "expected_drop", "above": "0.5 points", "window": "1d", "min_samples": 20}
        | {"false_alarms": "1 per 90d"}
    )


def _expected_drop_alarms(draw: Generator, golden: int, versions: int) -> int:
    """The alarms of 90 days in which answers are expected to be wrong half a point more often than golden ones."""
    chances, shares = np.array(list(CHANCES.values())), np.array(list(STEPS.values()))
    counts = draw.multinomial(golden, shares, versions)
    best = counts[np.argmin(counts @ chances)]
    errors = ErrorByConfidence(CHANCES, {step: n for step, n in enumerate(best.tolist()) if n})
    moved = ALLOWED / (chances[1] - chances[3])
    worse = shares + moved * np.array([0, 1, 0, -1])
    minutes = [
        MinuteCounts(
            number,
            START + timedelta(days=number / PER_DAY),
            {step: n for step, n in enumerate(drawn) if n},
        )
        for number, drawn in enumerate(draw.multinomial(BLOCK, worse, DAYS * PER_DAY).tolist(), 1)
    ]
    return count_expected_alarms(expected_drop_rule(), errors, minutes, versions)


def count_expected_alarms(rule: Rule, errors: ErrorByConfidence, minutes: list[MinuteCounts], versions: int = 1) -> int:
    """How many alarms the rule raises on these minutes."""
    detector, found = None, 0
    while minutes:
        detector, _ = update_performance_detector(rule, errors, detector, minutes, START, versions)
        if detector.alarmed_at is None:
            break
        found, alarmed_at = found + 1, detector.alarmed_at
        minutes = [each for each in minutes if each.at > alarmed_at]
        detector = restart_detector(detector, alarmed_at)
    return found


def _few_golden_days(runs: int) -> Iterator[Attack]:
    """Golden rows of a few days, that are counted one by one though they go wrong by the day; the rule reads days."""
    for golden_days, spread in ((12, 0.08), (12, 0.12), (5, 0.12)):
        counts = [_alarms_by_day(np.random.default_rng(seed), golden_days, spread) for seed in range(runs)]
        rates = [count * DAYS / (365 * YEARS) for count in counts]
        yield rate_attack(f"{golden_days}-golden-days-that-spread-by-{100 * spread:g}-points", "1d", 1.0, rates)


def _alarms_by_day(draw: Generator, golden_days: int, spread: float) -> int:
    """The alarms of two years whose days are on average as bad as is just allowed."""
    golden = _days(draw, golden_days, USUAL, spread)
    null = golden_null(int(golden.sum()), golden_days * ROWS_A_DAY, ALLOWED_BY_DAY)
    shares = _days(draw, 365 * YEARS, USUAL + ALLOWED_BY_DAY, spread) / ROWS_A_DAY
    days = [Observation(START + timedelta(days=day), float(share)) for day, share in enumerate(shares, 1)]
    detector, found = start_detector(null, START - timedelta(hours=1)), 0
    while days:
        before = detector.n
        detector = update_detector(detector, days, BUDGET, min_samples=5)
        if detector.alarmed_at is None:
            break
        days, found = days[detector.n - before :], found + 1
        detector = restart_detector(detector, detector.at)
    return found


def _days(draw: Generator, count: int, mean: float, spread: float) -> NDArray[np.int64]:
    """The errors of each day, whose share is a beta variable."""
    size = mean * (1 - mean) / spread**2 - 1
    return draw.binomial(ROWS_A_DAY, draw.beta(mean * size, (1 - mean) * size, count))
