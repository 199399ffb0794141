"""What labels have taught a version, as its run notes it in `lineage.json`.

The rows of the versions before it are noted too: it may have begun with their weights.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.data import Examples, FeedbackRows
from pipelines.labels.label_provenance import LabelOrigin

LINEAGE_FILE: Final = "lineage.json"
TRAINED_FILE: Final = "lineage/feedback.json"
"""The labels that trained a version, and the identities of their rows under `images`."""


@dataclass(frozen=True)
class LearntLabels:
    """What a version and those before it were taught by labels: the labels' ids, and the identities of their rows."""

    feedback_ids: frozenset[str] = frozenset()
    rows: frozenset[str] = frozenset()
    given_until: float = -math.inf
    """Labels that were given by then, in seconds since 1970, may have been learnt: nobody knows which were."""

    @classmethod
    def from_json(cls, text: str, read_trained: Callable[[], str | None] = lambda: None) -> LearntLabels:
        """From a lineage; of one that was written before it noted rows, `read_trained` reads the file that has them."""
        lineage: Mapping[str, Any] = json.loads(text)
        rows = lineage.get("learnt_rows")
        if rows is None:
            rows = json.loads(read_trained() or "{}").get("images", ())
        return cls(frozenset(label["feedback_id"] for label in lineage["trained"]), frozenset(rows))

    def mask(self, labels: FeedbackRows, origins: Mapping[str, LabelOrigin]) -> NDArray[np.bool_]:
        """Which of the labels are about a row that was learnt, (n,)."""
        pairs = zip(labels.ids, labels.feedback_ids, strict=True)
        learnt = [
            row in self.rows or label in self.feedback_ids or _given_at(label, origins) <= self.given_until
            for row, label in pairs
        ]
        return np.array(learnt, dtype=bool)


NOTHING_LEARNT: Final = LearntLabels()


def asked_again(rows: Examples, others: Examples) -> NDArray[np.bool_]:
    """Which rows of events are likely the same events as the others, asked again under another key, (n,).

    An input that one of the others alone has names its event; one that several have does not. Rows whose groups are
    known and differ are different events.
    """
    events = dict(zip(others.ids, zip(others.content_hashes, _groups(others), strict=True), strict=True)).values()
    sharing = Counter(content for content, _ in events)
    group_of = {content: group for content, group in events if sharing[content] == 1}
    pairs = zip(rows.content_hashes, _groups(rows), strict=True)
    again = [
        content in group_of and ("" in (group, group_of[content]) or group == group_of[content])
        for content, group in pairs
    ]
    return np.array(again, dtype=bool)


def same_unowned_inputs(rows: Examples, others: Examples) -> NDArray[np.bool_]:
    """Which rows of events have the input of another, where neither says whose it is, (n,): they may be one event."""
    nameless = {content for content, group in zip(others.content_hashes, _groups(others), strict=True) if not group}
    pairs = zip(rows.content_hashes, _groups(rows), strict=True)
    return np.array([not group and content in nameless for content, group in pairs], dtype=bool)


def _given_at(label: str, origins: Mapping[str, LabelOrigin]) -> float:
    return origins[label].labelled_at if label in origins else 0.0


def _groups(rows: Examples) -> tuple[str, ...]:
    return rows.groups or ("",) * len(rows)
