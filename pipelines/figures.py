"""Pictures of a training and its judgement, as PNG bytes; refuses to know files and global plot state."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.evaluate import Judgement
from pipelines.train import EpochMetrics

DPI = 110
GRID_COLUMNS = 8
GRID_IMAGES = 64
GRID_CAPTION = 7  # pixels above each image for its text


def loss_curve(history: Sequence[EpochMetrics]) -> bytes:
    """Loss and accuracy over the epochs, training against validation."""
    if not history:
        raise DataError("there are no epochs to draw; train for at least one")
    epochs = [each.epoch for each in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, noun in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for side in ("train", "validation"):
            axes.plot(epochs, [getattr(each, f"{side}_{noun}") for each in history], marker=".", label=side)
        axes.set(xlabel="epoch", ylabel=noun)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    return png_of(figure)


def confusion_matrix(judgement: Judgement, classes: Sequence[str], *, normalised: bool = False) -> bytes:
    """Truth against answer, as counts or as percent of the true class; colour is the share of the true class."""
    counts = judgement.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.0, 0.55 * len(classes) + 1.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes)
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="answer", ylabel="truth")
    axes.set_title(f"{judgement.accuracy:.2%} of {judgement.n} rows right")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            ink = "white" if shares[row, column] > 0.5 else "black"
            text = f"{100 * shares[row, column]:.1f}" if normalised else str(count)
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    return png_of(figure)


def sample_grid(images: NDArray[np.uint8], labels: Sequence[str], guesses: Sequence[str] | None = None) -> bytes:
    """The first images with their truth; a wrong guess is shown in red."""
    shown = min(len(images), GRID_IMAGES)
    if shown == 0 or len(labels) != len(images) or (guesses is not None and len(guesses) != len(images)):
        raise DataError(
            f"{len(images)} images, {len(labels)} labels and {len(guesses or ())} guesses make no grid; "
            "give at least one image, and as many texts as images"
        )
    height, width = images.shape[1:]
    cell, rows = height + GRID_CAPTION, -(-shown // GRID_COLUMNS)
    mosaic = np.full((rows * cell, GRID_COLUMNS * (width + 2)), 255, dtype=np.uint8)
    figure = Figure(figsize=(GRID_COLUMNS, 1.25 * rows))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for index in range(shown):
        top, left = index // GRID_COLUMNS * cell + GRID_CAPTION, index % GRID_COLUMNS * (width + 2)
        mosaic[top : top + height, left : left + width] = images[index]
        wrong = guesses is not None and guesses[index] != labels[index]
        text = f"{labels[index]}, not {guesses[index]}" if guesses and wrong else labels[index]
        ink = "crimson" if wrong else "black"
        axes.text(left + width / 2, top - 2, text, ha="center", va="bottom", fontsize=8, color=ink)
    axes.imshow(mosaic, cmap="gray", vmin=0, vmax=255, aspect="auto")
    return png_of(figure)


def png_of(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
