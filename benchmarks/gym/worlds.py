"""The gym's worlds: real handwriting the first champion never saw, as it is and changed; they know no model."""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.data import ImageSet, Split, bucket, split_by_hash
from pipelines.idx import load_idx_folder
from pipelines.optdigits import load_optdigits
from pipelines.scanner import second_scanner

Images = NDArray[np.uint8]
Change = Callable[[Images, float, int], Images]
"""Images, how strongly (0 to 1) and a seed."""

SIDE: Final = 28
STUDENTS: Final = 4
"""The NIST series that high-school students wrote; the others were written by census staff."""
SERIES: Final = 1
STAFF_FRACTIONS: Final = {"train": 0.3, "validation": 0.05, "stream": 0.65}
DIGITS_FRACTIONS: Final = {"train": 0.32, "validation": 0.08, "golden": 0.21, "stream": 0.39}
GOLDEN_SHARE: Final = 0.9
EXAM_SHARE: Final = 1 / 3
MOST: Final = 9_000


@dataclass(frozen=True, eq=False)
class Place:
    """Where pictures come from: `stream` is served and labelled, `exam` only measures afterwards."""

    stream: ImageSet
    exam: ImageSet


@dataclass(frozen=True, eq=False)
class Atlas:
    """The split the first champion is made from, and every place there is."""

    split: Split
    places: Mapping[str, Place]

    @cached_property
    def _changed(self) -> dict[tuple[str, float], Place]:
        return {}

    def place(self, name: str, strength: float = 1.0) -> Place:
        """A place by name: one there is, or the old one changed by that much."""
        if name in self.places:
            return self.places[name]
        key = (name, round(strength, 2))
        if key not in self._changed:
            old, change = self.places["old"], CHANGES[name]
            self._changed[key] = Place(
                *(
                    ImageSet(change(each.images, key[1], seed), each.labels, f"{name}/{key[1]}")
                    for seed, each in enumerate((old.stream, old.exam))
                )
            )
        return self._changed[key]


def load_atlas(folder: Path | None) -> Atlas:
    """The handwriting of a data folder (`mnist`, `qmnist-labels`, `usps`), or scikit-learn's bundled digits."""
    return _bundled() if folder is None else _real(folder)


def _bundled() -> Atlas:
    split = split_by_hash(load_optdigits(), DIGITS_FRACTIONS)
    return Atlas(split, {"old": _dealt(split.stream)})


def _real(folder: Path) -> Atlas:
    train, test = load_idx_folder(folder / "mnist")
    staff, students = (_by_writers(folder, "train", train, series) for series in (False, True))
    judges = _by_writers(folder, "test", test, False)
    judges = judges.without(train.ids)
    golden = judges.take([bucket(i, "golden") < GOLDEN_SHARE for i in judges.ids])
    parts = split_by_hash(staff, STAFF_FRACTIONS)
    split = Split(parts.train, parts.validation, golden, parts.stream)
    usps = ImageSet.concat("usps", *(_usps(folder / "usps", side) for side in ("train", "test")))
    places = {name: _dealt(each) for name, each in (("old", parts.stream), ("students", students), ("usps", usps))}
    return Atlas(split, places)


def _dealt(images: ImageSet) -> Place:
    order = np.argsort([bucket(i, "gym") for i in images.ids])[:MOST]
    cut = int(len(order) * EXAM_SHARE)
    return Place(images.take(order[cut:]), images.take(order[:cut]))


def _by_writers(folder: Path, side: str, images: ImageSet, students: bool) -> ImageSet:
    """The images of one population, by QMNIST's extended labels (Yadav and Bottou 2019)."""
    found = next((folder / "qmnist-labels").glob(f"*{side}*"))
    raw = found.read_bytes()
    content = gzip.decompress(raw) if found.suffix == ".gz" else raw
    rows, columns = np.frombuffer(content[4:12], dtype=">i4")
    table = np.frombuffer(content[12:], dtype=">i4").reshape(rows, columns)[: len(images)]
    if (table[:, 0] != images.labels).any():
        raise SystemExit(f"{found} does not describe the images of MNIST's {side} side; use the file of QMNIST")
    return images.take((table[:, SERIES] == STUDENTS) == students)


def _usps(folder: Path, side: str) -> ImageSet:
    """USPS's 16x16 digits in MNIST's shape: 20x20 in the middle of 28x28."""
    [path] = folder.glob(f"*{side}*")
    with gzip.open(path, "rt") as lines:
        table = np.array([line.split() for line in lines], dtype=np.float64)
    light = (table[:, 1:].reshape(-1, 16, 16) + 1) * 127.5
    inked = ndimage.zoom(light, (1, 20 / 16, 20 / 16), order=1)
    whole = np.zeros((len(inked), SIDE, SIDE), dtype=np.uint8)
    whole[:, 4:24, 4:24] = np.clip(np.rint(inked), 0, 255).astype(np.uint8)
    return ImageSet(whole, table[:, 0].astype(np.int64), f"usps/{side}")


def _pixels(light: NDArray[np.floating]) -> Images:
    pixels: Images = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return pixels


def turned(images: Images, strength: float, seed: int) -> Images:
    """Turned by up to 40 degrees."""
    del seed
    return _pixels(ndimage.rotate(images.astype(np.float64), 40 * strength, axes=(1, 2), reshape=False, order=1))


def blurred(images: Images, strength: float, seed: int) -> Images:
    """Softened by up to 2.2 pixels."""
    del seed
    return _pixels(ndimage.gaussian_filter(images.astype(np.float64), (0, 2.2 * strength, 2.2 * strength)) * 1.2)


def noisy(images: Images, strength: float, seed: int) -> Images:
    """Grain of up to 90 grey levels."""
    return _pixels(images + np.random.default_rng(seed).normal(0, 90 * strength, images.shape))


def thick(images: Images, strength: float, seed: int) -> Images:
    """A pen up to three pixels wider."""
    del seed
    wide = ndimage.grey_dilation(images.astype(np.float64), size=(1, 4, 4))
    return _pixels((1 - strength) * images + strength * wide)


def bright(images: Images, strength: float, seed: int) -> Images:
    """Lit better: up to 18 % more contrast; a person would not notice."""
    del seed
    return _pixels(images * (1 + 0.18 * strength))


def rescanned(images: Images, strength: float, seed: int) -> Images:
    """Another device (`pipelines.scanner`)."""
    del strength
    return second_scanner(images, seed + 70)


CHANGES: Final[Mapping[str, Change]] = {
    "turned": turned,
    "blurred": blurred,
    "noisy": noisy,
    "thick": thick,
    "bright": bright,
    "rescanned": rescanned,
}
