"""A written string while it is drawn or moved: its ink, its text and where each character stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.strings.ink import ink_of
from pipelines.strings.string_examples import StringExample


@dataclass(frozen=True, eq=False)
class WrittenString:
    """Ink, float32 (height, width) from 0 to 1; `spans` (n, 2) are the first and the last column of each character.

    There are no spans where nobody knows. A string of a smaller `weight` trains as much less often.
    """

    ink: NDArray[np.float32]
    text: str
    spans: NDArray[np.float32]
    weight: float = 1.0


def written_string(example: StringExample) -> WrittenString:
    """A scanned example as ink; its characters share the width evenly where no box tells more."""
    width = example.picture.shape[1]
    if len(example.boxes):
        spans = np.stack([example.boxes[:, 0], example.boxes[:, 0] + example.boxes[:, 2]], axis=1).astype(np.float32)
    else:
        edges = np.linspace(0, width, len(example.text) + 1, dtype=np.float32)
        spans = np.stack([edges[:-1], edges[1:]], axis=1)
    return WrittenString(ink_of(example.picture), example.text, spans)
