"""Labelled rows, identified by their content or a key of their own, and how they are split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.batch import Batch, row_positions
from pipelines.errors import DataError
from pipelines.input_row import InputRow, image_form

HOLDOUT_SHARE = 1 / 3
IMAGE_INPUT: Final = "image"
"""The name of the pictures among the arrays of a batch."""
SPLIT_PARTS = ("train", "validation", "golden", "stream")
GROUP_PREFIX: Final = "writer "
"""Goes before a group's name where groups are dealt to sides; another text would deal them anew."""
FORGOTTEN_GROUPS: Final = {True: "~forgotten, judges", False: "~forgotten, trains"}
"""What stands for groups whose names were erased, by whether labels about them are held back. Each is held back itself,
or not, as those it stands for (`is_holdout`)."""
_Value = TypeVar("_Value")


def image_batch(images: NDArray[np.uint8]) -> Batch:
    """Grey pictures (n, height, width) as rows of a model."""
    return Batch({IMAGE_INPUT: images})


def images_of(batch: Batch) -> NDArray[np.uint8]:
    """The pictures (n, height, width) of rows that have them; raises DataError for others."""
    images: NDArray[np.uint8] = batch.array(IMAGE_INPUT)
    return images


def image_row(image: NDArray[np.uint8]) -> InputRow:
    """A grey picture (height, width) in its canonical form."""
    return InputRow(image_form(*image.shape), image.tobytes())


def image_rows(images: NDArray[np.uint8]) -> list[InputRow]:
    """Grey pictures (n, height, width), each in its canonical form."""
    height, width = images.shape[1:]
    form, content, size = image_form(height, width), images.tobytes(), height * width
    return [InputRow(form, content[start : start + size]) for start in range(0, len(content), size)]


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
class Examples:
    """Rows that a model is asked with their labels, in a fixed order."""

    batch: Batch
    labels: NDArray[np.int64]
    name: str
    canonical: Callable[[Batch], Sequence[InputRow]]
    """Gives each row in its canonical form, whose hash identifies it: a codec's `rows`."""
    groups: tuple[str, ...] = field(default=(), kw_only=True)
    """Whose each row is, such as the writer or the customer, empty texts where nobody knows; no texts at all where it
    is known of none."""
    times: NDArray[np.float64] | None = field(default=None, kw_only=True)
    """When each row was, (n,) seconds since 1970; None where rows have no time."""
    keys: tuple[str, ...] = field(default=(), kw_only=True)
    """What identifies each row, such as its event, where equal inputs may have several truths; none: its content."""

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.batch),) or self.labels.dtype != np.int64:
            raise DataError(
                f"labels of '{self.name}' have shape {self.labels.shape} and type {self.labels.dtype}; "
                f"give int64 of shape ({len(self.batch)},)"
            )
        self._check_one_each("groups", self.groups)
        self._check_one_each("keys", self.keys)
        if self.times is not None and (self.times.shape != self.labels.shape or not np.isfinite(self.times).all()):
            raise DataError(f"times of '{self.name}' are not one finite number of seconds for each of {len(self)} rows")

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def content_hashes(self) -> tuple[str, ...]:
        """The content hash of each row's input."""
        return tuple(row.content_hash for row in self.canonical(self.batch))

    @property
    def ids(self) -> tuple[str, ...]:
        """The identity of each row: its key where rows have keys, otherwise its content hash."""
        return self.keys or self.content_hashes

    @cached_property
    def digest(self) -> str:
        """The identity of the whole set: sha256 over every row's identity, content and label, in order."""
        rows = self.content_hashes
        if self.keys:
            rows = tuple(f"{key} {content}" for key, content in zip(self.keys, rows, strict=True))
        lines = (f"{row}:{label}" for row, label in zip(rows, self.labels.tolist(), strict=True))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def take(self, indices: ArrayLike) -> Self:
        """The rows at these positions (or where a boolean mask is true), in that order."""
        rows = row_positions(indices, len(self), f"'{self.name}'")
        return type(self)(**self._selected_fields(rows))

    def exclude(self, ids: Collection[str]) -> Self:
        """The rows that are not among these identities."""
        unwanted = frozenset(ids)
        return self.take(np.array([i not in unwanted for i in self.ids], dtype=bool))

    @staticmethod
    def concat(name: str, *sets: Examples) -> Examples:
        """All rows of the sets, one set after the other; inputs must have one form.

        Groups and keys are there where one set has them, times where all do.
        """
        if not sets:
            raise DataError(f"'{name}' would be made of no sets; give at least one")
        times = [each.times for each in sets if each.times is not None]
        return Examples(
            Batch.concat([each.batch for each in sets]),
            np.concatenate([each.labels for each in sets]),
            name,
            sets[0].canonical,
            groups=_joined_groups(sets),
            times=np.concatenate(times) if len(times) == len(sets) else None,
            keys=tuple(i for each in sets for i in each.ids) if any(each.keys for each in sets) else (),
        )

    def _check_one_each(self, field_name: str, values: Sequence[object]) -> None:
        if values and len(values) != len(self.labels):
            raise DataError(f"'{self.name}' has {len(self.labels)} rows and {len(values)} {field_name}; give one each")

    def _selected_fields(self, rows: NDArray[np.intp]) -> dict[str, Any]:
        return {
            "batch": self.batch.take(rows),
            "labels": self.labels[rows],
            "name": self.name,
            "canonical": self.canonical,
            "groups": _selected(self.groups, rows),
            "times": None if self.times is None else self.times[rows],
            "keys": _selected(self.keys, rows),
        }


