"""The temperature of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from pipelines.data import image_batch
from pipelines.engines.exportable import Exportable, build_exportable, save_exportable
from pipelines.engines.torch_engine import load_torch_engine
from pipelines.errors import DataError, ModelFormatError
from pipelines.training.temperature_scaling import MIN_TEMPERATURE, fit_temperature
from registry.calibration_metrics import calibration_error
from registry.confidence_bins import fit_calibration


def honest(rows: int, seed: int = 1) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits whose softmax is the true chance of each class, and labels drawn from it."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0.0, 2.0, (rows, 4))
    return logits, np.array([generator.choice(4, p=each) for each in softmax(logits)], dtype=np.int64)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities."""
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = power / power.sum(axis=1, keepdims=True)
    return shares


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_logits_that_are_too_large_or_small_by_a_factor_are_found_out(scale: float) -> None:
    logits, labels = honest(4000)
    assert fit_temperature(logits * scale, labels) == pytest.approx(scale, rel=0.06)


def test_a_model_that_boasts_is_calibrated_on_rows_it_was_not_fitted_on() -> None:
    logits, labels = honest(4000)
    fresh, truth = honest(4000, seed=2)
    boast, tempered = softmax(fresh * 3), softmax(fresh * 3 / fit_temperature(logits * 3, labels))
    right = fresh.argmax(axis=1) == truth
    assert calibration_error(boast.max(axis=1), right) > 0.1
    assert calibration_error(tempered.max(axis=1), right) < 0.03


def test_a_model_without_an_error_on_few_rows_is_not_told_that_it_cannot_err() -> None:
    logits = np.tile([4.0, 0.0], (50, 1))
    found = fit_temperature(logits, np.zeros(50, dtype=np.int64))
    assert found > MIN_TEMPERATURE * 2
    assert 0.9 < softmax(logits / found)[0, 0] < 0.998


def test_the_expected_accuracy_still_fits_once_the_confidence_is_calibrated() -> None:
    logits, labels = honest(4000)
    found = fit_temperature(logits * 3, labels)
    sure = softmax(logits * 3 / found).max(axis=1)
    right = logits.argmax(axis=1) == labels
    doubt = fit_calibration(sure, right, sure)
    assert doubt.offset == pytest.approx(0.0, abs=0.15)
    assert doubt.slope == pytest.approx(1.0, abs=0.1)
    expected = np.mean([doubt.error_probability(each) for each in sure])
    assert expected == pytest.approx(1 - right.mean(), abs=0.005)


def test_the_exported_file_keeps_the_temperature_and_the_answers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    save_exportable(build_exportable(network, height=8, width=8), tmp_path / "cold.pt2")
    save_exportable(build_exportable(network, height=8, width=8, temperature=2.5), tmp_path / "warm.pt2")
    batch = image_batch(np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8))
    cold, warm = (load_torch_engine(tmp_path / f"{name}.pt2", ("a", "b", "c"))(batch) for name in ("cold", "warm"))
    assert (cold.argmax(axis=1) == warm.argmax(axis=1)).all()
    assert np.log(warm[:, 0] / warm[:, 1]) == pytest.approx(np.log(cold[:, 0] / cold[:, 1]) / 2.5, abs=1e-4)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_cannot_be_is_refused(temperature: float) -> None:
    with pytest.raises(ModelFormatError, match="above 0"):
        Exportable(nn.Flatten(), 8, 8, temperature)


def test_rows_that_teach_nothing_are_refused() -> None:
    none = np.zeros(0, dtype=np.int64)
    with pytest.raises(DataError, match="no temperature"):
        fit_temperature(np.zeros((0, 3)), none)
    with pytest.raises(DataError, match="no temperature"):
        fit_temperature(np.full((1, 3), np.nan), np.zeros(1, dtype=np.int64))
