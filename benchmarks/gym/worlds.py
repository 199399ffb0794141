"""The gym's worlds: real handwriting the first champion never saw, as it is and changed; they know no model."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.data import Examples, Split, hash_fraction, images_of, split_by_hash
from pipelines.datasets.idx_files import load_idx_folder
from pipelines.datasets.optdigits import load_optdigits
from pipelines.datasets.qmnist import attach_writers
from pipelines.datasets.usps import load_usps
from pipelines.image.image_examples import image_examples
from pipelines.image.simulated_shift import simulate_scanner_shift

Images = NDArray[np.uint8]
Change = Callable[[Images, float, int], Images]
"""Images, how strongly (0 to 1) and a seed."""

STUDENTS: Final = "4/"
"""How the writers of the NIST series begin that high-school students wrote; the others were census staff."""
STAFF_FRACTIONS: Final = {"train": 0.3, "validation": 0.05, "stream": 0.65}
DIGITS_FRACTIONS: Final = {"train": 0.32, "validation": 0.08, "golden": 0.21, "stream": 0.39}
GOLDEN_SHARE: Final = 0.9
EXAM_SHARE: Final = 1 / 3
MOST: Final = 9_000


@dataclass(frozen=True, eq=False)
class Place:
    """Where pictures come from: `stream` is served and labelled, `exam` only measures afterwards."""

    stream: Examples
    exam: Examples


@dataclass(frozen=True, eq=False)
class Atlas:
    """The split the first champion is made from, and every place there is."""

    split: Split
    places: Mapping[str, Place]

    @cached_property
    def _changed(self) -> dict[tuple[str, float], Place]:
        return {}

    @property
    def has_writers(self) -> bool:
        """Whether it is known who wrote the pictures of the old place."""
        return any(self.places["old"].stream.groups)

    @cached_property
    def _rows_by_writer(self) -> dict[str, dict[str, tuple[int, ...]]]:
        return {}

    def rows_by_writer(self, name: str) -> dict[str, tuple[int, ...]]:
        """The numbers of a place's served pictures by their writer."""
        if name not in self._rows_by_writer:
            rows: dict[str, list[int]] = defaultdict(list)
            for index, writer in enumerate(self.places[name].stream.groups):
                rows[writer].append(index)
            self._rows_by_writer[name] = {writer: tuple(indices) for writer, indices in rows.items()}
        return self._rows_by_writer[name]

    def place(self, name: str, strength: float = 1.0) -> Place:
        """A place by name: one there is, or the old one changed by that much."""
        if name in self.places:
            return self.places[name]
        key = (name, round(strength, 2))
        if key not in self._changed:
            old, change = self.places["old"], CHANGES[name]
            self._changed[key] = Place(
                *(
                    image_examples(change(images_of(each.batch), key[1], seed), each.labels, f"{name}/{key[1]}")
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
    judges = judges.exclude(train.ids)
    golden = judges.take([hash_fraction(i, "golden") < GOLDEN_SHARE for i in judges.ids])
    parts = split_by_hash(staff, STAFF_FRACTIONS)
    split = Split(parts.train, parts.validation, golden, parts.stream)
    usps = Examples.concat("usps", *load_usps(folder / "usps"))
    places = {name: _dealt(each) for name, each in (("old", parts.stream), ("students", students), ("usps", usps))}
    return Atlas(split, places)


def _dealt(images: Examples) -> Place:
    order = np.argsort([hash_fraction(i, "gym") for i in images.ids])[:MOST]
    cut = int(len(order) * EXAM_SHARE)
    return Place(images.take(order[cut:]), images.take(order[:cut]))


def _by_writers(folder: Path, side: str, images: Examples, students: bool) -> Examples:
    """The images of one population, by QMNIST's extended labels (Yadav and Bottou 2019)."""
    writers = attach_writers(images, folder / "qmnist-labels", side).groups
    return images.take([each.startswith(STUDENTS) == students for each in writers])


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
    """Another device (`pipelines.image.simulated_shift`)."""
    del strength
    return simulate_scanner_shift(images, seed + 70)


CHANGES: Final[Mapping[str, Change]] = {
    "turned": turned,
    "blurred": blurred,
    "noisy": noisy,
    "thick": thick,
    "bright": bright,
    "rescanned": rescanned,
}
