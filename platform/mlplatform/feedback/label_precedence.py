"""Decides which of several labels is the truth of a prediction.

The review's counts, else the audit's, else the delayed one, else the correction; of one source the latest. A review
amends what a label says, not how its prediction was selected: it was picked because something was doubtful, so it says
the truth with the source of the best other label, and estimates exactly where that one did.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, get_args

LabelSource = Literal["review", "audit", "delayed", "correction"]
"""Where a label comes from, the most trusted first. `pipelines` types the same, `monitors` those that can be sent."""
SubmittedSource = Literal["audit", "correction", "delayed"]
"""The sources of labels that come from outside; a review is done here."""
ESTIMATION_SOURCES: Final = ("audit", "delayed")
"""The sources whose labels say how good a model is; a correction was picked for being an error."""
SOURCES_BY_TRUST: Final[tuple[LabelSource, ...]] = get_args(LabelSource)


@dataclass(frozen=True)
class CurrentLabel:
    """A current label of a prediction."""

    id: str
    prediction_id: str
    label: str
    source: LabelSource
    at: datetime


def resolve_truths(rows: Iterable[CurrentLabel]) -> dict[str, CurrentLabel]:
    """The one label per prediction that counts: the most trusted source, then the latest.

    A review counts under the source it amends, or as a correction where there is nothing to amend.
    """
    best: dict[str, CurrentLabel] = {}
    amended_sources: dict[str, LabelSource] = {}
    for row in rows:
        best_before = best.get(row.prediction_id)
        if best_before is None or _trust_rank(row) > _trust_rank(best_before):
            best[row.prediction_id] = row
        if row.source != "review":
            source_before = amended_sources.get(row.prediction_id, "correction")
            amended_sources[row.prediction_id] = _more_trusted(source_before, row.source)
    return {
        prediction_id: replace(row, source=amended_sources.get(prediction_id, "correction"))
        if row.source == "review"
        else row
        for prediction_id, row in best.items()
    }


def speaking_sources(truth: CurrentLabel, labels: Iterable[CurrentLabel]) -> tuple[LabelSource, ...]:
    """The sources that say something about a prediction: those that estimate, and that of its truth.

    A correction counts only while nothing better is known; a review speaks under the source it amends.
    """
    speaking = {label.source for label in labels if label.source in ESTIMATION_SOURCES} | {truth.source}
    return tuple(source for source in SOURCES_BY_TRUST if source in speaking)


def _more_trusted(one: LabelSource, other: LabelSource) -> LabelSource:
    return min(one, other, key=SOURCES_BY_TRUST.index)


def _trust_rank(row: CurrentLabel) -> tuple[int, datetime, str]:
    return (-SOURCES_BY_TRUST.index(row.source), row.at, row.id)
