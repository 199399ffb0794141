"""Pictures of a training and its judgement."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipelines.candidate.plots import confusion_matrix_plot, loss_curve
from pipelines.errors import DataError
from pipelines.evaluation.classification_scores import score_predictions
from pipelines.evaluation.image_figures import sample_grid
from pipelines.trainer import EpochMetrics

HISTORY = tuple(EpochMetrics(i, 3, 1 / i, 0.9, 1.1 / i, 0.8, 1e-3, 1.0) for i in (1, 2, 3))


def size(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


def test_each_figure_is_a_png() -> None:
    classes = ("a", "b")
    judgement = score_predictions(np.eye(2)[[0, 1, 1]], np.array([0, 1, 0]), classes)
    images = np.zeros((11, 12, 12), np.uint8)
    for png in (
        loss_curve(HISTORY),
        confusion_matrix_plot(judgement, classes),
        sample_grid(images, ["a"] * 11),
        sample_grid(images, ["a"] * 11, ["b"] * 11),
    ):
        assert min(size(png)) > 100


def test_a_wrong_guess_is_drawn_in_red() -> None:
    images = np.zeros((1, 12, 12), np.uint8)
    right, wrong = (
        np.asarray(Image.open(io.BytesIO(sample_grid(images, ["a"], [guess]))).convert("RGB")).astype(int)
        for guess in "ab"
    )
    assert (wrong[..., 0] - wrong[..., 2]).max() > 100 > (right[..., 0] - right[..., 2]).max()


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(DataError, match="no epochs"):
        loss_curve(())
    with pytest.raises(DataError, match="0 images"):
        sample_grid(np.zeros((0, 12, 12), np.uint8), [])
    with pytest.raises(DataError, match="2 images, 1 labels"):
        sample_grid(np.zeros((2, 12, 12), np.uint8), ["a"])


@pytest.mark.slow
def test_drawing_does_not_touch_the_global_plot_state() -> None:
    code = (
        "import sys; from pipelines.candidate.plots import loss_curve; "
        "from pipelines.trainer import EpochMetrics; "
        "loss_curve([EpochMetrics(1, 1, 1.0, 0.5, 1.0, 0.5, 0.1, 1.0)]); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
