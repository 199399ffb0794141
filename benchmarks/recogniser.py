"""Promise: `best` reads 99.70 % of MNIST's test images or more, mean of three seeds, with at most 200 000 parameters.

Trains the recipe through the same code that makes every candidate (`pipelines.training.training_loop.fit`), one seed
after the other, on MNIST's 60 000 training images (2 % of them, by content hash, only validate), and judges the
exported model as a server loads it on all 10 000 test images, once, after the training has chosen its weights. Each
seed is written into `docs/results/recogniser.json` as it ends, so that a series that was broken off keeps what is done;
seeds that a recipe and revision already have are not trained again. A training that was killed goes on from its
checkpoint.

`--quick` trains one epoch on 3 000 images, writes no file and judges the way through, not the promise.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipelines.builtin.digits import MNIST_TRAIN_FRACTIONS
from pipelines.data import Examples, split_by_hash
from pipelines.datasets.idx_files import load_idx_folder
from pipelines.discovery import find_pipeline
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.torch_engine import load_torch_engine
from pipelines.evaluation.classification_scores import ClassificationScores, score_predictions
from pipelines.pipeline import Pipeline
from pipelines.recipe import NetworkRecipe, network_recipe
from pipelines.trainer import EpochMetrics
from pipelines.training.network import network_for, parameter_count
from pipelines.training.training_loop import TrainingResult, fit
from pipelines.training.training_mix import subsample
from registry.model_contract import image_inputs
from registry.runs import git_revision

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "recogniser.json"
QUICK_ROWS = 3_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data-dir", type=Path, default=_folder(), help="the folder of MNIST's four IDX files")
    parser.add_argument("--recipe", default="best")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file that keeps full trainings")
    arguments = parser.parse_args()
    if arguments.data_dir is None:
        print(json.dumps({"skipped": "no MNIST: name its folder with --data-dir or PLATFORM_TEST_MNIST_DIR"}))
        return
    pipeline = find_pipeline("digits")
    recipe = network_recipe(pipeline.recipe(arguments.recipe))
    train, test = load_idx_folder(arguments.data_dir)
    if arguments.quick:
        recipe = replace(recipe, epochs=1, max_train_rows=QUICK_ROWS)
        print(json.dumps(_trained(pipeline, recipe, train, test, arguments.seeds[0], arguments.device, None)))
        return
    revision = git_revision(ROOT) or "unknown"
    series = _series(arguments.out, recipe, revision)
    for seed in arguments.seeds:
        if seed in [each["seed"] for each in series["trainings"]]:
            print(f"seed {seed}: done before")
            continue
        kept = Path(tempfile.gettempdir()) / "recogniser-checkpoints"
        series["trainings"].append(_trained(pipeline, recipe, train, test, seed, arguments.device, kept))
        _write(arguments.out, _summed(series))
    print(json.dumps({key: value for key, value in _summed(series).items() if key != "params"}))


def _folder() -> Path | None:
    named = os.environ.get("PLATFORM_TEST_MNIST_DIR")
    return Path(named) if named else None


def _trained(
    pipeline: Pipeline,
    recipe: NetworkRecipe,
    train: Examples,
    test: Examples,
    seed: int,
    device: str,
    checkpoints: Path | None,
) -> dict[str, Any]:
    sides = split_by_hash(train, MNIST_TRAIN_FRACTIONS)
    rows = subsample(sides.train, recipe.max_train_rows)
    network = network_for(pipeline.contract, recipe, seed=seed)
    parameters, begun = parameter_count(network), time.process_time()

    def told(epoch: EpochMetrics) -> None:
        print(
            f"seed {seed} epoch {epoch.epoch}/{epoch.epochs}: loss {epoch.train_loss:.4f}, validation "
            f"{epoch.validation_accuracy:.4f} (loss {epoch.validation_loss:.4f}), {epoch.seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )

    fitted = fit(
        network, recipe, rows, sides.validation, seed=seed, on_epoch=told, checkpoint_folder=checkpoints, device=device
    )
    judgement = _judged(fitted, pipeline, test)
    return {
        "seed": seed,
        "device": _name_of(device),
        "test_accuracy": judgement.accuracy,
        "macro_f1": round(judgement.macro_f1, 6),
        "test_nll": round(judgement.nll, 5),
        "calibration_error": round(judgement.calibration_error, 5),
        "validation_accuracy": round(fitted.history[fitted.best_epoch - 1].validation_accuracy, 5),
        "epochs": len(fitted.history),
        "kept_epoch": fitted.best_epoch,
        "parameters": parameters,
        "train_rows": len(rows),
        "seconds": round(fitted.seconds, 1),
        "cpu_seconds": round(time.process_time() - begun, 1),
    }


def _judged(fitted: TrainingResult, pipeline: Pipeline, test: Examples) -> ClassificationScores:
    """As a server answers: exported, written, read back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        save_exportable(
            build_exportable(
                fitted.network,
                height=image_inputs(pipeline.contract).height,
                width=image_inputs(pipeline.contract).width,
            ),
            path,
        )
        return score_predictions(load_torch_engine(path, pipeline.classes)(test.batch), test.labels, pipeline.classes)


def _series(path: Path, recipe: NetworkRecipe, revision: str) -> dict[str, Any]:
    """This recipe's series at this revision as far as it is kept, or a new one."""
    for series in _kept(path):
        if series["recipe"] == recipe.name and series["git_revision"] == revision:
            return series
    return {"recipe": recipe.name, "git_revision": revision, "params": recipe.as_params(), "trainings": []}


def _summed(series: dict[str, Any]) -> dict[str, Any]:
    trainings = series["trainings"]
    seeds = " ".join(str(each["seed"]) for each in trainings)
    return {
        "recipe": series["recipe"],
        "git_revision": series["git_revision"],
        "command": f"python -m benchmarks.recogniser --data-dir DIR --recipe {series['recipe']} --seeds {seeds}",
        "device": ", ".join(sorted({each["device"] for each in trainings})),
        "seeds": [each["seed"] for each in trainings],
        "test_accuracy": [each["test_accuracy"] for each in trainings],
        "test_accuracy_mean": round(statistics.mean(each["test_accuracy"] for each in trainings), 6),
        "macro_f1": round(statistics.mean(each["macro_f1"] for each in trainings), 6),
        "parameters": trainings[-1]["parameters"],
        "epochs": trainings[-1]["epochs"],
        "trainings": trainings,
        "params": series["params"],
    }


def _name_of(device: str) -> str:
    """The accelerator or processor by name, where the system tells it."""
    if device.startswith("cuda"):
        return f"{device}: {torch.cuda.get_device_name(device)}"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return device
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{device}: {names[0]}" if names else device


def _kept(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    series: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return series


def _write(path: Path, summed: dict[str, Any]) -> None:
    """This series in the place of its earlier state, the others as they are; whole or not at all."""
    others = [
        each
        for each in _kept(path)
        if (each["recipe"], each["git_revision"]) != (summed["recipe"], summed["git_revision"])
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps([*others, summed], indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    main()
