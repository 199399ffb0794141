"""Whether rare classes, put together in one detector, find what a rule about accuracy and one by class do not.

    python -m benchmarks.rare_classes

Simulates 90 days of 100 independent labels a day, 1 % of them wrong, after 14 days in which budget was earned. Some
rare classes break at once. Days until an alarm, median of five runs: of their own detectors (10 % allowed, one false
alarm in 90 days shared by all classes, e-BH at the end of each day), of one detector of all labels of rare classes with
a tenth of that budget, and of the accuracy rule (half a point over 1 000 golden rows). The last line is JSON.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from monitors.statistics.e_detector import (
    CompositeNull,
    Observation,
    e_bh,
    simple_null,
    start_detector,
    update_detector,
)
from monitors.statistics.golden_evidence import golden_null

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
BUDGET: Final = 1 / timedelta(days=90).total_seconds()
PER_DAY, DAYS, RUNS, USUAL, LEAST = 100, 90, 5, 0.01, 5
EARNED: Final = timedelta(days=14)
ALLOWED, POOL_SHARE = 0.1, 0.1
TRAFFIC: Final = ((62, 12, 0.2), (200, 0, 1.0), (1000, 0, 1.0))
"""How many classes there are, how many of them are common, and the share of answers on the rare ones."""


def days_by_rule(classes: int, common: int, rare_share: float, broken: int, share: float, seed: int) -> list[float]:
    """The days until the rare classes alone, their common detector, and the accuracy rule alarm; infinity for never."""
    draw, rare = np.random.default_rng(seed), classes - common
    chances = np.r_[np.full(common, (1 - rare_share) / max(common, 1)), np.full(rare, rare_share / rare)]
    shown = draw.choice(classes, PER_DAY * DAYS, p=chances)
    errors = np.full(classes, USUAL)
    errors[common : common + broken] = share
    wrong = draw.random(len(shown)) < errors[shown]
    labels = [
        Observation(START + timedelta(days=(place + 1) / PER_DAY), float(bad))
        for place, bad in enumerate(wrong.tolist())
    ]
    pooled = [label for label, name in zip(labels, shown.tolist(), strict=True) if name >= common]
    of_broken = {
        name: [labels[place] for place in np.flatnonzero(shown == name)] for name in range(common, common + broken)
    }
    return [
        _first_alarm_by_class(list(of_broken.values()), classes),
        _first_alarm(pooled, simple_null(ALLOWED), POOL_SHARE),
        _first_alarm(labels, golden_null(10, 1000, 0.005), 1.0),
    ]


def _first_alarm(labels: Sequence[Observation], null: CompositeNull, budget_share: float) -> float:
    found = update_detector(start_detector(null, START - EARNED), labels, BUDGET, LEAST, budget_share).alarmed_at
    return float("inf") if found is None else (found - START) / timedelta(days=1)


def _first_alarm_by_class(by_class: Sequence[Sequence[Observation]], classes: int) -> float:
    detectors = {str(name): start_detector(simple_null(ALLOWED), START - EARNED) for name in range(len(by_class))}
    for day in range(1, DAYS + 1):
        begin, end = START + timedelta(days=day - 1), START + timedelta(days=day)
        for name, labels in enumerate(by_class):
            new = [label for label in labels if begin < label.at <= end]
            never_alone = PER_DAY * DAYS + 1  # e-BH alarms, over all of them
            detectors[str(name)] = update_detector(detectors[str(name)], new, BUDGET, never_alone, 1 / classes)
        if e_bh({name: found.evidence for name, found in detectors.items() if found.n >= LEAST}):
            return float(day)
    return float("inf")


def main() -> None:
    """Print the table, and the figures as JSON."""
    figures: dict[str, list[float]] = {}
    for classes, common, rare_share in TRAFFIC:
        rare = classes - common
        for broken, share in ((1, 1.0), (rare // 10, 1.0), (rare // 2, 0.3), (rare, 0.3), (rare, 0.15)):
            runs = [days_by_rule(classes, common, rare_share, broken, share, seed) for seed in range(RUNS)]
            alone, together, accuracy = np.median(np.array(runs), axis=0).round(1).tolist()
            name = f"{classes} classes, {rare} rare, {broken} of them wrong in {share:.0%}"
            figures[name] = [alone, together, accuracy]
            print(f"{name}: alone {alone}, together {together}, accuracy {accuracy} days", flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
