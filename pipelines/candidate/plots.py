"""Draws the plots of a training and its evaluation as PNG bytes, without matplotlib's global state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.errors import DataError
from pipelines.evaluation.classification_scores import ClassificationScores, wilson_interval
from pipelines.evaluation.png_figure import literal_text, to_png
from pipelines.input_evaluation import ColumnImportance, PartialDependence
from pipelines.trainer import EpochMetrics
from registry.calibration_metrics import ReliabilityBin

MAX_PLOTTED_COLUMNS = 30
MAX_PLOTTED_CLASSES = 4
PLOTS_PER_LINE = 4


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
    axes.set_yticks(positions, [literal_text(name) for name, _, _, _ in lines], fontsize=8)
    axes.invert_yaxis()
    axes.set(title=literal_text(title), xlabel="share of right answers, with 95 % interval")
    axes.grid(alpha=0.3)
    return to_png(figure)


def importance_plot(columns: Sequence[ColumnImportance]) -> bytes:
    """By how much the mean loss rises without each column's values, with limits for all columns together."""
    shown = columns[:MAX_PLOTTED_COLUMNS]
    if not shown:
        raise DataError("there are no columns to draw; give at least one")
    figure = Figure(figsize=(6.5, 0.24 * len(shown) + 1.2), layout="constrained")
    axes = figure.subplots()
    values = [each.added_loss for each in shown]
    reach = [[each.added_loss - each.low for each in shown], [each.high - each.added_loss for each in shown]]
    axes.errorbar(values, range(len(shown)), xerr=reach, fmt="o", capsize=2)
    axes.axvline(0.0, color="grey", linestyle="--")
    axes.set_yticks(range(len(shown)), [literal_text(each.column) for each in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set(title="loss added when a column's values are dealt to other rows", xlabel="mean loss added, with limits")
    axes.grid(alpha=0.3)
    return to_png(figure)


def partial_dependence_plot(columns: Sequence[PartialDependence], classes: Sequence[str]) -> bytes:
    """The mean probability over the values of each column; of two classes the second, of many the most moved ones."""
    if not columns:
        raise DataError("there are no columns to draw; give at least one")
    lines = -(-len(columns) // PLOTS_PER_LINE)
    figure = Figure(figsize=(4 * PLOTS_PER_LINE, 2.8 * lines), layout="constrained")
    places = figure.subplots(lines, PLOTS_PER_LINE, squeeze=False).ravel()
    for axes, each in zip(places, columns, strict=False):
        spread = np.ptp(each.probabilities, axis=0)
        drawn = [1] if len(classes) == 2 else np.argsort(-spread, kind="stable")[:MAX_PLOTTED_CLASSES].tolist()
        known = len(each.values) if each.positions is None else len(each.positions)
        across = range(known) if each.positions is None else each.positions
        for index in drawn:
            style = "o" if each.positions is None else "o-"
            label = literal_text(classes[index])
            axes.plot(across, each.probabilities[:known, index], style, markersize=3, label=label)
        if each.positions is None:
            axes.set_xticks(range(known), [literal_text(value[:12]) for value in each.values], rotation=45, fontsize=7)
        axes.set_title(literal_text(each.column), fontsize=9)
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
    for axes in places[len(columns) :]:
        axes.set_axis_off()
    places[0].set_ylabel("mean probability")
    places[0].legend(fontsize=7)
    return to_png(figure)
