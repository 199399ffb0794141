"""Inputs that are grey pictures of one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.data import image_batch, image_rows, images_of
from pipelines.image import grey_png, image_statistics, near_duplicates
from pipelines.input_row import InputRow, image_form


@dataclass(frozen=True)
class ImageCodec:
    """Grey pictures, uint8 (n, height, width) under one name; kept as PNG."""

    height: int
    width: int

    @property
    def form(self) -> str:
        """Its size."""
        return image_form(self.height, self.width)

    @property
    def identifies(self) -> bool:
        """A picture is its pixels."""
        return True

    def blank(self, count: int) -> Batch:
        """So many dark pictures."""
        return image_batch(np.zeros((count, self.height, self.width), dtype=np.uint8))

    def form_mismatch(self, form: str) -> str | None:
        """Why an input of this form is no picture of this size; None where it is one."""
        return None if form == self.form else f"its input is of the form {form}, the model takes {self.form}"

    def rows(self, batch: Batch) -> list[InputRow]:
        """Each picture's size and pixels."""
        return image_rows(images_of(batch))

    def unpack(self, kept: Sequence[bytes]) -> Batch:
        """The pictures in these PNGs, all of one size."""
        return grey_png.unpack_images(kept)

    def measures(self, batch: Batch) -> Mapping[str, NDArray[Any]]:
        """What `image_statistics` measures of each picture."""
        return image_statistics.image_statistics(images_of(batch))

    def fingerprints(self, batch: Batch) -> NDArray[np.float32]:
        """Centred, softened pictures, free of light and contrast."""
        return near_duplicates.fingerprint(images_of(batch))

    def near_duplicates(self, candidates: Batch, protected: Batch) -> NDArray[np.bool_]:
        """Which candidates are a protected picture, moved, turned, brightened or made noisy by a little."""
        return near_duplicates.near_duplicate_mask(images_of(candidates), images_of(protected))

    def first_occurrences(self, batch: Batch) -> NDArray[np.int64]:
        """The first of the pictures that show the same as each."""
        return near_duplicates.first_occurrence_indices(images_of(batch))
