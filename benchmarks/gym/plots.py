"""The gym's plots for the documentation, drawn from its figures; they measure nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.gym.play import Played


def draw_plots(folder: Path, figures: Mapping[str, Any], renewed: Mapping[str, Sequence[Played]]) -> None:
    """Delays by detector, and true accuracy through drift and renewal."""
    folder.mkdir(parents=True, exist_ok=True)
    _delays(folder / "delays.png", figures["delays"])
    if renewed:
        _renewals(folder / "renewals.png", renewed)


def _delays(path: Path, delays: Mapping[str, Mapping[str, Any]]) -> None:
    names = [name for name, each in delays["ours"].items() if each["median"] is not None]
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    width = 0.8 / len(delays)
    for number, (detector, each) in enumerate(delays.items()):
        heights = [each.get(name, {}).get("median") or float("nan") for name in names]
        axes.bar([place + number * width for place in range(len(names))], heights, width, label=detector)
    axes.set_xticks([place + 0.4 for place in range(len(names))], names, rotation=30, ha="right")
    axes.set_yscale("log")
    axes.set_ylabel("labels from change to alarm, median")
    axes.set_title("Delay at equal false alarms; a missing bar never alarmed")
    axes.legend(ncols=3, fontsize=8)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _renewals(path: Path, renewed: Mapping[str, Sequence[Played]]) -> None:
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for name, many in renewed.items():
        if many and many[0].days:
            axes.plot([day for day, _, _ in many[0].days], [100 * share for _, share, _ in many[0].days], label=name)
            for each in many[0].promotions:
                axes.plot(each.day, 100 * each.world[1], "k^", markersize=5)
    axes.set_xlabel("day")
    axes.set_ylabel("true accuracy on what is shown, %")
    axes.set_title("Drift and renewal; triangles are promotions")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=80)
    plt.close(figure)
