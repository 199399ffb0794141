"""Profiles the data before a training: class balance, mean images, duplicates, and labels that contradict."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.candidate.plots import DPI, GRID_IMAGES, sample_grid
from pipelines.data import ImageSet
from pipelines.errors import DataError
from registry.runs import Run

MAX_LISTED = 50
"""Copies and conflicts that are named; all are counted."""


@dataclass(frozen=True)
class DuplicateImage:
    """One image that is there more than once."""

    image: str
    """Its content hash."""
    places: tuple[tuple[str, str], ...]
    """Side and class of each."""

    @property
    def is_conflict(self) -> bool:
        """Whether its copies are labelled differently."""
        return len({label for _, label in self.places}) > 1

    @property
    def spans_splits(self) -> bool:
        """Whether its copies are on several sides."""
        return len({side for side, _ in self.places}) > 1


@dataclass(frozen=True)
class DataProfile:
    """What there is to see in labelled images before anything is trained on them."""

    balance: Mapping[str, Mapping[str, int]]
    """Rows by side and class."""
    writers: Mapping[str, int]
    """Known writers by side."""
    duplicates: tuple[DuplicateImage, ...]

    def as_report(self) -> dict[str, object]:
        """As plain values: counts of all, names of the first."""
        conflicts = [duplicate for duplicate in self.duplicates if duplicate.is_conflict]
        across = [duplicate for duplicate in self.duplicates if duplicate.spans_splits]
        return {
            "balance": {side: dict(counts) for side, counts in self.balance.items()},
            "writers": dict(self.writers),
            "images_with_copies": len(self.duplicates),
            "images_labelled_differently": len(conflicts),
            "images_on_several_sides": len(across),
            "labelled_differently": [asdict(duplicate) for duplicate in conflicts[:MAX_LISTED]],
            "copies": [asdict(duplicate) for duplicate in self.duplicates[:MAX_LISTED]],
        }


def profile_data(sides: Mapping[str, ImageSet], classes: Sequence[str]) -> DataProfile:
    """Look at each side, and across them at copies by content."""
    if not any(len(rows) for rows in sides.values()):
        raise DataError(f"the sides {', '.join(sides)} hold no rows to look at; load some first")
    places_by_image: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for side, rows in sides.items():
        for image, label in zip(rows.ids, rows.labels.tolist(), strict=True):
            places_by_image[image].append((side, classes[label]))
    duplicates = [DuplicateImage(image, tuple(there)) for image, there in places_by_image.items() if len(there) > 1]
    return DataProfile(
        balance={side: _class_counts(rows, classes) for side, rows in sides.items()},
        writers={side: len(set(rows.writers) - {""}) for side, rows in sides.items() if rows.writers},
        duplicates=tuple(
            sorted(
                duplicates, key=lambda duplicate: (not duplicate.is_conflict, -len(duplicate.places), duplicate.image)
            )
        ),
    )


def class_means(images: ImageSet, classes: Sequence[str]) -> NDArray[np.uint8]:
    """The mean image of each class that has rows (classes with rows, height, width)."""
    means = [
        images.images[images.labels == label].mean(axis=0) for label in range(len(classes)) if label in images.labels
    ]
    rounded: NDArray[np.uint8] = np.rint(np.stack(means)).astype(np.uint8)
    return rounded


def class_balance_plot(profile: DataProfile) -> bytes:
    """Shares of the classes on each side, one bar beside the other."""
    classes = list(next(iter(profile.balance.values())))
    sides = {side: counts for side, counts in profile.balance.items() if sum(counts.values())}
    figure = Figure(figsize=(max(5.0, 0.9 * len(classes)), 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(sides)
    for side_index, (side, counts) in enumerate(sides.items()):
        total = sum(counts.values())
        at = np.arange(len(classes)) + (side_index - (len(sides) - 1) / 2) * width
        axes.bar(at, [100 * counts[name] / total for name in classes], width, label=f"{side} ({total})")
    axes.set_xticks(range(len(classes)), classes)
    axes.set(xlabel="class", ylabel="percent of the side")
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def log_data_profile(run: Run, sides: Mapping[str, ImageSet], classes: Sequence[str]) -> DataProfile:
    """Look, and keep what was seen under the run: a report, the balance, samples and mean images of the first side."""
    profile = profile_data(sides, classes)
    run.log_json("exploration.json", profile.as_report())
    run.log_figure("class_balance", class_balance_plot(profile))
    first = next(rows for rows in sides.values() if len(rows))
    sample = first.take(_sample_rows(first, classes))
    run.log_figure("train_samples", sample_grid(sample.images, [classes[label] for label in sample.labels]))
    there = [name for label, name in enumerate(classes) if label in first.labels]
    run.log_figure("class_means", sample_grid(class_means(first, classes), there))
    return profile


def _class_counts(rows: ImageSet, classes: Sequence[str]) -> dict[str, int]:
    counts = Counter(rows.labels.tolist())
    return {name: counts[label] for label, name in enumerate(classes)}


def _sample_rows(rows: ImageSet, classes: Sequence[str]) -> list[int]:
    """Rows to show, the classes taking turns, chosen by place so that a run shows the same ones again."""
    queues = [np.flatnonzero(rows.labels == label) for label in range(len(classes))]
    turns = [int(queue[turn]) for turn in range(GRID_IMAGES) for queue in queues if turn < len(queue)]
    return turns[:GRID_IMAGES]
