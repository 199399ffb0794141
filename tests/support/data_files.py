"""Files of public collections, small and in their real formats."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import io


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """An array as an IDX file of bytes, the format of MNIST."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    return header + array.tobytes()


def usps_row(label: str = "6.0000", grey: float = -1.0, count: int = 256) -> str:
    """A label and 256 greys from -1 to 1."""
    return " ".join([label, *[f"{grey:.4f}"] * count])


def write_usps(path: Path, *rows: str) -> Path:
    """A gzip file of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    return path


def photograph(ground: tuple[int, int, int], ink: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A stroke on a ground, 32x32 in colour."""
    image = np.full((32, 32, 3), ground, np.uint8)
    image[6:26, 14:18] = ink
    return image


def write_svhn(path: Path, images: list[NDArray[np.uint8]], labels: list[int], *, compressed: bool = True) -> Path:
    """A MATLAB file of photographs; the label 10 stands for the digit 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {"X": np.stack(images, axis=3), "y": np.array(labels, np.uint8).reshape(-1, 1)}
    io.savemat(path, arrays, do_compression=compressed)
    return path


def write_emnist(folder: Path, part: str, labels: list[int]) -> None:
    """Two gzip files of images and labels; each image is a line across, which upright goes down."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.zeros((len(labels), 28, 28), np.uint8)
    images[:, 14, 4:24] = 255
    for kind, array in (("images-idx3", images), ("labels-idx1", np.array(labels, np.uint8))):
        (folder / f"emnist-{part}-test-{kind}-ubyte.gz").write_bytes(gzip.compress(idx_bytes(array)))
