"""The share of wrong answers with and without the unlabelled answers, on real digits: coverage and width of intervals.

Four ways, for labels drawn with known chances (`monitors.sampling`), all against the truth of the pool they come from:

- `hajek`: what the platform shows, the weighted share with Gaffke's limits (`monitors.estimate`);
- `normal`: PPI++ (Angelopoulos, Duchi, Zrnic 2023), power-tuned, with the normal interval of that paper;
- `gaffke`: the same rectified labels within Gaffke's limits, the power from the other half of the labels;
- `gaffke 1`: so, too, with a power of 1.

    PYTHONPATH=. python docs/experiments/powered_estimate.py 300
    PYTHONPATH=. python docs/experiments/powered_estimate.py 150 DIR    # a folder with MNIST

Gaffke's limits are drawn here (2 000 times), not computed, for all ways alike.
"""

import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from monitors.sampling import make_plan, stratum_of
from pipelines.idx import read_idx

Floats = NDArray[np.float64]
CONFIDENCE = 0.975
ANSWERS = 20_000
LABELS = (50, 100, 200, 500, 1_000)
DRAWS = 2_000


def pool(folder: Path | None) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Answers to digits a classifier never saw: the class, the doubt (1 - confidence), and whether it is wrong."""
    if folder is None:
        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))
        pictures, truths, taught = digits.data[order] / 16, digits.target[order], 400
        model = LogisticRegression(max_iter=2_000)
    else:
        sides = [("train", 8_000), ("t10k", 10_000)]
        pictures = np.concatenate([read_idx(folder / f"{side}-images-idx3-ubyte.gz")[:n] for side, n in sides])
        truths = np.concatenate([read_idx(folder / f"{side}-labels-idx1-ubyte.gz")[:n] for side, n in sides])
        pictures, taught = pictures.reshape(len(truths), -1) / 255, 8_000
        model = MLPClassifier((64,), max_iter=40, random_state=0, early_stopping=True)
    shares = model.fit(pictures[:taught], truths[:taught]).predict_proba(pictures[taught:])
    answers = shares.argmax(axis=1)
    return answers, 1 - shares.max(axis=1), (answers != truths[taught:]).astype(float)


def gaffke(
    random: np.random.Generator, weights: Floats, values: Floats, least: float, most: float
) -> tuple[float, float]:
    """Gaffke's limits of the weighted mean of values from `least` to `most`."""
    ends = []
    for extra, chance in ((least, 1 - CONFIDENCE), (most, CONFIDENCE)):
        all_weights, all_values = np.append(weights, weights.max()), np.append(values, extra)
        masses = random.standard_exponential((DRAWS, len(all_weights))) * all_weights
        ends.append(float(np.quantile(masses @ all_values / masses.sum(axis=1), chance)))
    return ends[0], ends[1]


def power(weights: Floats, wrong: Floats, doubt: Floats) -> float:
    """How much of the doubt to take into account: what makes the variance smallest, from 0 to 1."""
    if len(wrong) < 3:
        return 0.0
    squared = weights**2
    off = doubt - np.average(doubt, weights=weights)
    spread = float(squared @ off**2)
    return (
        float(np.clip(squared @ (off * (wrong - np.average(wrong, weights=weights))) / spread, 0, 1)) if spread else 0.0
    )


def intervals(
    random: np.random.Generator, chances: Floats, wrong: Floats, doubt: Floats, mean: float
) -> dict[str, tuple[float, float]]:
    """Each way's limits; `mean` is the doubt of all answers on average."""
    weights = 1 / chances
    found = {"hajek": gaffke(random, weights, wrong, 0, 1)}
    tuned = power(weights, wrong, doubt)
    rectified = wrong - tuned * (doubt - mean)
    share = float(np.average(rectified, weights=weights))
    spread = float(weights**2 * (1 - chances) @ (rectified - share) ** 2) / weights.sum() ** 2
    reach = float(norm.ppf(CONFIDENCE)) * np.sqrt(spread + rectified.var() / ANSWERS)
    found["normal"] = (share - reach, share + reach)
    half = random.random(len(wrong)) < 0.5
    powers = {side: power(weights[half != side], wrong[half != side], doubt[half != side]) for side in (True, False)}
    each = np.where(half, powers[True], powers[False])
    for name, used in (("gaffke", each), ("gaffke 1", np.ones(len(wrong)))):
        most = float(used.max())
        limits = (most * (mean - 1), 1 + most * mean)
        found[name] = gaffke(random, weights, wrong - used * (doubt - mean), *limits)
    return found


def chances_of(strata: list[str], doubt: Floats, labels: int, *, uniform: bool) -> Floats:
    """The chance of every answer to be drawn: alike, or by the platform's plan."""
    if uniform:
        return np.full(len(strata), labels / len(strata))
    answers = Counter(strata)
    sums: dict[str, float] = defaultdict(float)
    for name, each in zip(strata, doubt, strict=True):
        sums[name] += float(each)
    plan = make_plan(labels, dict(answers), {name: sums[name] / n for name, n in answers.items()}, 0.5)
    return np.array([plan.chance(name) for name in strata])


def main(runs: int, folder: Path | None) -> None:
    """Print, for each number of labels and way to draw them, how often each way misses and how wide it is."""
    answers, doubt, wrong = pool(folder)
    strata = [stratum_of(str(label), 1 - float(each)) for label, each in zip(answers, doubt, strict=True)]
    truth, random = float(wrong.mean()), np.random.default_rng(1)
    explained = np.corrcoef(doubt, wrong)[0, 1] ** 2
    say(f"{100 * truth:.2f} % of {len(wrong)} answers wrong, doubt {100 * doubt.mean():.1f} %, R2 {explained:.2f}")
    for labels in LABELS:
        for uniform in (True, False):
            limits: dict[str, list[tuple[float, float]]] = defaultdict(list)
            for _ in range(runs):
                shown = random.integers(len(wrong), size=ANSWERS)
                chances = chances_of([strata[i] for i in shown], doubt[shown], labels, uniform=uniform)
                drawn = random.random(ANSWERS) < chances
                mine = shown[drawn]
                made = intervals(random, chances[drawn], wrong[mine], doubt[mine], float(doubt[shown].mean()))
                for way, ends in made.items():
                    limits[way].append(ends)
            widths = {way: np.mean(np.clip(ends, 0, 1) @ [-1, 1]) for way, ends in limits.items()}
            for way, ends in limits.items():
                low, high = np.array(ends).T
                missed = f"too high {100 * np.mean(low > truth):4.1f}, too low {100 * np.mean(high < truth):4.1f}"
                say(
                    f"{labels:5d} labels {'alike' if uniform else 'plan':6s} {way:9s} covers "
                    f"{100 * np.mean((low <= truth) & (truth <= high)):5.1f} % ({missed}), "
                    f"width {100 * widths[way]:5.2f} points, {widths[way] / widths['hajek']:.2f} of hajek's"
                )


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
