"""The provenance of labels: who gave each, from which source, and how far it is trusted.

It refuses to know what becomes of a label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.data import FeedbackRows
from pipelines.inputs.input_codec import InputCodec

LabelSource = Literal["review", "audit", "delayed", "correction"]
PredictFn = Callable[[Batch], NDArray[np.float32]]

SOURCE_WEIGHT: Mapping[LabelSource, float] = {"review": 1.0, "audit": 1.0, "delayed": 0.9, "correction": 0.5}


@dataclass(frozen=True)
class LabelOrigin:
    """Who gave a label, and how it came about; `labelled_at` is when, in seconds since 1970.

    A `review` is a person's verdict on an image that was picked for them because its label was in doubt.
    """

    source: LabelSource
    reviewer: str = ""
    client: str = ""
    labelled_at: float = 0.0
    from_trusted_feed: bool = False
    """Whether it came by a feed that the operator trusts by name."""

    @property
    def is_internal(self) -> bool:
        """Whether the operator's own people gave it, on images that the platform chose."""
        return self.source in ("review", "audit")

    @property
    def provider(self) -> str:
        """Who answers for it."""
        return self.reviewer if self.is_internal else self.client or self.reviewer


@dataclass(frozen=True, eq=False)
class LabelContext:
    """What a label is held against: the champion, what is like its input, where it came from.

    Unknown origins count as audits.
    """

    champion: PredictFn | None
    codec: InputCodec
    origins: Mapping[str, LabelOrigin] = field(default_factory=dict)

    def origins_of(self, rows: FeedbackRows) -> list[LabelOrigin]:
        """The origin of each row; one that may not judge and is not known is a correction."""
        flags = rows.trains_only or (False,) * len(rows)
        usual = [LabelOrigin("correction" if flag else "audit") for flag in flags]
        return [self.origins.get(i, other) for i, other in zip(rows.feedback_ids, usual, strict=True)]
