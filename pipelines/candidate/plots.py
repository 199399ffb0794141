"""Draws the plots of a training and its evaluation as PNG bytes, without matplotlib's global state."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.evaluation.classification_scores import ClassificationScores, wilson_interval
from pipelines.training.training_loop import EpochMetrics
from registry.calibration_metrics import ReliabilityBin

DPI = 110
GRID_COLUMNS = 8
GRID_IMAGES = 64
GRID_CAPTION = 7  # pixels above each image for its text
CONFUSED_THUMBNAILS = 8
"""Images of one confused pair."""


def loss_curve(history: Sequence[EpochMetrics]) -> bytes:
    """Loss and accuracy over the epochs, training against validation."""
    if not history:
        raise DataError("there are no epochs to draw; train for at least one")
    epochs = [metrics.epoch for metrics in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, noun in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for side in ("train", "validation"):
            axes.plot(epochs, [getattr(metrics, f"{side}_{noun}") for metrics in history], marker=".", label=side)
        axes.set(xlabel="epoch", ylabel=noun)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    return to_png(figure)


def confusion_matrix_plot(scores: ClassificationScores, classes: Sequence[str], *, normalised: bool = False) -> bytes:
    """Truth against answer, as counts or as percent of the true class; colour is the share of the true class."""
    counts = scores.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.0, 0.55 * len(classes) + 1.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes)
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="answer", ylabel="truth")
    axes.set_title(f"{scores.accuracy:.2%} of {scores.n} rows right")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            ink = "white" if shares[row, column] > 0.5 else "black"
            text = f"{100 * shares[row, column]:.1f}" if normalised else str(count)
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    return to_png(figure)


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


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def reliability_diagram(bins: Sequence[ReliabilityBin], title: str) -> bytes:
    """Share of right answers against confidence with 95 % intervals, above how many answers lie in each bin."""
    filled_bins = [reliability_bin for reliability_bin in bins if reliability_bin.rows]
    if not filled_bins:
        raise DataError("there are no answers to draw a reliability diagram of; judge at least one row")
    figure = Figure(figsize=(5, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="grey", linestyle="--", label="confidence as it should be")
    shares = [reliability_bin.correct / reliability_bin.rows for reliability_bin in filled_bins]
    limits = [wilson_interval(reliability_bin.correct, reliability_bin.rows) for reliability_bin in filled_bins]
    reach = [
        [s - low for s, (low, _) in zip(shares, limits, strict=True)],
        [high - s for s, (_, high) in zip(shares, limits, strict=True)],
    ]
    upper.errorbar(
        [reliability_bin.confidence for reliability_bin in filled_bins],
        shares,
        yerr=reach,
        fmt="o",
        capsize=2,
        label="answers",
    )
    upper.set(ylabel="share of right answers", title=title, xlim=(0, 1), ylim=(0, 1.02))
    upper.legend(loc="upper left")
    upper.grid(alpha=0.3)
    edges = [reliability_bin.low for reliability_bin in bins]
    widths = [reliability_bin.high - reliability_bin.low for reliability_bin in bins]
    lower.bar(edges, [reliability_bin.rows for reliability_bin in bins], widths, align="edge", edgecolor="white")
    lower.set(xlabel="confidence", ylabel="answers", yscale="symlog")
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


def interval_plot(lines: Sequence[tuple[str, float, float, float]], title: str, reference: float | None) -> bytes:
    """Each line's share with its interval (name, share, low, high), beside the share of all rows where it is given."""
    if not lines:
        raise DataError("there are no shares to draw; give at least one line")
    figure = Figure(figsize=(6.5, 0.24 * len(lines) + 1.2), layout="constrained")
    axes = figure.subplots()
    positions = range(len(lines))
    values = [share for _, share, _, _ in lines]
    reach = [[max(0.0, s - low) for _, s, low, _ in lines], [max(0.0, high - s) for _, s, _, high in lines]]
    axes.errorbar(values, positions, xerr=reach, fmt="o", capsize=2)
    if reference is not None:
        axes.axvline(reference, color="grey", linestyle="--", label=f"all rows as they are: {reference:.2%}")
        axes.legend(loc="best", fontsize=8)
    axes.set_yticks(positions, [name for name, _, _, _ in lines], fontsize=8)
    axes.invert_yaxis()
    axes.set(title=title, xlabel="share of right answers, with 95 % interval")
    axes.grid(alpha=0.3)
    return to_png(figure)
