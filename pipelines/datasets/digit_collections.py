"""The test digits of other collections that lie beside a pipeline's data: what a model reads that it never learnt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pipelines.data import Examples, rows_by_hash
from pipelines.datasets import usps
from pipelines.datasets.emnist import has_emnist, load_emnist

SIDE: Final = 28
CLASSES: Final = {str(digit): digit for digit in range(10)}
MAX_ROWS: Final = 5_000
"""So many rows of a collection are judged, drawn by hash: every training pays for them."""


def _read_usps(folder: Path) -> Examples | None:
    path = folder / usps.FILES[1]
    return usps.read_usps(path) if path.is_file() else None


def _read_svhn(folder: Path) -> Examples | None:
    # Pillow takes a moment to import, and only photographs need it.
    from pipelines.datasets.svhn import TEST_FILE, read_svhn

    return read_svhn(folder / TEST_FILE) if (folder / TEST_FILE).is_file() else None


def _read_emnist(folder: Path) -> Examples | None:
    return load_emnist(folder, "digits", CLASSES) if has_emnist(folder, "digits") else None


def _read_dida(folder: Path) -> Examples | None:
    # Pillow takes a moment to import, and only photographs need it.
    from pipelines.datasets.image_folder import load_image_folder

    return load_image_folder(folder, CLASSES, height=SIDE, width=SIDE) if folder.is_dir() else None


READERS: Final[Mapping[str, Callable[[Path], Examples | None]]] = {
    "usps": _read_usps,
    "svhn": _read_svhn,
    "emnist": _read_emnist,
    "dida": _read_dida,
}
"""What reads the folder of each collection; None where its files are not there."""


def read_collections(folder: Path | None) -> tuple[Examples, ...]:
    """Some test rows of each collection whose folder lies in a pipeline's folder, or else beside it."""
    return tuple(rows for name, read in READERS.items() for rows in read_beside(folder, name, read))


def read_beside(folder: Path | None, name: str, read: Callable[[Path], Examples | None]) -> tuple[Examples, ...]:
    """Some rows of the collection whose folder `name` lies in a pipeline's folder, or else beside it; none without.

    `read` gives None for a folder that does not have the collection's files.
    """
    for place in () if folder is None else (folder, folder.parent):
        rows = read(place / name)
        if rows is not None:
            return (rows if len(rows) <= MAX_ROWS else rows_by_hash(rows, MAX_ROWS),)
    return ()
