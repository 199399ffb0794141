"""What a kind of input must be able to do: be identified, kept, compared and found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.input_row import InputRow


class InputCodec(Protocol):
    """One kind of input of one model; it holds no state, so threads may share it."""

    @property
    def form(self) -> str:
        """The form of its rows, see InputRow."""

    @property
    def identifies(self) -> bool:
        """Whether rows of equal content are equal inputs, so that what was answered to one holds for the other."""

    def blank(self, count: int) -> Batch:
        """So many rows that the model must be able to answer, to try it with."""

    def form_mismatch(self, form: str) -> str | None:
        """Why a kept input of this form is none of the model's, in words; None where it is one."""

    def rows(self, batch: Batch) -> list[InputRow]:
        """Each row in its canonical form, whose hash is its identity."""

    def unpack(self, kept: Sequence[bytes]) -> Batch:
        """The rows of what the database keeps of inputs, in that order."""

    def measures(self, batch: Batch) -> Mapping[str, NDArray[Any]]:
        """Numbers or names of each row, (n,) each, whose distribution is watched for drift."""

    def fingerprints(self, batch: Batch) -> NDArray[np.float32]:
        """Unit vectors (n, d) that are near each other where inputs are alike; the zero vector is like nothing."""

    def near_duplicates(self, candidates: Batch, protected: Batch) -> NDArray[np.bool_]:
        """Which candidates (n,) show the same as any of the protected rows."""

    def first_occurrences(self, batch: Batch) -> NDArray[np.int64]:
        """For each row (n,) the place of the earliest row that shows the same, its own where there is none before."""
