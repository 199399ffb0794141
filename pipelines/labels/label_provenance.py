"""The origin of labels: who gave one, how it came about, how far it is trusted, who may be asked about it.

It refuses to know what becomes of a label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.data import FeedbackRows

Source = Literal["review", "audit", "delayed", "correction"]
Answers = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

TRUST: Mapping[Source, float] = {"review": 1.0, "audit": 1.0, "delayed": 0.9, "correction": 0.5}


@dataclass(frozen=True)
class Origin:
    """Who gave a label, and how it came about; `at` is when, in seconds since 1970, and orders reviews only.

    A `review` is a person's verdict on a picture that was picked for them because its label was in doubt.
    """

    source: Source
    reviewer: str = ""
    client: str = ""
    at: float = 0.0
    trusted: bool = False
    """Whether it came by a feed that the operator trusts by name."""

    @property
    def in_house(self) -> bool:
        """Whether the operator's own people gave it, on pictures that the platform chose."""
        return self.source in ("review", "audit")

    @property
    def giver(self) -> str:
        """Who answers for it."""
        return self.reviewer if self.in_house else self.client or self.reviewer


@dataclass(frozen=True, eq=False)
class Witnesses:
    """Who is asked about a label: the champion, and where each label came from. Unknown origins count as audits."""

    champion: Answers | None
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def origins_of(self, rows: FeedbackRows) -> list[Origin]:
        """The origin of each row; one that may not judge and is not known is a correction."""
        flags = rows.trains_only or (False,) * len(rows)
        usual = [Origin("correction" if flag else "audit") for flag in flags]
        return [self.origins.get(i, other) for i, other in zip(rows.feedback_ids, usual, strict=True)]