def _selected(values: tuple[_Value, ...], rows: NDArray[np.intp]) -> tuple[_Value, ...]:
    """The values at these positions; none where there are none at all."""
    return tuple(values[row] for row in rows) if values else ()


def _joined_groups(sets: Sequence[Examples]) -> tuple[str, ...]:
    known = any(each.groups for each in sets)
    return tuple(group for each in sets for group in each.groups or ("",) * len(each)) if known else ()


@dataclass(frozen=True, eq=False)
class FeedbackRows(Examples):
    """Rows whose true label people or later events told us, each with the feedback it came from."""

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
        """The rows that only the gate may see: a fair sample, held back by hash.

        The hash is of the content, so that copies stay together; of rows that have keys it is of their group where that
        is known, so that what is true of one customer on one side is not asked on the other.
        """
        return self.take(self._holdout_mask())

    def _holdout_mask(self) -> NDArray[np.bool_]:
        flags = self.trains_only or (False,) * len(self)
        owners = self.content_hashes
        if self.keys and self.groups:
            owners = tuple(group or content for group, content in zip(self.groups, owners, strict=True))
        return np.array([is_holdout(i) and not flag for i, flag in zip(owners, flags, strict=True)], dtype=bool)

    def _selected_fields(self, rows: NDArray[np.intp]) -> dict[str, Any]:
        return super()._selected_fields(rows) | {
            "feedback_ids": _selected(self.feedback_ids, rows),
            "trains_only": _selected(self.trains_only, rows),
        }


@dataclass(frozen=True, eq=False)
class Split:
    """The four sides of one data set; no row of the golden side is ever on a training side."""

    train: Examples
    validation: Examples
    golden: Examples
    stream: Examples

    def __post_init__(self) -> None:
        shared = set(self.golden.ids) & (set(self.train.ids) | set(self.validation.ids))
        if shared:
            raise DataError(
                f"{len(shared)} golden rows are also trained on, the first is {min(shared)[:12]}; "
                "split by content hash so that copies stay on one side"
            )


def rows_by_hash(rows: Examples, count: int) -> Examples:
    """At most so many rows, drawn by the hash of their identity: the order of a file says something."""
    return rows.take(np.argsort(np.array(rows.ids), kind="stable")[:count])


def split_by_hash(rows: Examples, fractions: Mapping[str, float]) -> Split:
    """Deal the rows to the sides by their identity; a side that is not named stays empty."""
    return _split_by_owner(rows, fractions, rows.ids)


def split_by_group(rows: Examples, fractions: Mapping[str, float]) -> Split:
    """Deal the groups to the sides, each with all that is theirs; rows of unknown groups go by their identity.

    Groups that share a row, which happens where a collection holds copies, go to one side together.
    """
    known = rows.groups or ("",) * len(rows)
    owners = [f"{GROUP_PREFIX}{group}" if group else i for group, i in zip(known, rows.ids, strict=True)]
    joined: dict[str, str] = {}

    def leader(owner: str) -> str:
        while owner in joined:
            owner = joined[owner]
        return owner

    found: dict[str, str] = {}
    for owner, row in zip(owners, rows.ids, strict=True):
        first, second = leader(owner), leader(found.setdefault(row, owner))
        if first != second:
            joined[min(first, second)] = max(first, second)  # a group's name comes after any content hash
    return _split_by_owner(rows, fractions, [leader(owner) for owner in owners])


def _split_by_owner(rows: Examples, fractions: Mapping[str, float], owners: Sequence[str]) -> Split:
    _check_fractions(fractions)
    buckets = np.array([hash_fraction(owner, "split") for owner in owners], dtype=np.float64)
    sides, low = {}, 0.0
    for side in SPLIT_PARTS:
        high = low + fractions.get(side, 0.0)
        inside = (buckets >= low) & (buckets < high)
        sides[side] = replace(rows.take(inside), name=f"{rows.name}/{side}")
        low = high
    return Split(**sides)


def _check_fractions(fractions: Mapping[str, float]) -> None:
    unknown = sorted(set(fractions) - set(SPLIT_PARTS))
    if unknown:
        raise DataError(f"unknown sides {unknown}; allowed: {', '.join(SPLIT_PARTS)}")
    total = sum(fractions.values())
    if min(fractions.values(), default=-1.0) < 0 or not 0 < total <= 1 + 1e-9:
        raise DataError(f"fractions {dict(fractions)} sum to {total:g}; give shares >= 0 that sum to at most 1")
