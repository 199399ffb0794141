"""Profiles the data before a training: class balance, duplicates, and labels that contradict."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from pipelines.answers import counted_labels
from pipelines.data import Examples
from pipelines.errors import DataError
from pipelines.evaluation.png_figure import to_png
from pipelines.input_evaluation import InputEvaluation
from registry.prediction_task import Task
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


def profile_data(sides: Mapping[str, Examples], task: Task) -> DataProfile:
    """Look at each side, and across them at copies by content."""
    if not any(len(rows) for rows in sides.values()):
        raise DataError(f"the sides {', '.join(sides)} hold no rows to look at; load some first")
    places_by_image: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for side, rows in sides.items():
        for image, label in zip(rows.ids, rows.labels.tolist(), strict=True):
            places_by_image[image].append((side, task.label(label)))
    duplicates = [DuplicateImage(image, tuple(there)) for image, there in places_by_image.items() if len(there) > 1]
    return DataProfile(
        balance={side: _class_counts(rows, task) for side, rows in sides.items()},
        writers={side: len(set(rows.groups) - {""}) for side, rows in sides.items() if rows.groups},
        duplicates=tuple(
            sorted(
                duplicates, key=lambda duplicate: (not duplicate.is_conflict, -len(duplicate.places), duplicate.image)
            )
        ),
    )


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
    return to_png(figure)


def log_data_profile(run: Run, sides: Mapping[str, Examples], task: Task, evaluation: InputEvaluation) -> DataProfile:
    """Look, and keep what was seen under the run: a report, the balance, and pictures of the first side's rows."""
    profile = profile_data(sides, task)
    run.log_json("exploration.json", profile.as_report())
    run.log_figure("class_balance", partial(class_balance_plot, profile))
    first = next(rows for rows in sides.values() if len(rows))
    for name, draw in evaluation.profile_figures(first, task).items():
        run.log_figure(name, draw)
    return profile


def _class_counts(rows: Examples, task: Task) -> dict[str, int]:
    counts = Counter(counted_labels(task, rows.labels).tolist())
    return {name: counts[place] for place, name in enumerate(task.counted_names)}
