"""How many labels a drop of accuracy takes to be found, and how often a healthy model is blamed, by golden set.

    python -m benchmarks.detection_delay [--quick]

Simulates the detector of an accuracy rule (`above: 0.5 points`, one false alarm in 90 days) with independent labels,
many runs at once, against the null of the platform (`golden_null`) and against the one before it (the golden set's
upper confidence limit plus the threshold). `simulate` is written anew and checked to be the detector's arithmetic in
`benchmarks/tests/test_detection_delay.py`. The last line is JSON.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from monitors.statistics.e_detector import EARNED_LIMIT, STAKES, CompositeNull, simple_null
from monitors.statistics.golden_evidence import golden_null
from monitors.statistics.intervals import clopper_pearson

Array = NDArray[np.float64]
NullKind = Literal["product", "limit", "known"]
"""By golden evidence; by the golden set's confidence limit; to compare with, by the golden share as if known."""

USUAL: Final = 0.01
THRESHOLD: Final = 0.005
PERIOD_DAYS: Final = 90.0
FIRST_BUDGET_DAYS: Final = 1 / 24
MIN_SAMPLES: Final = 20
CONFIDENCE: Final = 0.99
GOLDEN_SIZES: Final = (400, 1000, 3000, 10_000)
DROPS: Final = (0.01, 0.02, 0.05, 0.10)


@dataclass(frozen=True)
class Alarms:
    """Of each run: after how many labels it first alarmed, infinity for never; and how often in all."""

    first: Array
    counts: Array


def make_null(
    kind: NullKind, errors: int, golden: int, threshold: float = THRESHOLD, versions: int = 1
) -> CompositeNull:
    """The null hypothesis of an accuracy rule for a golden set with so many errors."""
    if kind == "product":
        return golden_null(errors, golden, threshold, versions)
    share = errors / golden if kind == "known" else clopper_pearson(errors, golden, CONFIDENCE)[1]
    return simple_null(min(0.999, share + threshold))


def simulate(
    nulls: Sequence[CompositeNull],
    shares: Array,
    per_day: float,
    seed: int,
    *,
    starts_anew: bool = False,
    min_samples: int = MIN_SAMPLES,
) -> Alarms:
    """Runs side by side, one for each null; `shares` is the chance of each label in turn to be wrong.

    A run ends with its first alarm, or starts anew after each.
    """
    draw, runs = np.random.default_rng(seed), len(nulls)
    parts = max(len(null.bounds) for null in nulls)
    bounds, goals = (
        np.array([(*values, *values[-1:] * (parts - len(values))) for values in column])
        for column in ([null.bounds for null in nulls], [null.goals for null in nulls])
    )
    first, counts, running = np.full(runs, np.inf), np.zeros(runs), np.arange(runs)
    bets = np.where(bounds < 1, 1 / bounds, 0.0)[..., None] * np.array(STAKES)
    wealth, read, targets = np.zeros(bets.shape), np.zeros(runs), goals * (1 + 1e-9)
    for label, share in enumerate(shares.tolist()):
        wrong = draw.random(runs)[running] < share
        earned = (1 / per_day + (FIRST_BUDGET_DAYS if label == 0 else 0.0)) / PERIOD_DAYS
        held = wealth.sum(axis=-1)
        added = np.minimum(earned, np.maximum(EARNED_LIMIT - held, 0.0))
        wealth += (added / len(STAKES))[..., None]
        read += 1
        most = (1 - bounds) * np.einsum("rps,rps->rp", wealth, bets)
        part = np.minimum(np.maximum(targets - held - added, 0.0) / np.maximum(most, 1e-300), 1.0)
        part = np.where((read < min_samples)[:, None], 1.0, part)
        wealth *= 1 + bets * (part * (wrong[:, None] - bounds))[..., None]
        alarmed = (wealth.sum(axis=-1) >= goals).all(axis=-1) & (read >= min_samples)
        if not alarmed.any():
            continue
        counts[running[alarmed]] += 1
        first[running[alarmed]] = np.minimum(first[running[alarmed]], label + 1)
        if starts_anew:
            wealth[alarmed], read[alarmed] = 0.0, 0
        else:
            on = ~alarmed
            running, wealth, read, bounds, goals = running[on], wealth[on], read[on], bounds[on], goals[on]
            bets, targets = bets[on], targets[on]
            if not len(running):
                break
    return Alarms(first, counts)


