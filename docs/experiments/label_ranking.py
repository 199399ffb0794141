"""Wrong labels found by label audits and by cleanlab on scikit-learn's digits with a tenth of them made wrong.

In an environment of its own, because the platform does not need cleanlab:

    python3.11 -m venv /tmp/ranking && /tmp/ranking/bin/pip install cleanlab scikit-learn
    PYTHONPATH=. /tmp/ranking/bin/python docs/experiments/label_ranking.py
"""

import sys
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from pipelines.labels.label_issues import RecordedPrediction, label_error_candidates

CLASSES = tuple("0123456789")
SEEDS = range(5)
DEPTHS = (20, 50, 100, 179)


def noisy(kind: str, seed: int) -> tuple[np.ndarray, set[int], np.ndarray]:
    """Labels, which of them are wrong, and probabilities of a model that did not learn from the row."""
    digits, generator = load_digits(), np.random.default_rng(seed)
    labels = digits.target.copy()
    wrong = generator.choice(len(labels), len(labels) // 10, replace=False)
    labels[wrong] = (labels[wrong] + (1 if kind == "next class" else generator.integers(1, 10, len(wrong)))) % 10
    model = LogisticRegression(max_iter=2_000, C=0.01)
    return labels, set(wrong.tolist()), cross_val_predict(model, digits.data, labels, cv=5, method="predict_proba")


def ours(labels: np.ndarray, chances: np.ndarray) -> dict[str, list[tuple[bool, float, int]]]:
    """Per class, what `label_error_candidates` finds, in its order: (not off the diagonal, -doubt, row)."""
    answers = [
        RecordedPrediction(str(row), CLASSES[int(np.argmax(each))], each.tolist(), CLASSES[label], str(row))
        for row, (each, label) in enumerate(zip(chances, labels, strict=True))
    ]
    return {
        name: [
            ("usually" not in issue.reason, -issue.score, int(issue.prediction_id))
            for issue in label_error_candidates(answers, CLASSES, name)
        ]
        for name in CLASSES
    }


def precision(wrong: set[int], ranking: Sequence[int], depth: int) -> float:
    """The share of the first rows that are wrong."""
    return len(wrong & {int(row) for row in ranking[:depth]}) / depth


def main() -> None:
    """Print mean, least and greatest precision over the seeds."""
    for kind in ("any other class", "next class"):
        found: dict[str, list[float]] = defaultdict(list)
        for seed in SEEDS:
            labels, wrong, chances = noisy(kind, seed)
            mine = ours(labels, chances)
            ranked = sorted(row for rows in mine.values() for row in rows)
            filtered = find_label_issues(
                labels, chances, filter_by="confident_learning", return_indices_ranked_by="normalized_margin"
            )
            usual = find_label_issues(labels, chances, return_indices_ranked_by="self_confidence")
            quality = np.argsort(get_label_quality_scores(labels, chances, method="normalized_margin"), kind="stable")
            rankings = {
                "pipelines.labels.label_issues": [row for *_, row in ranked],
                "cleanlab, confident_learning": filtered,
                "cleanlab, default": usual,
                "cleanlab, margin alone": quality,
            }
            for depth in DEPTHS:
                for name, ranking in rankings.items():
                    found[f"precision@{depth:3} {name}"].append(precision(wrong, ranking, depth))
            by_class = [[row for *_, row in rows] for rows in mine.values()]
            theirs = [[row for row in quality if labels[row] == place] for place in range(len(CLASSES))]
            for name, lists in (("pipelines.labels.label_issues", by_class), ("cleanlab, margin alone", theirs)):
                found[f"precision@10 in a class, {name}"].append(
                    float(np.mean([precision(wrong, rows, 10) for rows in lists]))
                )
            off, listed = {row for hair, _, row in ranked if not hair}, {int(row) for row in filtered}
            found["off the diagonal, shared with cleanlab"].append(len(off & listed) / len(off | listed))
        for name, values in found.items():
            sys.stdout.write(f"{kind}: {name}: {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})\n")


if __name__ == "__main__":
    main()
