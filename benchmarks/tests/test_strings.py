"""The benchmark of strings, on a folder in the same form that the test draws itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import strings
from pipelines.strings.string_engine import BUNDLED_MODEL, load_string_engine
from pipelines.strings.string_export import export_strings
from pipelines.strings.string_network import build_string_network
from tests.support.drawn_strings import write_string_folder

KEYS = {
    "strings_right",
    "interval",
    "digits_right",
    "baseline_strings_right",
    "accept_rate_at_1pct",
    "ms_p50",
    "parameters",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty amounts of one to four digits, of which all digits occur in the training part."""
    return write_string_folder(tmp_path / "car", [str(37 * number + 8) for number in range(40)])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An untrained model: the way through is what is tested."""
    path = tmp_path / "untrained.onnx"
    path.write_bytes(export_strings(build_string_network(0), 1.0))
    return path


def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The JSON object of the benchmark's last line."""
    monkeypatch.delenv("PLATFORM_TEST_MNIST_DIR", raising=False)
    monkeypatch.setattr(strings, "_baseline", lambda *_: lambda digits: np.eye(10, dtype=np.float32)[[8] * len(digits)])
    monkeypatch.setattr(sys, "argv", ["strings", *map(str, arguments)])
    strings.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_the_test_part_is_judged_and_kept(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "strings.json"
    result = answer(monkeypatch, capsys, "--data-dir", folder, "--model", model, "--out", out)
    assert result.keys() >= KEYS
    assert 0 <= result["interval"][0] <= result["strings_right"] <= result["interval"][1] <= 1
    assert result["strings"] < 40
    kept = json.loads(out.read_text())
    assert kept["result"] == result
    assert kept["training"] == {}


def test_any_folder_is_judged_whole_and_nothing_is_kept(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "strings.json"
    labels, images = folder / "labels.jsonl", folder / "images"
    result = answer(monkeypatch, capsys, "--labels", labels, "--images", images, "--model", model, "--out", out)
    assert result.keys() >= KEYS
    assert result["strings"] == 40
    assert not out.exists()


def test_readings_that_are_not_the_label_are_listed_the_surest_first(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(strings, "_baseline", lambda *_: lambda digits: np.eye(10, dtype=np.float32)[[8] * len(digits)])
    monkeypatch.setattr(sys, "argv", ["strings", "--labels", str(folder / "labels.jsonl"), "--model", str(model)])
    strings.main()
    listed = [line for line in capsys.readouterr().err.splitlines() if " read as " in line]
    sure = [float(line.split(", ")[1].removesuffix(" sure")) for line in listed]
    assert len(listed) > 30
    assert listed[0].split(":")[0].endswith(".png")
    assert sure == sorted(sure, reverse=True)


def test_a_training_replaces_the_model_and_is_told_with_its_judgement(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "strings.json", tmp_path / "new.onnx"
    monkeypatch.setattr(strings, "CHECKPOINTS", tmp_path / "checkpoints")
    command = ["--data-dir", folder, "--model", model, "--out", out, "--train", "--steps", 2, "--decay-steps", 1]
    result = answer(monkeypatch, capsys, *command)
    assert result["temperature"] == load_string_engine(model).temperature
    training = json.loads(out.read_text())["training"]
    assert training["recipe"]["steps"] == 2
    assert training["training_command"].endswith("--train --steps 2 --decay-steps 1 --seed 0")
    again = answer(monkeypatch, capsys, "--data-dir", folder, "--model", model, "--out", out)
    assert json.loads(out.read_text())["training"] == training
    assert again["strings_right"] == result["strings_right"]


def test_without_a_folder_the_benchmark_says_that_it_was_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "skipped" in answer(monkeypatch, capsys)
    with pytest.raises(SystemExit, match="--train needs --data-dir"):
        answer(monkeypatch, capsys, "--train", "--labels", "x.jsonl")


def test_the_kept_model_is_small_and_reads(folder: Path) -> None:
    assert BUNDLED_MODEL.stat().st_size < 1_500_000
    assert load_string_engine().temperature > 0
