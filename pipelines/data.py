"""Labelled images, identified by their content, and how they are split."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.batch import Batch, row_positions
from pipelines.errors import DataError
from pipelines.input_row import InputRow

HOLDOUT_SHARE = 1 / 3
IMAGE_INPUT: Final = "image"
"""The name of the pictures among the arrays of a batch."""
SPLIT_PARTS = ("train", "validation", "golden", "stream")


def image_batch(images: NDArray[np.uint8]) -> Batch:
    """Grey pictures (n, height, width) as rows of a model."""
    return Batch({IMAGE_INPUT: images})


def images_of(batch: Batch) -> NDArray[np.uint8]:
    """The pictures (n, height, width) of rows that have them; raises DataError for others."""
    images: NDArray[np.uint8] = batch.array(IMAGE_INPUT)
    return images


def image_row(image: NDArray[np.uint8]) -> InputRow:
    """A grey picture (height, width) in its canonical form."""
    return InputRow(image.shape, image.tobytes())


def image_rows(images: NDArray[np.uint8]) -> list[InputRow]:
    """Grey pictures (n, height, width), each in its canonical form."""
    shape, content = images.shape[1:], images.tobytes()
    size = math.prod(shape)
    return [InputRow(shape, content[start : start + size]) for start in range(0, len(content), size)]


def content_hash(image: NDArray[np.uint8]) -> str:
    """The identity of a grey image on the whole platform: sha256 over its size and its pixels."""
    if image.ndim != 2 or image.dtype != np.uint8:
        raise DataError(
            f"an image of shape {image.shape} and type {image.dtype} has no content hash; "
            "give one grey image (height, width) of uint8"
        )
    return image_row(image).content_hash


def hash_fraction(content_id: str, salt: str = "") -> float:
    """A number in [0, 1) that depends on the identity and the salt only, so that splits never move."""
    digest = hashlib.sha256(f"{salt}{content_id}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / float(1 << 53)


def is_holdout(content_id: str) -> bool:
    """Whether feedback on this image is for the gate only, and never for training."""
    return hash_fraction(content_id, "gate") < HOLDOUT_SHARE


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Grey images with their labels, in a fixed order."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    name: str
    writers: tuple[str, ...] = field(default=(), kw_only=True)
    """Who wrote each image, empty texts where nobody knows; no texts at all where it is known of none."""

    def __post_init__(self) -> None:
        if self.writers and len(self.writers) != len(self.labels):
            raise DataError(f"'{self.name}' has {len(self.labels)} rows and {len(self.writers)} writers; give one each")
        if self.images.ndim != 3 or self.images.dtype != np.uint8:
            raise DataError(
                f"images of '{self.name}' have shape {self.images.shape} and type {self.images.dtype}; "
                "give uint8 of shape (n, height, width)"
            )
        if self.labels.shape != (len(self.images),) or self.labels.dtype != np.int64:
            raise DataError(
                f"labels of '{self.name}' have shape {self.labels.shape} and type {self.labels.dtype}; "
                f"give int64 of shape ({len(self.images)},)"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def batch(self) -> Batch:
        """The images as rows that a model answers."""
        return image_batch(self.images)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The content hash of each image."""
        return tuple(content_hash(image) for image in self.images)

    @cached_property
    def digest(self) -> str:
        """The identity of the whole set: sha256 over every image's identity and label, in order."""
        lines = (f"{i}:{label}" for i, label in zip(self.ids, self.labels.tolist(), strict=True))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def take(self, indices: ArrayLike) -> Self:
        """The rows at these positions (or where a boolean mask is true), in that order."""
        rows = row_positions(indices, len(self), f"'{self.name}'")
        return type(self)(**self._selected_fields(rows))

    def exclude(self, content_hashes: Collection[str]) -> Self:
        """The rows whose image is not among these identities."""
        unwanted = frozenset(content_hashes)
        return self.take(np.array([i not in unwanted for i in self.ids], dtype=bool))

    @staticmethod
    def concat(name: str, *sets: ImageSet) -> ImageSet:
        """All rows of the sets, one set after the other; the images must have one size."""
        if not sets:
            raise DataError(f"'{name}' would be made of no sets; give at least one")
        sizes = {each.images.shape[1:] for each in sets}
        if len(sizes) > 1:
            raise DataError(f"'{name}' would mix image sizes {sorted(sizes)}; resize them first")
        images = np.concatenate([each.images for each in sets])
        known = any(each.writers for each in sets)
        writers = tuple(w for each in sets for w in each.writers or ("",) * len(each)) if known else ()
        return ImageSet(images, np.concatenate([each.labels for each in sets]), name, writers=writers)

    def _selected_fields(self, rows: NDArray[np.intp]) -> dict[str, Any]:
        writers = tuple(self.writers[i] for i in rows) if self.writers else ()
        return {"images": self.images[rows], "labels": self.labels[rows], "name": self.name, "writers": writers}


