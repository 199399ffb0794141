"""How well characters of writers nobody has seen are read: digits and letters, cross-validated by writer.

    python -m benchmarks.letters --data-dir DIR [--quick]

DIR holds `letters_by_writer.npz`, and MNIST's digits in `mnist`, with QMNIST's labels if there. Writers are dealt to
folds by hash; each fold is read once, by a model of the pipeline's default recipe that learnt from the writers of the
others, of whom some validate. The interval of the accuracy of letters draws writers, not letters (bootstrap of 10 000).
The last line is JSON: `accuracy` and `interval` of letters, `digits`, `all_right_or_alike` (0 and O, 1 and I, 5 and S
count as one), `confused` (truth, answer, rows) over all folds, and in `monitors` what the rule by class of
`alerts.yaml` finds at some rates of labels, with 10 classes and with 36. `--quick` trains one fold for two epochs: the
way through, not the promise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlplatform.monitoring.backtest.draft_backtest import BlankEnvironment
from monitors.decisions.detectors.detection_power import detection_power, finds_text
from monitors.rules.alerts_config import parse_rules
from monitors.windows.window import Baseline
from pipelines.builtin.characters import CLASSES, PIPELINE, SIDE, load_characters
from pipelines.data import Examples, hash_fraction
from pipelines.datasets.letter_archive import ARCHIVE_FILE
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.torch_engine import load_torch_engine
from pipelines.recipe import network_recipe
from pipelines.training.network import network_for, parameter_count
from pipelines.training.training_loop import fit

FOLDS: Final = 5
VALIDATION_SHARE: Final = 0.12
DRAWS: Final = 10_000
RATES: Final = (20, 100, 300)
"""Labels a day for which the rule by class is forecast."""
FIRST_LETTER: Final = CLASSES.index("A")
ROOT: Final = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="the folder of letters_by_writer.npz")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.data_dir is None:
        print(
            json.dumps({"skipped": f"no letters come with the project: name the folder of {ARCHIVE_FILE}, --data-dir"})
        )
        return
    rows = load_characters(arguments.data_dir)
    folds = fold_of_rows(rows)
    answers, begun, parameters = np.full(len(rows), -1, dtype=np.int64), time.process_time(), 0
    for fold in range(1 if arguments.quick else FOLDS):
        answers[folds == fold], parameters = _read_fold(rows, folds == fold, arguments.seed, quick=arguments.quick)
        done = answers >= 0
        print(f"fold {fold}: {(answers[done] == rows.labels[done]).mean():.4f} so far", file=sys.stderr, flush=True)
    read = answers >= 0
    result = summary(rows.take(read), answers[read])
    result |= {
        "parameters": parameters,
        "recipe": PIPELINE.default_recipe,
        "seed": arguments.seed,
        "folds": 1 if arguments.quick else FOLDS,
        "cpu_seconds": round(time.process_time() - begun, 1),
        "monitors": {f"{classes} classes": monitor_forecasts(classes) for classes in (10, len(CLASSES))},
    }
    print(json.dumps(result, ensure_ascii=False))


def fold_of_rows(rows: Examples) -> NDArray[np.int64]:
    """The fold of each row, (n,): all rows of a writer are in one, rows of unknown writers go by content.

    Writers are put in order by hash and dealt in turn, so that folds hold equally many.
    """
    owners = [group or identity for group, identity in zip(rows.groups, rows.ids, strict=True)]
    order = sorted(set(owners), key=lambda owner: hash_fraction(owner, "fold"))
    letters = [owner for owner in order if owner.startswith("letters/")]
    others = [owner for owner in order if not owner.startswith("letters/")]
    fold = {owner: place % FOLDS for group in (letters, others) for place, owner in enumerate(group)}
    return np.array([fold[owner] for owner in owners], dtype=np.int64)


def summary(rows: Examples, answers: NDArray[np.int64]) -> dict[str, Any]:
    """The shares of letters and digits read right, the interval over writers, and the pairs most often confused."""
    right = answers == rows.labels
    is_letter = rows.labels >= FIRST_LETTER
    writers: dict[str, list[bool]] = defaultdict(list)
    for group, correct in zip(np.array(rows.groups)[is_letter], right[is_letter], strict=True):
        writers[group].append(bool(correct))
    shares = [float(np.mean(each)) for each in writers.values()]
    pairs: dict[tuple[int, int], int] = defaultdict(int)
    for truth, answer in zip(rows.labels[~right].tolist(), answers[~right].tolist(), strict=True):
        pairs[truth, answer] += 1
    most = sorted(pairs.items(), key=lambda item: -item[1])[:12]
    return {
        "accuracy": round(float(right[is_letter].mean()), 4),
        "interval": [round(each, 4) for each in writer_interval(list(writers.values()))],
        "writers": len(writers),
        "worst_writer": round(min(shares), 4),
        "letters": int(is_letter.sum()),
        "digits": round(float(right[~is_letter].mean()), 4) if (~is_letter).any() else None,
        "all_right_or_alike": round(float(_is_right_or_alike(rows.labels, answers).mean()), 4),
        "confused": [[CLASSES[truth], CLASSES[answer], count] for (truth, answer), count in most],
    }


def writer_interval(by_writer: list[list[bool]], seed: int = 0) -> tuple[float, float]:
    """95 % limits of the share that is right, where whole writers are drawn with replacement."""
    right = np.array([sum(each) for each in by_writer])
    counts = np.array([len(each) for each in by_writer])
    drawn = np.random.default_rng(seed).integers(0, len(counts), (DRAWS, len(counts)))
    shares = right[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)


def monitor_forecasts(classes: int) -> dict[str, str]:
    """What the rule by class finds in words, by how many labels come a day."""
    text = (ROOT / "alerts.yaml").read_text(encoding="utf-8")
    rules = parse_rules(text, "alerts.yaml", BlankEnvironment(), blank_channels=True).rules
    rule = next(rule for rule in rules if rule.metric == "class_error")
    baseline, found = Baseline(accuracy_correct=0, accuracy_total=0), {}
    for rate in RATES:
        power = detection_power(rule, baseline, rate, CLASSES[:classes])
        found[f"{rate} labels a day"] = "no forecast" if power is None else finds_text(power)
    return found


def _is_right_or_alike(truths: NDArray[np.int64], answers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Right, or taken for the digit or letter that looks the same: 0 and O, 1 and I, 5 and S."""
    alike = np.arange(len(CLASSES))
    for digit, letter in ("0O", "1I", "5S"):
        alike[CLASSES.index(letter)] = CLASSES.index(digit)
    same: NDArray[np.bool_] = alike[truths] == alike[answers]
    return same


def _read_fold(rows: Examples, held: NDArray[np.bool_], seed: int, *, quick: bool) -> tuple[NDArray[np.int64], int]:
    """The answers to the rows that are held back, and the size of the network that learnt from the others."""
    others = rows.take(~held)
    owners = [group or identity for group, identity in zip(others.groups, others.ids, strict=True)]
    validates = np.array([hash_fraction(owner, "validation") < VALIDATION_SHARE for owner in owners])
    recipe = network_recipe(PIPELINE.recipe(PIPELINE.default_recipe))
    if quick:
        recipe = replace(recipe, epochs=2)
    network = network_for(PIPELINE.contract, recipe, seed=seed)
    fitted = fit(network, recipe, others.take(~validates), others.take(validates), seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        save_exportable(build_exportable(fitted.network, height=SIDE, width=SIDE), path)
        probabilities = load_torch_engine(path, CLASSES)(rows.take(held).batch)
    return probabilities.argmax(axis=1).astype(np.int64), parameter_count(network)


if __name__ == "__main__":
    main()
