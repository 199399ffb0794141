"""Promise: amounts of cheques are read whole, 92 % of ORAND-CAR-A's test part or more, in 30 ms each on one core.

`--data-dir DIR` names a folder with `labels.jsonl` and `images/`. Its pictures are dealt by the hash of their content
to training, validation and test; the kept model (`pipelines/strings/amounts.onnx`, or `--model FILE`) reads the test
part, which no choice was made on. `--labels FILE --images DIR` judges on all pictures of any folder in that form.
The baseline cuts each string into digits for the network of the pipeline `digits`, trained here on MNIST's training
images (`--mnist-dir`) or the bundled digits. A judgement on the test part goes to `docs/results/strings.json`.

`--train` trains the model anew first, from its checkpoint where it was killed: synthetic strings and the training part
teach it, validation fits its temperature. `--quick` judges the first 40 pictures only, beside a baseline of one epoch,
and writes no file: it judges the way through, not the promise. Readings that are not the label are listed, the surest
first: look at these pictures, for many such labels are wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.builtin.digits import MNIST_TRAIN_FRACTIONS
from pipelines.data import Split, image_batch, split_by_hash
from pipelines.datasets.idx_files import load_idx_folder
from pipelines.discovery import find_pipeline
from pipelines.engines.atomic_write import write_atomically
from pipelines.engines.exportable import build_exportable
from pipelines.engines.onnx_engine import export_onnx, onnx_engine_from_bytes
from pipelines.evaluation.risk_coverage import RISKS, accepted_shares, best_operating_point, operating_points, point_at
from pipelines.recipe import network_recipe
from pipelines.strings.drawing.digit_glyphs import glyphs_of_digits, glyphs_of_strings
from pipelines.strings.drawing.training_batches import TrainingStrings
from pipelines.strings.drawing.written_string import written_string
from pipelines.strings.segmentation import read_by_segments
from pipelines.strings.string_confidence import fit_string_temperature
from pipelines.strings.string_engine import BUNDLED_MODEL, StringEngine, load_string_engine, string_engine_from_bytes
from pipelines.strings.string_examples import (
    StringExample,
    StringSplit,
    load_string_folder,
    load_strings,
    split_strings,
)
from pipelines.strings.string_export import export_strings
from pipelines.strings.string_network import build_string_network
from pipelines.strings.string_scores import StringScores, score_strings
from pipelines.strings.string_training import StringProgress, StringRecipe, train_strings
from pipelines.training.network import network_for, parameter_count
from pipelines.training.training_loop import fit
from pipelines.training.training_mix import subsample
from registry.runs import git_revision

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "strings.json"
CHECKPOINTS = Path(tempfile.gettempdir()) / "strings-checkpoints"
COMMAND = "python -m benchmarks.strings --data-dir DIR --mnist-dir DIR"
QUICK_STRINGS = 40
BASELINE_ROWS, BASELINE_EPOCHS, QUICK_ROWS = 8_000, 5, 1_500
Classifier = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def main() -> None:
    arguments = _arguments()
    if arguments.data_dir is None and arguments.labels is None:
        print(json.dumps({"skipped": "no strings: name a folder like ORAND-CAR-A's with --data-dir"}))
        return
    split = None if arguments.data_dir is None else split_strings(load_string_folder(arguments.data_dir))
    training: dict[str, Any] = {}
    if arguments.train:
        if split is None:
            sys.exit("--train needs --data-dir: the folder whose training part teaches the model")
        training = _train(arguments, split)
    engine = load_string_engine(arguments.model)
    if arguments.labels is not None:
        judged = load_strings(arguments.labels, arguments.images or arguments.labels.parent / "images")
    else:
        assert split is not None
        judged = split.test
    judged = judged[:QUICK_STRINGS] if arguments.quick else judged
    result = _judged(engine, judged, _baseline(arguments.mnist_dir, arguments.quick))
    if split is not None:
        result |= _thresholds(engine, split.validation, judged)
    print(json.dumps(result | training, indent=2), file=sys.stderr)
    if not arguments.quick and arguments.labels is None:
        _write(arguments.out, result, training)
    print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="the folder of labels.jsonl and images/")
    parser.add_argument("--labels", type=Path, help="judge on this file of labels instead of the test part")
    parser.add_argument("--images", type=Path, help="where its pictures lie; images/ beside it by default")
    parser.add_argument("--mnist-dir", type=Path, default=_mnist_folder(), help="the folder of MNIST's four IDX files")
    parser.add_argument("--model", type=Path, default=BUNDLED_MODEL)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--train", action="store_true", help="train --model anew first")
    recipe = StringRecipe()
    parser.add_argument("--steps", type=int, default=recipe.steps)
    parser.add_argument("--decay-steps", type=int, default=recipe.decay_steps)
    parser.add_argument("--seed", type=int, default=recipe.seed)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file that keeps judgements of the test part")
    return parser.parse_args()


def _mnist_folder() -> Path | None:
    named = os.environ.get("PLATFORM_TEST_MNIST_DIR")
    return Path(named) if named else None


def _digits(mnist_folder: Path | None) -> Split:
    """Single digits to draw strings of and to train the baseline on: MNIST's training images, or the bundled ones."""
    if mnist_folder is None:
        return find_pipeline("digits").load(None)
    return split_by_hash(load_idx_folder(mnist_folder)[0], MNIST_TRAIN_FRACTIONS)


