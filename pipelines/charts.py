"""Charts of a judgement, as PNG bytes: how honest confidence is, and what is mistaken for what; no model, no file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.evaluate import wilson
from pipelines.figures import png_of
from registry.calibration import Bin

THUMBNAILS = 8


def reliability_diagram(bins: Sequence[Bin], title: str) -> bytes:
    """Share of right answers against confidence with 95 % intervals, above how many answers lie in each bin."""
    full = [each for each in bins if each.rows]
    if not full:
        raise DataError("there are no answers to draw a reliability diagram of; judge at least one row")
    figure = Figure(figsize=(5, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="grey", linestyle="--", label="confidence as it should be")
    shares = [each.right / each.rows for each in full]
    limits = [wilson(each.right, each.rows) for each in full]
    reach = [
        [s - low for s, (low, _) in zip(shares, limits, strict=True)],
        [high - s for s, (_, high) in zip(shares, limits, strict=True)],
    ]
    upper.errorbar([each.confidence for each in full], shares, yerr=reach, fmt="o", capsize=2, label="answers")
    upper.set(ylabel="share of right answers", title=title, xlim=(0, 1), ylim=(0, 1.02))
    upper.legend(loc="upper left")
    upper.grid(alpha=0.3)
    lower.bar([each.low for each in bins], [each.rows for each in bins], [each.high - each.low for each in bins],
              align="edge", edgecolor="white")  # fmt: skip
    lower.set(xlabel="confidence", ylabel="answers", yscale="symlog")
    return png_of(figure)


def confused_pictures(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    answers: NDArray[np.int64],
    pairs: Sequence[tuple[int, int, int]],
    classes: Sequence[str],
) -> bytes:
    """One line per confused pair (truth, answer, rows): its first pictures; raises DataError where there is none."""
    if not pairs:
        raise DataError("no answer was wrong, so no pair was confused; draw this only where there are mistakes")
    figure = Figure(figsize=(2 + 0.7 * THUMBNAILS, 0.8 * len(pairs) + 0.3), layout="constrained")
    grid = figure.subplots(len(pairs), THUMBNAILS + 1, squeeze=False)
    for (truth, answer, rows), line in zip(pairs, grid, strict=True):
        for axes in line:
            axes.set_axis_off()
        text = f"{classes[truth]} read as {classes[answer]}: {rows}"
        line[0].text(1, 0.5, text, ha="right", va="center", fontsize=8, transform=line[0].transAxes)
        for image, axes in zip(images[(labels == truth) & (answers == answer)], line[1:], strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    return png_of(figure)


def shares(lines: Sequence[tuple[str, float, float, float]], title: str, whole: float | None) -> bytes:
    """Each line's share with its interval (name, share, low, high), beside the share of all rows where it is given."""
    if not lines:
        raise DataError("there are no shares to draw; give at least one line")
    figure = Figure(figsize=(6.5, 0.24 * len(lines) + 1.2), layout="constrained")
    axes = figure.subplots()
    places = range(len(lines))
    values = [share for _, share, _, _ in lines]
    reach = [[max(0.0, s - low) for _, s, low, _ in lines], [max(0.0, high - s) for _, s, _, high in lines]]
    axes.errorbar(values, places, xerr=reach, fmt="o", capsize=2)
    if whole is not None:
        axes.axvline(whole, color="grey", linestyle="--", label=f"all rows as they are: {whole:.2%}")
        axes.legend(loc="best", fontsize=8)
    axes.set_yticks(places, [name for name, _, _, _ in lines], fontsize=8)
    axes.invert_yaxis()
    axes.set(title=title, xlabel="share of right answers, with 95 % interval")
    axes.grid(alpha=0.3)
    return png_of(figure)
