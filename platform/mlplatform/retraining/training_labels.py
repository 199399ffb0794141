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

from mlplatform.context import Parts
from mlplatform.predictions.stored_image import from_png
from mlplatform.retraining.labelled_images import Given, given_labels, pictures
from mlplatform.store import tasks
from monitors.rules.alerts_config import Retraining
from pipelines.data import FeedbackRows
from pipelines.labels.label_curation import FOR_REVIEW, Quotas, SetAside
from pipelines.labels.label_provenance import Origin
from pipelines.pipeline import Family

REVIEW_BATCH = 200
"""The most that one review asks of people; what remains comes with the next retraining."""
LISTED = 20
"""The most label ids named of one picture: it may have been sent thousands of times."""
UNGROUPED = ""


@dataclass(frozen=True, eq=False)
class Material:
    """All labels of a model: as rows (several may be of one image), their origins, the tag of each image.

    `unusable` are labels that cannot become rows; `given` has every label by its id.
    """

    rows: FeedbackRows | None
    origins: Mapping[str, Origin]
    groups: Mapping[str, str]
    unusable: tuple[SetAside, ...]
    given: Mapping[str, Given]

    def since(self, moment: datetime | None) -> frozenset[str] | None:
        """The images that were answered since a moment, by their hashes; None without one."""
        if moment is None:
            return None
        return frozenset(each.image_hash for each in self.given.values() if each.answered_at >= moment)


def limits_for(parts: Parts, family: Family) -> Retraining:
    """What alerts.yaml says about retraining; the defaults where it is absent or watches another model."""
    if parts.settings.alerts_file.exists() and parts.rules.model == family.name:
        return parts.rules.retraining
    return Retraining()


def quotas_of(limits: Retraining) -> Quotas:
    """The quotas as the lower room takes them."""
    return Quotas(**limits.quotas.model_dump(exclude={"trusted"}))


def gather(parts: Parts, family: Family, group_by: str | None = None, trusted: Collection[str] = ()) -> Material:
    """Read every current label of the model; the images are grouped by the tag of that name.

    Labels that came by a feed of one of the `trusted` names are marked as such.
    """
    with parts.database.read() as connection:
        given = given_labels(connection, family.name)
        images = {key: from_png(png) for key, png in pictures(connection, sorted({each.image_hash for each in given}))}
    faults = [(each, _fault(each, images[each.image_hash], family)) for each in given]
    usable = [each for each, fault in faults if fault is None]
    return Material(
        rows=_rows(usable, images, family),
        origins={each.feedback_id: _origin(each, trusted) for each in usable},
        groups={each.image_hash: each.tags.get(group_by, UNGROUPED) for each in usable} if group_by else {},
        unusable=tuple(SetAside(each.feedback_id, "unusable", fault) for each, fault in faults if fault is not None),
        given={each.feedback_id: each for each in given},
    )


def ask_people(
    connection: Connection, parts: Parts, model: str, key: str, material: Material, aside: Sequence[SetAside]
) -> str | None:
    """Open a task to review the labels in doubt; None when there are none or the retraining has opened it before.

    Contradictions and suspicions come in turns, the strongest first of each: their doubts are not on one scale, and a
    flood of one kind must not hide the other.
    """
    by_image: dict[str, list[SetAside]] = defaultdict(list)
    for each in aside:
        if each.reason in FOR_REVIEW:
            by_image[material.given[each.feedback_id].image_hash].append(each)
    ranked = [_worst_first(by_image, reason) for reason in FOR_REVIEW]
    waiting = list(dict.fromkeys(image for turn in zip_longest(*ranked) for image in turn if image is not None))
    if not waiting:
        return None
    details = {
        "in_doubt": len(waiting),
        "predictions": [_item(by_image[image], material) for image in waiting[:REVIEW_BATCH]],
    }
    return tasks.open_review(connection, model, key, details, parts.clock())


def _worst_first(by_image: Mapping[str, Sequence[SetAside]], reason: str) -> list[str]:
    """The images with a label that was set aside for this reason."""
    worst = {
        image: max((e.doubt for e in aside if e.reason == reason), default=-1.0) for image, aside in by_image.items()
    }
    return sorted((image for image in worst if worst[image] >= 0), key=lambda image: (-worst[image], image))


def _item(aside: Sequence[SetAside], material: Material) -> dict[str, object]:
    """One picture to look at, as the answer that its worst label is about."""
    worst = max(aside, key=lambda each: each.doubt)
    return {
        "id": material.given[worst.feedback_id].prediction_id,
        "feedback": [each.feedback_id for each in aside[:LISTED]],
        "doubt": worst.doubt,
        "why": f"{worst.reason}: {worst.detail}",
    }


def _fault(given: Given, image: NDArray[np.uint8], family: Family) -> str | None:
    """Why a label cannot become a row: the family has changed since."""
    if given.label not in family.classes:
        return f"label {given.label!r} is not a class of {family.name}; allowed: {', '.join(family.classes)}"
    if image.shape != (family.height, family.width):
        return f"its picture is {image.shape}, the model takes {(family.height, family.width)}"
    return None


def _rows(given: Sequence[Given], images: Mapping[str, NDArray[np.uint8]], family: Family) -> FeedbackRows | None:
    if not given:
        return None
    fair = {each.image_hash for each in given if each.source in ("audit", "delayed")}
    return FeedbackRows(
        images=np.stack([images[each.image_hash] for each in given]),
        labels=np.array([family.classes.index(each.label) for each in given], dtype=np.int64),
        name="feedback",
        feedback_ids=tuple(each.feedback_id for each in given),
        trains_only=tuple(_picked(each, fair) for each in given),
    )


def _picked(given: Given, fair: set[str]) -> bool:
    """Whether a label exists because the answer looked wrong; a review of a fairly found image only amends it."""
    return given.source == "correction" or (given.source == "review" and given.image_hash not in fair)


def _origin(given: Given, trusted: Collection[str]) -> Origin:
    known = given.feed is not None and given.feed in trusted
    return Origin(given.source, given.reviewer, given.client_id, given.at.timestamp(), known)