def _train(arguments: argparse.Namespace, split: StringSplit) -> dict[str, Any]:
    """Train, calibrate, export; the model file is replaced whole at the end."""
    recipe = StringRecipe(steps=arguments.steps, decay_steps=arguments.decay_steps, seed=arguments.seed)
    glyphs = (glyphs_of_strings(split.train), glyphs_of_digits(_digits(arguments.mnist_dir).train))
    strings = TrainingStrings([written_string(example) for example in split.train], glyphs)

    def on_look(look: StringProgress) -> None:
        print(
            f"step {look.step}: loss {look.train_loss:.4f}, validation {look.validation_right:.4f} right, "
            f"{look.cpu_seconds:.0f} CPU s",
            file=sys.stderr,
            flush=True,
        )

    looked_at = [(example.picture, example.text) for example in split.validation]
    trained = train_strings(recipe, strings, looked_at, on_look=on_look, checkpoint_folder=CHECKPOINTS)
    raw = string_engine_from_bytes(export_strings(trained.network, 1.0))
    readings = [raw.read(example.picture).candidates for example in split.validation]
    temperature = fit_string_temperature(readings, [example.text for example in split.validation])
    write_atomically(arguments.model, export_strings(trained.network, temperature))
    last = trained.history[-1]
    return {
        "recipe": asdict(recipe),
        "train_strings": len(split.train),
        "validation_strings": len(split.validation),
        "validation_right": last.validation_right,
        "train_cpu_seconds": last.cpu_seconds,
        "training_command": f"{COMMAND} --train --steps {recipe.steps} --decay-steps {recipe.decay_steps} "
        f"--seed {recipe.seed}",
    }


def _judged(engine: StringEngine, examples: Sequence[StringExample], classify: Classifier) -> dict[str, Any]:
    """What is asked of the reader and of the baseline, on the same pictures."""
    texts = [example.text for example in examples]
    readings, milliseconds = [], []
    for example in examples:
        started = time.perf_counter()
        readings.append(engine.read(example.picture))
        milliseconds.append(1000 * (time.perf_counter() - started))
    confidences = np.array([reading.confidence for reading in readings])
    scores = score_strings([reading.text for reading in readings], confidences, texts)
    cut = [read_by_segments(example.picture, classify) for example in examples]
    baseline = score_strings([text for text, _ in cut], np.array([sure for _, sure in cut]), texts)
    for row in sorted(np.flatnonzero(~scores.right).tolist(), key=lambda row: -confidences[row]):
        otherwise = f"read as {readings[row].text or 'nothing'}, {confidences[row]:.3f} sure"
        print(f"{examples[row].name}: {texts[row]} {otherwise}", file=sys.stderr)
    accepted = {each.risk: each for each in accepted_shares(confidences, scores.right)}
    return {
        "strings": scores.n,
        **_shares(scores),
        "baseline_strings_right": round(baseline.strings_right, 4),
        "baseline_interval": [round(limit, 4) for limit in baseline.interval],
        "accept_rate_at_0_1pct": round(accepted[0.001].share, 4),
        "accept_rate_at_0_5pct": round(accepted[0.005].share, 4),
        "accept_rate_at_1pct": round(accepted[0.01].share, 4),
        "accept_rate_intervals": {
            str(risk): [round(limit, 4) for limit in each.limits] for risk, each in accepted.items()
        },
        "calibration_error": round(scores.calibration_error, 4),
        "temperature": engine.temperature,
        "ms_p50": round(float(np.median(milliseconds)), 2),
        "ms_p95": round(float(np.percentile(milliseconds, 95)), 2),
        "parameters": parameter_count(build_string_network(0)),
    }


def _shares(scores: StringScores) -> dict[str, Any]:
    return {
        "strings_right": round(scores.strings_right, 4),
        "interval": [round(limit, 4) for limit in scores.interval],
        "digits_right": round(scores.digits_right, 5),
    }


def _thresholds(
    engine: StringEngine, validation: Sequence[StringExample], judged: Sequence[StringExample]
) -> dict[str, Any]:
    """Operating points as a bank would choose them, on validation, and what they do on the judged strings."""
    sides = []
    for examples in (validation, judged):
        readings = [engine.read(example.picture) for example in examples]
        right = np.array([reading.text == example.text for reading, example in zip(readings, examples, strict=True)])
        sides.append((np.array([reading.confidence for reading in readings]), right))
    points = operating_points(*sides[0])
    chosen = {risk: point_at(*sides[1], best_operating_point(points, risk).threshold) for risk in RISKS}
    return {
        "thresholds_from_validation": [
            {"risk": risk, **{name: round(value, 4) for name, value in asdict(point).items()}}
            for risk, point in chosen.items()
        ]
    }


def _baseline(mnist_folder: Path | None, quick: bool) -> Classifier:
    """The pipeline `digits` in its compact recipe, as ONNX Runtime answers it."""
    pipeline = find_pipeline("digits")
    rows, epochs = (QUICK_ROWS, 1) if quick else (BASELINE_ROWS, BASELINE_EPOCHS)
    recipe = replace(network_recipe(pipeline.recipe("compact")), epochs=epochs, max_train_rows=rows)
    split = _digits(mnist_folder)
    network = network_for(pipeline.contract, recipe, seed=0)
    train = subsample(split.train, recipe.max_train_rows)
    fitted = fit(network, recipe, train, split.validation, seed=0)
    answers = onnx_engine_from_bytes(export_onnx(build_exportable(fitted.network)), pipeline.classes, threads=1)
    return lambda digits: answers(image_batch(digits))


def _write(path: Path, result: dict[str, Any], training: dict[str, Any]) -> None:
    """This judgement in the place of the last; what the model's training was stays where it was not trained again."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    document = {
        "git_revision": git_revision(ROOT) or "unknown",
        "command": COMMAND,
        "machine": platform.machine(),
        "result": result,
        "training": training or kept.get("training", {}),
    }
    write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
