"""The material of a retraining: every label from the store as an order takes it, and the doubtful ones for people.

It decides nothing about a label: `pipelines.labels.label_curation` does.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from mlplatform.context import AppContext
from mlplatform.predictions.stored_image import decode_png
from mlplatform.retraining.labelled_images import InputLabel, iter_inputs, load_input_labels
from mlplatform.store import tasks
from monitors.rules.alerts_config import Retraining
from pipelines.data import FeedbackRows
from pipelines.labels.label_curation import REVIEWABLE_REASONS, ExcludedLabel, LabelQuotas
from pipelines.labels.label_provenance import LabelOrigin
from pipelines.pipeline import Pipeline

MAX_REVIEW_ITEMS = 200
"""The most that one review asks of people; what remains comes with the next retraining."""
MAX_LISTED_LABELS = 20
"""The most label ids named of one picture: it may have been sent thousands of times."""
NO_GROUP = ""


@dataclass(frozen=True, eq=False)
class TrainingLabels:
    """All labels of a model: as rows (several may be of one image), their origins, the tag of each image.

    `unusable` are labels that cannot become rows; `given` has every label by its id.
    """

    rows: FeedbackRows | None
    origins: Mapping[str, LabelOrigin]
    groups: Mapping[str, str]
    unusable: tuple[ExcludedLabel, ...]
    records_by_id: Mapping[str, InputLabel]

    def inputs_since(self, moment: datetime | None) -> frozenset[str] | None:
        """The images that were answered since a moment, by their hashes; None without one."""
        if moment is None:
            return None
        return frozenset(each.image_hash for each in self.records_by_id.values() if each.answered_at >= moment)


def retraining_policy(context: AppContext, pipeline: Pipeline) -> Retraining:
    """What alerts.yaml says about retraining; the defaults where it is absent or watches another model."""
    if context.settings.alerts_file.exists() and context.rules.model == pipeline.name:
        return context.rules.retraining
    return Retraining()


def label_quotas(limits: Retraining) -> LabelQuotas:
    """The quotas as the lower room takes them."""
    return LabelQuotas(**limits.quotas.model_dump(exclude={"trusted"}))


def load_training_labels(
    context: AppContext, pipeline: Pipeline, group_by: str | None = None, trusted: Collection[str] = ()
) -> TrainingLabels:
    """Read every current label of the model; the images are grouped by the tag of that name.

    Labels that came by a feed of one of the `trusted` names are marked as such.
    """
    with context.database.read() as connection:
        given = load_input_labels(connection, pipeline.name)
        images = {
            key: decode_png(png) for key, png in iter_inputs(connection, sorted({each.image_hash for each in given}))
        }
    faults = [(each, _unusable_reason(each, images[each.image_hash], pipeline)) for each in given]
    usable = [each for each, fault in faults if fault is None]
    return TrainingLabels(
        rows=_to_rows(usable, images, pipeline),
        origins={each.feedback_id: _to_origin(each, trusted) for each in usable},
        groups={each.image_hash: each.tags.get(group_by, NO_GROUP) for each in usable} if group_by else {},
        unusable=tuple(
            ExcludedLabel(each.feedback_id, "unusable", fault) for each, fault in faults if fault is not None
        ),
        records_by_id={each.feedback_id: each for each in given},
    )


def open_label_review(
    connection: Connection,
    context: AppContext,
    model: str,
    key: str,
    training_labels: TrainingLabels,
    excluded: Sequence[ExcludedLabel],
) -> str | None:
    """Open a task to review the labels in doubt; None when there are none or the retraining has opened it before.

    Contradictions and suspicions come in turns, the strongest first of each: their doubts are not on one scale, and a
    flood of one kind must not hide the other.
    """
    by_image: dict[str, list[ExcludedLabel]] = defaultdict(list)
    for each in excluded:
        if each.reason in REVIEWABLE_REASONS:
            by_image[training_labels.records_by_id[each.feedback_id].image_hash].append(each)
    ranked = [_inputs_by_doubt(by_image, reason) for reason in REVIEWABLE_REASONS]
    waiting = list(dict.fromkeys(image for turn in zip_longest(*ranked) for image in turn if image is not None))
    if not waiting:
        return None
    details = {
        "in_doubt": len(waiting),
        "predictions": [_review_item(by_image[image], training_labels) for image in waiting[:MAX_REVIEW_ITEMS]],
    }
    return tasks.open_review_task(connection, model, key, details, context.clock())


def _inputs_by_doubt(by_image: Mapping[str, Sequence[ExcludedLabel]], reason: str) -> list[str]:
    """The images with a label that was set aside for this reason."""
    worst = {
        image: max((e.doubt for e in aside if e.reason == reason), default=-1.0) for image, aside in by_image.items()
    }
    return sorted((image for image in worst if worst[image] >= 0), key=lambda image: (-worst[image], image))


def _review_item(excluded: Sequence[ExcludedLabel], training_labels: TrainingLabels) -> dict[str, object]:
    """One picture to look at, as the answer that its worst label is about."""
    worst = max(excluded, key=lambda each: each.doubt)
    return {
        "id": training_labels.records_by_id[worst.feedback_id].prediction_id,
        "feedback": [each.feedback_id for each in excluded[:MAX_LISTED_LABELS]],
        "doubt": worst.doubt,
        "why": f"{worst.reason}: {worst.detail}",
    }


def _unusable_reason(record: InputLabel, image: NDArray[np.uint8], pipeline: Pipeline) -> str | None:
    """Why a label cannot become a row: the family has changed since."""
    if record.label not in pipeline.classes:
        return f"label {record.label!r} is not a class of {pipeline.name}; allowed: {', '.join(pipeline.classes)}"
    if image.shape != (pipeline.height, pipeline.width):
        return f"its picture is {image.shape}, the model takes {(pipeline.height, pipeline.width)}"
    return None


def _to_rows(
    records: Sequence[InputLabel], images: Mapping[str, NDArray[np.uint8]], pipeline: Pipeline
) -> FeedbackRows | None:
    if not records:
        return None
    fair = {each.image_hash for each in records if each.source in ("audit", "delayed")}
    return FeedbackRows(
        images=np.stack([images[each.image_hash] for each in records]),
        labels=np.array([pipeline.classes.index(each.label) for each in records], dtype=np.int64),
        name="feedback",
        feedback_ids=tuple(each.feedback_id for each in records),
        trains_only=tuple(_train_only(each, fair) for each in records),
    )


def _train_only(record: InputLabel, estimating_inputs: set[str]) -> bool:
    """Whether a label exists because the answer looked wrong; a review of a fairly found image only amends it."""
    return record.source == "correction" or (record.source == "review" and record.image_hash not in estimating_inputs)


def _to_origin(record: InputLabel, trusted: Collection[str]) -> LabelOrigin:
    known = record.feed is not None and record.feed in trusted
    return LabelOrigin(record.source, record.reviewer, record.client_id, record.at.timestamp(), known)