def median_labels(
    golden: int,
    drop: float,
    per_day: float,
    kind: NullKind = "product",
    *,
    usual: float = USUAL,
    runs: int = 100,
    most: int = 20_000,
    versions: int = 1,
    seed: int = 1,
) -> float | None:
    """The median number of labels until a drop is found, the golden set at its expectation; None if most never do.

    The drop is there from the version's first label on.
    """
    null = make_null(kind, round(usual * golden), golden, versions=versions)
    first = simulate([null] * runs, np.full(most, usual + drop), per_day, seed).first
    median = float(np.median(first))
    return median if np.isfinite(median) else None


def false_alarms(
    golden: int,
    rise: float,
    per_day: float,
    kind: NullKind = "product",
    *,
    usual: float = USUAL,
    runs: int = 200,
    days: float = PERIOD_DAYS,
    versions: int = 1,
    seed: int = 2,
) -> tuple[float, float]:
    """False alarms in 90 days, averaged over golden sets, with its standard error; the budget is 1.

    Each run draws a golden set of a model that errs at its usual share, then labels of one that errs by `rise` more.
    `versions`: the golden set is the best of so many, as if the best of equal candidates had been promoted.
    """
    errors = np.random.default_rng(seed).binomial(golden, usual, (runs, versions)).min(axis=1)
    nulls = [make_null(kind, int(fewest), golden, versions=versions) for fewest in errors]
    counts = simulate(nulls, np.full(int(days * per_day), usual + rise), per_day, seed, starts_anew=True).counts
    scale = PERIOD_DAYS / days
    return float(counts.mean()) * scale, float(counts.std() / np.sqrt(runs)) * scale


def line_false_alarms(
    golden: int, rise: float, per_day: float, versions: int, *, usual: float = USUAL, runs: int = 200, seed: int = 3
) -> tuple[float, float]:
    """False alarms in 90 days of a line of champions, with its standard error; the budget is 1.

    In 90 days so many versions of equal quality come, one after the other, and each takes the champion's place if it
    errs on fewer golden rows. The worst a choice by the golden rows alone can do.
    """
    days = PERIOD_DAYS / versions
    by_length = defaultdict[int, list[tuple[int, int, int]]](list)
    for run, errors in enumerate(np.random.default_rng(seed).binomial(golden, usual, (runs, versions)).tolist()):
        starts = [place for place in range(versions) if errors[place] < min(errors[:place], default=golden + 1)]
        for start, end in pairwise([*starts, versions]):
            by_length[end - start].append((run, errors[start], start + 1))
    counts = np.zeros(runs)
    for steps, reigns in by_length.items():
        nulls = [make_null("product", fewest, golden, versions=compared) for _, fewest, compared in reigns]
        shares = np.full(round(steps * days * per_day), usual + rise)
        found = simulate(nulls, shares, per_day, seed + steps, starts_anew=True).counts
        np.add.at(counts, [run for run, _, _ in reigns], found)
    return float(counts.mean()), float(counts.std() / np.sqrt(runs))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer runs, and no more than 4 000 labels each")
    quick = parser.parse_args().quick
    runs, most, per_day = (30, 4000, 100.0) if quick else (100, 20_000, 100.0)
    delays: dict[str, dict[NullKind, float | None]] = {}
    for golden in GOLDEN_SIZES:
        for drop in DROPS:
            kinds: tuple[NullKind, ...] = ("limit", "product", "known")
            found = {kind: median_labels(golden, drop, per_day, kind, runs=runs, most=most) for kind in kinds}
            delays[f"{golden} rows, -{100 * drop:g} points"] = found
            print(f"golden {golden}, {100 * drop:g} points: {found}", flush=True)
    blamed = {}
    for golden in GOLDEN_SIZES:
        for rise in (0.0, THRESHOLD):
            rate, error = false_alarms(golden, rise, per_day, runs=runs * 2)
            blamed[f"{golden} rows, +{100 * rise:g} points"] = round(rate, 3)
            print(f"golden {golden}, {100 * rise:g} points worse: {rate:.2f} ± {error:.2f} in 90 days", flush=True)
    print(json.dumps({"median_labels": delays, "false_alarms_in_90_days": blamed, "budget": 1}))


if __name__ == "__main__":
    main()
