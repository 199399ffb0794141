"""The record of full trainings of a recogniser."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import recogniser
from pipelines.builtin.digits import BEST
from pipelines.datasets.idx_files import TEST_FILES, TRAIN_FILES


def training(seed: int, accuracy: float) -> dict[str, Any]:
    return {
        "seed": seed,
        "device": "cpu",
        "test_accuracy": accuracy,
        "macro_f1": accuracy,
        "parameters": 7,
        "epochs": 2,
    }


def test_each_seed_is_kept_as_it_ends_and_other_series_stay(tmp_path: Path) -> None:
    path = tmp_path / "results" / "kept.json"
    for revision, seeds in (("old", {0: 0.9}), ("new", {0: 0.5, 1: 0.7})):
        series = recogniser._series(path, BEST, revision)
        for seed, accuracy in seeds.items():
            series["trainings"].append(training(seed, accuracy))
            recogniser._write(path, recogniser._summed(series))
    old, new = json.loads(path.read_text())
    assert (old["git_revision"], old["seeds"], old["test_accuracy_mean"]) == ("old", [0], 0.9)
    assert (new["seeds"], new["test_accuracy"], new["test_accuracy_mean"]) == ([0, 1], [0.5, 0.7], 0.6)
    again = recogniser._series(path, BEST, "new")
    assert [each["seed"] for each in again["trainings"]] == [0, 1]
    assert [each.name for each in path.parent.iterdir()] == ["kept.json"]


def encoded(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in MNIST's form: 300 bars that are twos or sevens."""
    generator = np.random.default_rng(0)
    for names, rows in ((TRAIN_FILES, 300), (TEST_FILES, 40)):
        labels = generator.choice([2, 7], rows)
        images = generator.integers(0, 40, (rows, 28, 28))
        for image, label in zip(images, labels, strict=True):
            at = int(generator.integers(8, 18))
            image[(slice(at, at + 3), slice(6, 22)) if label == 2 else (slice(6, 22), slice(at, at + 3))] = 250
        (tmp_path / names[0]).write_bytes(encoded(images))
        (tmp_path / names[1]).write_bytes(encoded(labels))
    return tmp_path


def test_a_recipe_is_trained_judged_and_told_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "kept.json"
    command = ["recogniser", "--data-dir", str(folder), "--recipe", "compact", "--seeds", "5", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    recogniser.main()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    [kept] = json.loads(out.read_text())
    assert told["seeds"] == kept["seeds"] == [5]
    assert told["test_accuracy"] == kept["test_accuracy"]
    assert kept["test_accuracy_mean"] > 0.9
    assert kept["trainings"][0]["train_rows"] < 300
    assert kept["command"].endswith("--data-dir DIR --recipe compact --seeds 5")
    assert kept["device"].startswith("cpu")
    recogniser.main()
    assert "seed 5: done before" in capsys.readouterr().out
    assert len(json.loads(out.read_text())[0]["trainings"]) == 1


def test_without_data_the_benchmark_says_that_it_was_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PLATFORM_TEST_MNIST_DIR", raising=False)
    monkeypatch.setattr(sys, "argv", ["recogniser"])
    recogniser.main()
    assert "skipped" in json.loads(capsys.readouterr().out)
