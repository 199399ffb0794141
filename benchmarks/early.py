"""Promise: early warnings are cheap, quiet on healthy traffic, and soon there when pictures change.

Trains the compact recipe on the bundled digits, or on MNIST with `--data-dir`, and reports: the accuracy to expect
beside the real one under changes of the golden pictures; false alarms in 90 days of healthy traffic and minutes until
an alarm after a change (30 answers a minute, drawn from real ones); seconds of one look at 500 pictures.
"""

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from monitors.decisions.drift import MAX_COMPARED_INPUTS, evaluation_level
from monitors.decisions.performance_estimation import MinuteCounts, update_performance_detector
from monitors.rules.alerts_config import AlertsConfig, Rule
from monitors.statistics.e_detector import Detector
from monitors.statistics.holm import holm_rejections
from monitors.statistics.two_sample import FeatureSample, compare_samples
from monitors.windows.window import ErrorByConfidence
from pipelines.data import image_batch, images_of
from pipelines.discovery import find_pipeline
from pipelines.engines.embedding import Embedder
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.torch_engine import TorchEngine, load_torch_engine
from pipelines.image.image_statistics import image_statistics
from pipelines.image.simulated_shift import simulate_scanner_shift
from pipelines.recipe import network_recipe
from pipelines.training.network import build_network
from pipelines.training.training_loop import fit
from pipelines.training.training_mix import subsample
from registry.confidence_bins import count_by_bin, fit_calibration

Images = NDArray[np.uint8]
START = datetime(2026, 1, 1, tzinfo=UTC)
RATE = 30
QUIET_DAYS = 90
CHANGES: dict[str, Callable[[Images], Images]] = {
    "none": lambda images: images,
    "turned 20 degrees": lambda images: np.stack([ndimage.rotate(each, 20, reshape=False, order=1) for each in images]),
    "blurred": lambda images: ndimage.gaussian_filter(images, (0, 2, 2)),
    "brighter by 20": lambda images: np.clip(images.astype(int) + 20, 0, 255).astype(np.uint8),
    "second scanner": lambda images: simulate_scanner_shift(images, 0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", help="MNIST in IDX form; the bundled digits otherwise")
    parser.add_argument("--quick", action="store_true", help="nine quiet days instead of 90")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = find_pipeline("digits")
    split, recipe = (
        pipeline.load(Path(arguments.data_dir) if arguments.data_dir else None),
        network_recipe(pipeline.recipe("compact")),
    )
    network = build_network(recipe, len(pipeline.classes), seed=0)
    fitted = fit(network, recipe, subsample(split.train, recipe.max_train_rows), split.validation, seed=0)
    with TemporaryDirectory() as folder:
        save_exportable(build_exportable(fitted.network), Path(folder) / "model.pt2")
        predictor = load_torch_engine(Path(folder) / "model.pt2", pipeline.classes)
    known, golden = predictor(split.validation.batch), split.golden
    right = known.argmax(axis=1) == split.validation.labels
    doubt = fit_calibration(known.max(axis=1), right, predictor(golden.batch).max(axis=1))
    doubts = ErrorByConfidence(doubt.error_by_bin(), doubt.golden)
    days = QUIET_DAYS // 10 if arguments.quick else QUIET_DAYS
    figures: dict[str, Any] = {
        "false_alarms": _quiet(doubts, predictor, images_of(golden.batch), days),
        "quiet_days": days,
    }
    unseen = np.concatenate([images_of(golden.batch), images_of(split.stream.batch)[: 2 * MAX_COMPARED_INPUTS]])
    unseen = unseen[np.random.default_rng(0).permutation(len(unseen))[: 2 * MAX_COMPARED_INPUTS]]
    for name, change in CHANGES.items():
        changed = change(images_of(golden.batch))
        batch = image_batch(changed)
        answers = predictor(batch)
        steps = count_by_bin(answers.max(axis=1).tolist())
        expected = 1 - sum(doubts.error_by_bin[step] * n for step, n in steps.items()) / len(golden)
        figures[name] = {
            "expected": round(100 * expected, 2),
            "real": round(100 * float((answers.argmax(axis=1) == golden.labels).mean()), 2),
            "minutes_to_alarm": None if name == "none" else _alarm_after(doubts, predictor(batch).max(axis=1)),
            "look": _look(predictor, unseen[:MAX_COMPARED_INPUTS], change(unseen[MAX_COMPARED_INPUTS:])),
        }
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(json.dumps(figures))


def _rule(metric: str, above: str) -> Rule:
    plain = {"name": "early", "metric": metric, "above": above, "window": "24h", "min_samples": 100, "every": "1h"}
    written = {"version": 1, "model": "digits", "rules": [{**plain, "false_alarms": "1 per 90d"}]}
    return AlertsConfig.model_validate(written).rules[0]


def _minutes(confidences: NDArray[np.float32], seed: int, many: int) -> list[MinuteCounts]:
    drawn = np.random.default_rng(seed).choice(confidences, (many, RATE))
    return [
        MinuteCounts(number, START + timedelta(minutes=number), count_by_bin(row.tolist()))
        for number, row in enumerate(drawn, start=1)
    ]


def _quiet(doubts: ErrorByConfidence, predictor: TorchEngine, images: Images, days: int) -> int:
    rule, confidences, alarms = _rule("expected_drop", "2 points"), predictor(image_batch(images)).max(axis=1), 0
    state: Detector | None = None
    for day in range(days):
        state, _ = update_performance_detector(
            rule, doubts, state, _minutes(confidences, day, 1440), START - timedelta(hours=1)
        )
        if state.alarmed_at is not None:
            alarms, state = alarms + 1, None
    return alarms


def _alarm_after(doubts: ErrorByConfidence, confidences: NDArray[np.float32]) -> int | None:
    """The median over ten streams; None where most never alarm in a day."""
    rule, delays = _rule("expected_drop", "2 points"), []
    for seed in range(10):
        minutes = _minutes(confidences, seed, 1440)
        state, _ = update_performance_detector(rule, doubts, None, minutes, START - timedelta(hours=1))
        delays.append(1441 if state.alarmed_at is None else (state.alarmed_at - START) // timedelta(minutes=1))
    middle = int(np.median(delays))
    return None if middle > 1440 else middle


def _look(predictor: TorchEngine, first: Images, newest: Images) -> dict[str, Any]:
    embed, level = Embedder(predictor), evaluation_level(_rule("input_drift", "25 %"))
    begun = time.perf_counter()
    sides = [FeatureSample(image_statistics(images), embed(image_batch(images))) for images in (first, newest)]
    seen = time.perf_counter()
    measures = compare_samples(sides[0], sides[1], {}, level)
    done = time.perf_counter()
    sure = holm_rejections([each.p_value for each in measures], level)
    found = [f"{each.name} {each.distance:.2f}" for each, one in zip(measures, sure, strict=True) if one]
    return {"seconds_seen": round(seen - begun, 2), "seconds_compared": round(done - seen, 2), "proved": found}


if __name__ == "__main__":
    main()
