"""What a retraining may learn from: labels weighed by trust, the rest set aside with a reason; it trains nothing.

What is set aside as a conflict or as suspicious waits for a person; their `review` is the truth from then on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipelines.data import FeedbackRows
from pipelines.image.near_duplicates import near_duplicates
from pipelines.labels.duplicate_separation import apart
from pipelines.labels.label_issues import doubts
from pipelines.labels.label_provenance import TRUST, Origin, Witnesses
from pipelines.labels.label_quotas import KINDS, Quotas, crowded, surplus

__all__ = [
    "FOR_REVIEW",
    "Curated",
    "Quotas",
    "Reason",
    "SetAside",
    "counts",
    "curate",
    "curate_judges",
    "keep_apart",
    "leave_known",
    "lineage",
    "settle",
]

Reason = Literal[
    "near-duplicate of a held image",
    "near-duplicate of a training image",
    "known image",
    "conflict",
    "overruled",
    "repeated",
    "over quota",
    "suspicious",
    "unusable",
    "before the change",
]
FOR_REVIEW: tuple[Reason, ...] = ("conflict", "suspicious")
"""What a person can settle by looking at the picture."""
DENIED = 0.5
"""The doubt about a correction that a trusted label denies: that label stands, so less hangs on it."""
LISTED = 3


@dataclass(frozen=True)
class SetAside:
    """One label that neither trains nor judges, and why; `doubt`, 0 to 1, orders what people look at first."""

    feedback_id: str
    reason: Reason
    detail: str
    doubt: float = 0.0


@dataclass(frozen=True, eq=False)
class Curated:
    """The rows left, how much each counts (0 to 1, float32 of shape (n,)), and what was set aside."""

    rows: FeedbackRows
    weights: NDArray[np.float32]
    set_aside: tuple[SetAside, ...]


def settle(rows: FeedbackRows, witnesses: Witnesses) -> tuple[FeedbackRows, tuple[SetAside, ...]]:
    """One row per image, in the order of the images' identities, whatever the order given.

    The last review of an image is its truth. Otherwise labels that contradict each other are set aside, all of them;
    a correction against an audit or a delayed label goes alone, so that nobody can take a trusted label out by
    denying it.
    """
    origins = witnesses.origins_of(rows)
    by_image: dict[str, list[int]] = defaultdict(list)
    for place in sorted(range(len(rows)), key=lambda i: (rows.ids[i], _rank(origins[i]), rows.feedback_ids[i])):
        by_image[rows.ids[place]].append(place)
    kept: list[int] = []
    aside: list[SetAside] = []
    for places in by_image.values():
        first = _agreed(places, rows, origins)
        if first is not None:
            kept.append(first)
        aside += _contradicted(places, first, rows, origins)
    return rows.take(kept), tuple(aside)


def _rank(origin: Origin) -> tuple[bool, float, float]:
    """Reviews first, the last of them before the others, then by trust."""
    return (origin.source != "review", -origin.at if origin.source == "review" else 0.0, -TRUST[origin.source])


def _agreed(places: Sequence[int], rows: FeedbackRows, origins: Sequence[Origin]) -> int | None:
    """The place of the label that stands among those of one image, best first; None where they contradict."""
    if origins[places[0]].source == "review":
        return places[0]
    trusted = [i for i in places if origins[i].source != "correction"] or places
    return places[0] if len({int(rows.labels[i]) for i in trusted}) == 1 else None


def _contradicted(
    places: Sequence[int], first: int | None, rows: FeedbackRows, origins: Sequence[Origin]
) -> list[SetAside]:
    """The labels of one image that do not stand, each with what stands against it."""
    given: dict[int, list[str]] = defaultdict(list)
    for i in places:
        given[int(rows.labels[i])].append(rows.feedback_ids[i])
    against = {
        label: _listed([i for other in sorted(given) if other != label for i in given[other]]) for label in given
    }
    aside = []
    for i in places:
        name, label = rows.feedback_ids[i], int(rows.labels[i])
        if i == first:
            continue
        if first is not None and label == rows.labels[first]:
            aside.append(SetAside(name, "repeated", f"the same image and label as {rows.feedback_ids[first]}"))
        elif first is not None and origins[first].source == "review":
            detail = f"class {label} is not what review {rows.feedback_ids[first]} says: {rows.labels[first]}"
            aside.append(SetAside(name, "overruled", detail))
        else:
            detail = f"class {label} is contradicted by {against[label]}"
            aside.append(SetAside(name, "conflict", detail, 1.0 if first is None else DENIED))
    return aside


def _listed(names: Sequence[str]) -> str:
    """Some of the names: one image may have thousands of labels, and each would list them all."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(sorted(names)[:LISTED]) + more