@dataclass(frozen=True, eq=False)
class FeedbackRows(ImageSet):
    """Images whose true label people or later events told us, each with the feedback it came from."""

    feedback_ids: tuple[str, ...]
    trains_only: tuple[bool, ...] = ()
    """Rows that may never judge, such as reported errors: they were picked because the champion was wrong."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.feedback_ids) != len(self.labels):
            raise DataError(
                f"'{self.name}' has {len(self.labels)} rows but {len(self.feedback_ids)} feedback ids; "
                "give one id per row"
            )
        if self.trains_only and len(self.trains_only) != len(self.labels):
            raise DataError(
                f"'{self.name}' has {len(self.labels)} rows but {len(self.trains_only)} flags; give one each"
            )

    def training_rows(self) -> FeedbackRows:
        """The rows that training may see."""
        return self.take(~self._holdout_mask())

    def holdout_rows(self) -> FeedbackRows:
        """The rows that only the gate may see: a fair sample, held back by hash."""
        return self.take(self._holdout_mask())

    def _holdout_mask(self) -> NDArray[np.bool_]:
        flags = self.trains_only or (False,) * len(self)
        return np.array([is_holdout(i) and not flag for i, flag in zip(self.ids, flags, strict=True)], dtype=bool)

    def _selected_fields(self, rows: NDArray[np.intp]) -> dict[str, Any]:
        flags = tuple(self.trains_only[i] for i in rows) if self.trains_only else ()
        return super()._selected_fields(rows) | {
            "feedback_ids": tuple(self.feedback_ids[i] for i in rows),
            "trains_only": flags,
        }


@dataclass(frozen=True, eq=False)
class Split:
    """The four sides of one data set; no image of the golden side is ever on a training side."""

    train: ImageSet
    validation: ImageSet
    golden: ImageSet
    stream: ImageSet

    def __post_init__(self) -> None:
        shared = set(self.golden.ids) & (set(self.train.ids) | set(self.validation.ids))
        if shared:
            raise DataError(
                f"{len(shared)} golden images are also trained on, the first is {min(shared)[:12]}; "
                "split by content hash so that copies stay on one side"
            )


def split_by_hash(images: ImageSet, fractions: Mapping[str, float]) -> Split:
    """Deal the images to the sides by their identity; a side that is not named stays empty."""
    return _split_by_owner(images, fractions, images.ids)


def split_by_writer(images: ImageSet, fractions: Mapping[str, float]) -> Split:
    """Deal the writers to the sides, each with all that is theirs; images of unknown writers go by their identity.

    Writers who share an image, which happens where a collection holds copies, go to one side together.
    """
    known = images.writers or ("",) * len(images)
    owners = [f"writer {writer}" if writer else image for writer, image in zip(known, images.ids, strict=True)]
    joined: dict[str, str] = {}

    def leader(owner: str) -> str:
        while owner in joined:
            owner = joined[owner]
        return owner

    found: dict[str, str] = {}
    for owner, image in zip(owners, images.ids, strict=True):
        first, second = leader(owner), leader(found.setdefault(image, owner))
        if first != second:
            joined[min(first, second)] = max(first, second)  # a writer's name comes after any content hash
    return _split_by_owner(images, fractions, [leader(owner) for owner in owners])


def _split_by_owner(images: ImageSet, fractions: Mapping[str, float], owners: Sequence[str]) -> Split:
    _check_fractions(fractions)
    buckets = np.array([hash_fraction(owner, "split") for owner in owners], dtype=np.float64)
    sides, low = {}, 0.0
    for side in SPLIT_PARTS:
        high = low + fractions.get(side, 0.0)
        inside = (buckets >= low) & (buckets < high)
        sides[side] = _with_name(images.take(inside), f"{images.name}/{side}")
        low = high
    return Split(**sides)


def _check_fractions(fractions: Mapping[str, float]) -> None:
    unknown = sorted(set(fractions) - set(SPLIT_PARTS))
    if unknown:
        raise DataError(f"unknown sides {unknown}; allowed: {', '.join(SPLIT_PARTS)}")
    total = sum(fractions.values())
    if min(fractions.values(), default=-1.0) < 0 or not 0 < total <= 1 + 1e-9:
        raise DataError(f"fractions {dict(fractions)} sum to {total:g}; give shares >= 0 that sum to at most 1")


def _with_name(images: ImageSet, name: str) -> ImageSet:
    return replace(images, name=name)
