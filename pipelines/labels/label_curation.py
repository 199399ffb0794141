"""Curates labels for a retraining: weighs each by trust, and excludes the rest with a reason.

What is set aside as a conflict or as suspicious waits for a person; their `review` is the truth from then on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.data import FeedbackRows
from pipelines.inputs.input_codec import InputCodec
from pipelines.labels.label_issues import find_label_issues
from pipelines.labels.label_provenance import SOURCE_WEIGHT, LabelContext, LabelOrigin
from pipelines.labels.label_quotas import QUOTA_KINDS, LabelQuotas, over_class_cap, over_share

__all__ = [
    "REVIEWABLE_REASONS",
    "CurationResult",
    "ExcludedLabel",
    "ExclusionReason",
    "LabelQuotas",
    "curate_holdout",
    "curate_training_rows",
    "exclude_cross_duplicates",
    "exclude_groups",
    "exclude_known",
    "exclude_where",
    "exclusion_counts",
    "label_lineage",
    "resolve_conflicts",
]

ExclusionReason = Literal[
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
    "of a judged day",
    "of a judged group",
    "not mature",
]
REVIEWABLE_REASONS: tuple[ExclusionReason, ...] = ("conflict", "suspicious")
"""What a person can settle by looking at the image."""
DENIED_CORRECTION_SCORE = 0.5
"""The doubt about a correction that a trusted label denies: that label stands, so less hangs on it."""
MAX_LISTED = 3


@dataclass(frozen=True)
class ExcludedLabel:
    """One label that neither trains nor judges, and why; `doubt`, 0 to 1, orders what people look at first."""

    feedback_id: str
    reason: ExclusionReason
    detail: str
    doubt: float = 0.0


@dataclass(frozen=True, eq=False)
class CurationResult:
    """The rows left, how much each counts (0 to 1, float32 of shape (n,)), and what was set aside."""

    rows: FeedbackRows
    weights: NDArray[np.float32]
    excluded: tuple[ExcludedLabel, ...]


def resolve_conflicts(rows: FeedbackRows, context: LabelContext) -> tuple[FeedbackRows, tuple[ExcludedLabel, ...]]:
    """One row per image, in the order of the images' identities, whatever the order given.

    The last review of an image is its truth. Otherwise labels that contradict each other are set aside, all of them;
    a correction against an audit or a delayed label goes alone, so that nobody can take a trusted label out by
    denying it.
    """
    origins = context.origins_of(rows)
    by_image: dict[str, list[int]] = defaultdict(list)
    for row in sorted(range(len(rows)), key=lambda i: (rows.ids[i], _precedence(origins[i]), rows.feedback_ids[i])):
        by_image[rows.ids[row]].append(row)
    accepted_rows: list[int] = []
    excluded: list[ExcludedLabel] = []
    for image_rows in by_image.values():
        accepted = _accepted_row(image_rows, rows, origins)
        if accepted is not None:
            accepted_rows.append(accepted)
        excluded += _rejected_labels(image_rows, accepted, rows, origins)
    return rows.take(accepted_rows), tuple(excluded)


def _precedence(origin: LabelOrigin) -> tuple[bool, float, float]:
    """Reviews first, the last of them before the others, then by trust."""
    return (
        origin.source != "review",
        -origin.labelled_at if origin.source == "review" else 0.0,
        -SOURCE_WEIGHT[origin.source],
    )


def _accepted_row(image_rows: Sequence[int], rows: FeedbackRows, origins: Sequence[LabelOrigin]) -> int | None:
    """The place of the label that stands among those of one image, best first; None where they contradict."""
    if origins[image_rows[0]].source == "review":
        return image_rows[0]
    trusted = [i for i in image_rows if origins[i].source != "correction"] or image_rows
    return image_rows[0] if len({int(rows.labels[i]) for i in trusted}) == 1 else None


def _rejected_labels(
    image_rows: Sequence[int], accepted: int | None, rows: FeedbackRows, origins: Sequence[LabelOrigin]
) -> list[ExcludedLabel]:
    """The labels of one image that do not stand, each with what stands against it."""
    ids_by_label: dict[int, list[str]] = defaultdict(list)
    for i in image_rows:
        ids_by_label[int(rows.labels[i])].append(rows.feedback_ids[i])
    against = {
        label: _abbreviated([i for other in sorted(ids_by_label) if other != label for i in ids_by_label[other]])
        for label in ids_by_label
    }
    excluded = []
    for i in image_rows:
        name, label = rows.feedback_ids[i], int(rows.labels[i])
        if i == accepted:
            continue
        if accepted is not None and label == rows.labels[accepted]:
            excluded.append(
                ExcludedLabel(name, "repeated", f"the same image and label as {rows.feedback_ids[accepted]}")
            )
        elif accepted is not None and origins[accepted].source == "review":
            detail = f"class {label} is not what review {rows.feedback_ids[accepted]} says: {rows.labels[accepted]}"
            excluded.append(ExcludedLabel(name, "overruled", detail))
        else:
            detail = f"class {label} is contradicted by {against[label]}"
            excluded.append(
                ExcludedLabel(name, "conflict", detail, 1.0 if accepted is None else DENIED_CORRECTION_SCORE)
            )
    return excluded


def _abbreviated(names: Sequence[str]) -> str:
    """Some of the names: one image may have thousands of labels, and each would list them all."""
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(sorted(names)[:MAX_LISTED]) + more


def exclude_known(rows: FeedbackRows, ids: Collection[str]) -> tuple[FeedbackRows, tuple[ExcludedLabel, ...]]:
    """The rows whose image is not among these identities: a gate must not ask what the base data teaches."""
    row_filter, known_ids = _Filter(rows), frozenset(ids)
    copies = [row for row, i in enumerate(rows.ids) if i in known_ids]
    row_filter.exclude(dict.fromkeys(copies, "the base data holds this image"), "known image")
    return row_filter.rows, tuple(row_filter.excluded)


def exclude_groups(rows: FeedbackRows, groups: Collection[str]) -> tuple[FeedbackRows, tuple[ExcludedLabel, ...]]:
    """The rows that belong to none of these groups: of one that is judged on, nothing trains."""
    row_filter, held = _Filter(rows), frozenset(groups) - {""}
    shared = [row for row, group in enumerate(rows.groups) if group in held]
    row_filter.exclude(dict.fromkeys(shared, "its group is judged on"), "of a judged group")
    return row_filter.rows, tuple(row_filter.excluded)


def exclude_where(
    rows: FeedbackRows, mask: NDArray[np.bool_], reason: ExclusionReason, detail: str
) -> tuple[FeedbackRows, tuple[ExcludedLabel, ...]]:
    """The rows without those of the mask (n,)."""
    row_filter = _Filter(rows)
    row_filter.exclude(dict.fromkeys(np.flatnonzero(mask).tolist(), detail), reason)
    return row_filter.rows, tuple(row_filter.excluded)


def exclude_cross_duplicates(
    training: FeedbackRows, holdout: FeedbackRows, codec: InputCodec
) -> tuple[FeedbackRows, FeedbackRows, tuple[ExcludedLabel, ...]]:
    """Rows of both sides without those whose image the other side was shown first."""
    keep_training, keep_holdout = separate_near_duplicates(training, holdout, codec)
    training_filter, holdout_filter = _Filter(training), _Filter(holdout)
    sides: tuple[tuple[_Filter, NDArray[np.bool_], ExclusionReason], ...] = (
        (training_filter, keep_training, "near-duplicate of a held image"),
        (holdout_filter, keep_holdout, "near-duplicate of a training image"),
    )
    for row_filter, keep, reason in sides:
        row_filter.exclude(
            dict.fromkeys(np.flatnonzero(~keep).tolist(), "the other side was shown this picture first"), reason
        )
    return training_filter.rows, holdout_filter.rows, (*training_filter.excluded, *holdout_filter.excluded)


def curate_training_rows(
    rows: FeedbackRows, context: LabelContext, protected: Batch | None, quotas: LabelQuotas | None = None
) -> CurationResult:
    """The rows that may train, weighed; `protected` inputs and what looks like them never do, None protects none."""
    limits = quotas or LabelQuotas()
    row_filter = _Filter(rows)
    if protected is not None:
        copies = np.flatnonzero(context.codec.near_duplicates(rows.batch, protected)).tolist()
        row_filter.exclude(dict.fromkeys(copies, "it shows the same picture"), "near-duplicate of a held image")
    _exclude_over_quota(row_filter, context, limits)
    row_filter.exclude_label_issues(row_filter.rows, context)
    row_filter.exclude(over_class_cap(row_filter.rows, limits), "over quota")
    weights = np.array(
        [SOURCE_WEIGHT[origin.source] for origin in context.origins_of(row_filter.rows)], dtype=np.float32
    )
    return CurationResult(row_filter.rows, weights, tuple(row_filter.excluded))


def curate_holdout(
    rows: FeedbackRows, context: LabelContext, training: FeedbackRows, quotas: LabelQuotas | None = None
) -> CurationResult:
    """The rows of `resolve_conflicts` that the gate may use for a candidate made from `training`.

    Only rows that the champion fails are ever doubted, so doubt can take gains from a candidate and never losses.
    """
    row_filter = _Filter(rows)
    _exclude_over_quota(row_filter, context, quotas or LabelQuotas())
    row_filter.exclude_label_issues(training, context)
    return CurationResult(row_filter.rows, np.ones(len(row_filter.rows), dtype=np.float32), tuple(row_filter.excluded))


def label_lineage(
    training: FeedbackRows | None,
    trust: NDArray[np.float32],
    holdout: FeedbackRows | None,
    excluded: Sequence[ExcludedLabel],
) -> dict[str, object]:
    """What became of every label, as JSON may hold it: `trained` with its weight, `judged`, `set_aside` and why."""
    ids = () if training is None else training.feedback_ids
    weights = [round(float(weight), 6) for weight in trust]
    return {
        "trained": [{"feedback_id": i, "weight": weight} for i, weight in zip(ids, weights, strict=True)],
        "judged": [] if holdout is None else list(holdout.feedback_ids),
        "set_aside": [asdict(label) for label in excluded],
    }


def exclusion_counts(excluded: Sequence[ExcludedLabel]) -> dict[str, int]:
    """How many labels were excluded for each reason, by names for a tracking server."""
    counts = Counter(label.reason for label in excluded)
    return {
        f"set_aside_{reason.replace(' ', '_').replace('-', '_')}": counts[reason]
        for reason in get_args(ExclusionReason)
    }


class _Filter:
    """Rows with what fell through so far."""

    def __init__(self, rows: FeedbackRows) -> None:
        self.rows = rows
        self.excluded: list[ExcludedLabel] = []

    def exclude(self, details: Mapping[int, str], reason: ExclusionReason) -> None:
        """Set aside the rows at these places."""
        self.excluded += [ExcludedLabel(self.rows.feedback_ids[i], reason, details[i]) for i in sorted(details)]
        self.rows = self.rows.take([i for i in range(len(self.rows)) if i not in details])

    def exclude_label_issues(self, reference: FeedbackRows, context: LabelContext) -> None:
        """Set aside the rows that champion and probe contradict."""
        issues = find_label_issues(self.rows, reference, context)
        self.excluded += [
            ExcludedLabel(self.rows.feedback_ids[i], "suspicious", issue.detail, issue.score)
            for i, issue in issues.items()
        ]
        self.rows = self.rows.take([i for i in range(len(self.rows)) if i not in issues])


def _exclude_over_quota(row_filter: _Filter, context: LabelContext, quotas: LabelQuotas) -> None:
    """What corrections together, then each client, then each reviewer gave beyond their part."""
    for kind in QUOTA_KINDS:
        row_filter.exclude(over_share(row_filter.rows, context.origins_of(row_filter.rows), kind, quotas), "over quota")


def separate_near_duplicates(
    training: FeedbackRows, holdout: FeedbackRows, codec: InputCodec
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows of each side, (n,) and (m,), stay when no image is on both.

    An image that trains must not judge, nor one that looks like it. Where real traffic repeats itself, nearly every
    image looks like one of the held-back third, and if those always won, nothing of such traffic would be learnt. So
    the image seen first decides for all that look like it: its side keeps them, and the other side does without.
    First is what has the first feedback id, which the platform gives in the order of arrival, so nobody takes a row
    away from the gate by sending its image again. Rows that may never judge come last: they decide for none but
    their like.
    """
    ids = (*training.feedback_ids, *holdout.feedback_ids)
    trains_only = (*(training.trains_only or (False,) * len(training)), *(False,) * len(holdout))
    order = sorted(range(len(ids)), key=lambda row: (trains_only[row], ids[row]))
    ordered = Batch.concat([training.batch, holdout.batch]).take(order)
    trains = np.array([row < len(training) for row in order], dtype=bool)
    fitting = trains[codec.first_occurrences(ordered)] == trains if order else trains
    keep = np.zeros(len(order), dtype=bool)
    keep[order] = fitting
    return keep[: len(training)], keep[len(training) :]