def leave_known(rows: FeedbackRows, ids: Collection[str]) -> tuple[FeedbackRows, tuple[SetAside, ...]]:
    """The rows whose image is not among these identities: a gate must not ask what the base data teaches."""
    sieve, known = _Sieve(rows), frozenset(ids)
    copies = [place for place, i in enumerate(rows.ids) if i in known]
    sieve.drop(dict.fromkeys(copies, "the base data holds this image"), "known image")
    return sieve.rows, tuple(sieve.aside)


def keep_apart(
    training: FeedbackRows, judging: FeedbackRows
) -> tuple[FeedbackRows, FeedbackRows, tuple[SetAside, ...]]:
    """Rows of both sides without those whose picture the other side was shown first."""
    stay, judge = apart(training, judging)
    teaching, held = _Sieve(training), _Sieve(judging)
    sides: tuple[tuple[_Sieve, NDArray[np.bool_], Reason], ...] = (
        (teaching, stay, "near-duplicate of a held image"),
        (held, judge, "near-duplicate of a training image"),
    )
    for sieve, stays, reason in sides:
        sieve.drop(
            dict.fromkeys(np.flatnonzero(~stays).tolist(), "the other side was shown this picture first"), reason
        )
    return teaching.rows, held.rows, (*teaching.aside, *held.aside)


def curate(
    rows: FeedbackRows, witnesses: Witnesses, protected: NDArray[np.uint8], quotas: Quotas | None = None
) -> Curated:
    """The rows of `settle` that may train, weighed; `protected` images (m, h, w) and what looks like them never do."""
    limits = quotas or Quotas()
    sieve = _Sieve(rows)
    copies = np.flatnonzero(near_duplicates(rows.images, protected))
    sieve.drop(dict.fromkeys(copies.tolist(), "it shows the same picture"), "near-duplicate of a held image")
    _drop_surplus(sieve, witnesses, limits)
    sieve.doubt(sieve.rows, witnesses)
    sieve.drop(crowded(sieve.rows, limits), "over quota")
    weights = np.array([TRUST[origin.source] for origin in witnesses.origins_of(sieve.rows)], dtype=np.float32)
    return Curated(sieve.rows, weights, tuple(sieve.aside))


def curate_judges(
    rows: FeedbackRows, witnesses: Witnesses, trained: FeedbackRows, quotas: Quotas | None = None
) -> Curated:
    """The rows of `settle` that may judge a candidate made from `trained`; each counts the same.

    Only rows that the champion fails are ever doubted, so doubt can take gains from a candidate and never losses.
    """
    sieve = _Sieve(rows)
    _drop_surplus(sieve, witnesses, quotas or Quotas())
    sieve.doubt(trained, witnesses)
    return Curated(sieve.rows, np.ones(len(sieve.rows), dtype=np.float32), tuple(sieve.aside))


def lineage(
    trained: FeedbackRows | None,
    trust: NDArray[np.float32],
    judged: FeedbackRows | None,
    set_aside: Sequence[SetAside],
) -> dict[str, object]:
    """What became of every label, as JSON may hold it: `trained` with its weight, `judged`, `set_aside` and why."""
    ids = () if trained is None else trained.feedback_ids
    weights = [round(float(weight), 6) for weight in trust]
    return {
        "trained": [{"feedback_id": i, "weight": weight} for i, weight in zip(ids, weights, strict=True)],
        "judged": [] if judged is None else list(judged.feedback_ids),
        "set_aside": [asdict(each) for each in set_aside],
    }


def counts(set_aside: Sequence[SetAside]) -> dict[str, int]:
    """How many labels were set aside for each reason, by names for a tracking server."""
    found = Counter(each.reason for each in set_aside)
    return {f"set_aside_{reason.replace(' ', '_').replace('-', '_')}": found[reason] for reason in get_args(Reason)}


class _Sieve:
    """Rows with what fell through so far."""

    def __init__(self, rows: FeedbackRows) -> None:
        self.rows = rows
        self.aside: list[SetAside] = []

    def drop(self, details: Mapping[int, str], reason: Reason) -> None:
        """Set aside the rows at these places."""
        self.aside += [SetAside(self.rows.feedback_ids[i], reason, details[i]) for i in sorted(details)]
        self.rows = self.rows.take([i for i in range(len(self.rows)) if i not in details])

    def doubt(self, teachers: FeedbackRows, witnesses: Witnesses) -> None:
        """Set aside the rows that champion and probe contradict."""
        found = doubts(self.rows, teachers, witnesses)
        self.aside += [
            SetAside(self.rows.feedback_ids[i], "suspicious", each.detail, each.size) for i, each in found.items()
        ]
        self.rows = self.rows.take([i for i in range(len(self.rows)) if i not in found])


def _drop_surplus(sieve: _Sieve, witnesses: Witnesses, quotas: Quotas) -> None:
    """What corrections together, then each client, then each reviewer gave beyond their part."""
    for kind in KINDS:
        sieve.drop(surplus(sieve.rows, witnesses.origins_of(sieve.rows), kind, quotas), "over quota")
