"""Reads QMNIST's extended labels: who wrote each image of MNIST, and in which series.

After Yadav and Bottou, "Cold Case: The Lost MNIST Digits" (NeurIPS 2019). Row i of the train file describes image i of
MNIST's training file; the first 10 000 rows of the test file describe MNIST's test images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.data import Examples
from pipelines.datasets.idx_files import find_file, read_idx_integers
from pipelines.errors import CorruptDataError

FILES = {"train": "qmnist-train-labels-idx2-int", "test": "qmnist-test-labels-idx2-int"}
COLUMNS = 8
CLASS_COLUMN, SERIES_COLUMN, WRITER_COLUMN = 0, 1, 2
POPULATIONS = {0: "staff", 1: "staff", 4: "students"}
"""Who wrote NIST's series: employees of the census, and high-school students."""


@dataclass(frozen=True, eq=False)
class WriterLabels:
    """What the extended labels say of each image, (n,) each."""

    labels: NDArray[np.int64]
    series: NDArray[np.int32]
    writers: NDArray[np.int32]

    @property
    def writer_ids(self) -> tuple[str, ...]:
        """One text per writer, which tells the series too: writer 117 of series 4 is '4/0117'."""
        pairs = zip(self.series.tolist(), self.writers.tolist(), strict=True)
        return tuple(f"{series}/{writer:04d}" for series, writer in pairs)


def read_writers(path: Path) -> WriterLabels:
    """One file of extended labels, zipped or not."""
    table = read_idx_integers(path)
    if table.ndim != 2 or table.shape[1] != COLUMNS:
        raise CorruptDataError(
            f"{path.name} has the shape {table.shape}; QMNIST's extended labels have {COLUMNS} columns"
        )
    return WriterLabels(table[:, CLASS_COLUMN].astype(np.int64), table[:, SERIES_COLUMN], table[:, WRITER_COLUMN])


def attach_writers(images: Examples, folder: Path, side: str) -> Examples:
    """The images of MNIST's train or test file, in its order, with the writer of each."""
    path = find_file(folder, FILES[side], "qmnist")
    labels = read_writers(path)
    if len(labels.labels) < len(images) or (labels.labels[: len(images)] != images.labels).any():
        raise CorruptDataError(
            f"{path.name} does not describe the {len(images)} images of '{images.name}': its classes are others; "
            f"give the whole {side} file of MNIST, in its own order"
        )
    return replace(images, groups=labels.writer_ids[: len(images)])


def has_writers(folder: Path) -> bool:
    """Whether a folder holds extended labels for both sides."""
    return all(any((folder / f"{name}{end}").is_file() for end in ("", ".gz")) for name in FILES.values())


def population_by_image(images: Examples) -> dict[str, str]:
    """Of each image by content hash, the people its writer belongs to: staff, students, or `series-N` of others."""
    return {
        image: POPULATIONS.get(int(writer.partition("/")[0]), f"series-{writer.partition('/')[0]}")
        for image, writer in zip(images.ids, images.groups, strict=False)
        if writer
    }
