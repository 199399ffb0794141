"""Draws samples of pictures: with their truth, by confused pair, and the mean of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.data import Examples, images_of
from pipelines.errors import DataError
from pipelines.evaluation.png_figure import to_png

GRID_COLUMNS = 8
GRID_IMAGES = 64
GRID_CAPTION = 7  # pixels above each image for its text
CONFUSED_THUMBNAILS = 8
"""Images of one confused pair."""


def sample_grid(images: NDArray[np.uint8], labels: Sequence[str], predictions: Sequence[str] | None = None) -> bytes:
    """The first images with their truth; a wrong guess is shown in red."""
    count = min(len(images), GRID_IMAGES)
    if count == 0 or len(labels) != len(images) or (predictions is not None and len(predictions) != len(images)):
        raise DataError(
            f"{len(images)} images, {len(labels)} labels and {len(predictions or ())} guesses make no grid; "
            "give at least one image, and as many texts as images"
        )
    height, width = images.shape[1:]
    cell, rows = height + GRID_CAPTION, -(-count // GRID_COLUMNS)
    mosaic = np.full((rows * cell, GRID_COLUMNS * (width + 2)), 255, dtype=np.uint8)
    figure = Figure(figsize=(GRID_COLUMNS, 1.25 * rows))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for index in range(count):
        top, left = index // GRID_COLUMNS * cell + GRID_CAPTION, index % GRID_COLUMNS * (width + 2)
        mosaic[top : top + height, left : left + width] = images[index]
        wrong = predictions is not None and predictions[index] != labels[index]
        text = f"{labels[index]}, not {predictions[index]}" if predictions and wrong else labels[index]
        ink = "crimson" if wrong else "black"
        axes.text(left + width / 2, top - 2, text, ha="center", va="bottom", fontsize=8, color=ink)
    axes.imshow(mosaic, cmap="gray", vmin=0, vmax=255, aspect="auto")
    return to_png(figure)


def confused_images(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    predictions: NDArray[np.int64],
    pairs: Sequence[tuple[int, int, int]],
    classes: Sequence[str],
) -> bytes:
    """One line per confused pair (truth, answer, rows): its first images; raises DataError where there is none."""
    if not pairs:
        raise DataError("no answer was wrong, so no pair was confused; draw this only where there are mistakes")
    figure = Figure(figsize=(2 + 0.7 * CONFUSED_THUMBNAILS, 0.8 * len(pairs) + 0.3), layout="constrained")
    grid = figure.subplots(len(pairs), CONFUSED_THUMBNAILS + 1, squeeze=False)
    for (truth, answer, rows), line in zip(pairs, grid, strict=True):
        for axes in line:
            axes.set_axis_off()
        text = f"{classes[truth]} read as {classes[answer]}: {rows}"
        line[0].text(1, 0.5, text, ha="right", va="center", fontsize=8, transform=line[0].transAxes)
        for image, axes in zip(images[(labels == truth) & (predictions == answer)], line[1:], strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    return to_png(figure)


def class_means(images: Examples, classes: Sequence[str]) -> NDArray[np.uint8]:
    """The mean image of each class that has rows (classes with rows, height, width)."""
    means = [
        images_of(images.batch)[images.labels == label].mean(axis=0)
        for label in range(len(classes))
        if label in images.labels
    ]
    rounded: NDArray[np.uint8] = np.rint(np.stack(means)).astype(np.uint8)
    return rounded


def sample_rows(rows: Examples, classes: Sequence[str]) -> list[int]:
    """Rows to show, the classes taking turns, chosen by place so that a run shows the same ones again."""
    queues = [np.flatnonzero(rows.labels == label) for label in range(len(classes))]
    turns = [int(queue[turn]) for turn in range(GRID_IMAGES) for queue in queues if turn < len(queue)]
    return turns[:GRID_IMAGES]
