"""Reads the labels that people gave as rows for a training, and opens a review of those in doubt.

What becomes of each label decides `pipelines.labels.label_curation`.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import Final

import numpy as np
from sqlalchemy import Connection, RowMapping, select

from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.predictions import sampling_plans
from mlplatform.predictions.prediction_records import StoredInput
from mlplatform.store import tasks
from mlplatform.store.database import Database
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.predictions import inputs, predictions, review_samples
from monitors.decisions.detectors.outcome_blocks import block_key
from monitors.rules.alerts_config import AlertsConfig, Retraining
from monitors.rules.block_unit import BlockUnit
from pipelines.batch import Batch
from pipelines.data import FeedbackRows
from pipelines.inputs.codec_of import codec_of
from pipelines.inputs.input_codec import InputCodec
from pipelines.labels.label_curation import REVIEWABLE_REASONS, ExcludedLabel, LabelQuotas
from pipelines.labels.label_provenance import LabelOrigin
from pipelines.labels.waiting_labels import waiting_labels
from registry.model_contract import ModelContract, Truth

BATCH_SIZE: Final = 500
"""So many images are read with one statement."""
MAX_REVIEW_ITEMS: Final = 200
"""The most that one review asks of people; what remains comes with the next retraining."""
MAX_LISTED_LABELS: Final = 20
"""The most label ids named of one image: it may have been sent thousands of times."""
NO_GROUP: Final = ""
NOT_MATURE: Final = "it is held back, or another label of its subject is, whose answer is too young to judge by"


@dataclass(frozen=True)
class InputLabel:
    """One current label: what it says of which image, who gave it, and what the client said of the image."""

    feedback_id: str
    prediction_id: str
    image_hash: str
    label: str
    source: LabelSource
    reviewer: str
    client_id: str
    tags: Mapping[str, str]
    at: datetime
    answered_at: datetime
    feed: str | None
    """How it came: the name of an API key, else of the reviewer; None where it came before that was recorded."""
    request_id: str
    subject: str
    """Whom the row is about; "" where nobody is named."""
    judging_share: float | None
    """How much it counts where candidates are judged, against a label drawn with the smallest chance; None: not at all.

    An audit label counts by one over the chance that its prediction was drawn with, which the champion's doubt raised.
    """

    def identity(self, truth: Truth) -> str:
        """What the label is about: its input where equal inputs have one truth, else the prediction itself."""
        return self.image_hash if truth == "input" else self.prediction_id


@dataclass(frozen=True, eq=False)
class TrainingLabels:
    """All labels of a model: as rows (several may be of one image), their origins, the tag of each image.

    `unusable` are labels that cannot become rows, or not yet; `records_by_id` has every label by its id. Delayed labels
    judge where their answers were given up to `delayed_judge_until`; None: all of them do.
    """

    rows: FeedbackRows | None
    origins: Mapping[str, LabelOrigin]
    groups: Mapping[str, str]
    unusable: tuple[ExcludedLabel, ...]
    records_by_id: Mapping[str, InputLabel]
    truth: Truth = "input"
    """Of what a label is the truth; rows are known by it in all that follows."""
    delayed_judge_until: datetime | None = None

    @property
    def judging_shares(self) -> dict[str, float]:
        """How much each image that may judge counts, by its hash; the most that one of its labels does."""
        return judging_shares(self.records_by_id.values(), self.truth, self.delayed_judge_until)

    def blocks(self, unit: BlockUnit) -> dict[str, str]:
        """The block in which each image was shown first, by its hash: answers of a block may be wrong together."""
        first: dict[str, InputLabel] = {}
        for record in sorted(self.records_by_id.values(), key=lambda each: (each.answered_at, each.prediction_id)):
            first.setdefault(record.identity(self.truth), record)
        return {image: _block_name(record, unit) for image, record in first.items()}

    def inputs_since(self, moment: datetime | None) -> frozenset[str] | None:
        """The images that were answered since a moment, by their hashes; None without one."""
        if moment is None:
            return None
        recent = (record for record in self.records_by_id.values() if record.answered_at >= moment)
        return frozenset(record.identity(self.truth) for record in recent)


NO_LABELS: Final = TrainingLabels(None, {}, {}, (), {})
"""Of a training that is given none."""


def retraining_policy(alerts_file: Path, load_rules: Callable[[], AlertsConfig], model: str) -> Retraining:
    """What alerts.yaml says about retraining; the defaults where it is absent or watches another model."""
    if alerts_file.exists() and (rules := load_rules()).model == model:
        return rules.retraining
    return Retraining()


def label_quotas(limits: Retraining) -> LabelQuotas:
    """The quotas of label providers, as the curation of labels takes them."""
    return LabelQuotas(**limits.quotas.model_dump(exclude={"trusted"}))


def load_training_labels(
    database: Database,
    model: str,
    contract: ModelContract,
    group_by: str | None = None,
    trusted: Collection[str] = (),
    until: datetime | None = None,
    delayed_judge_until: datetime | None = None,
) -> TrainingLabels:
    """Read every current label of the model as rows for a version with this contract.

    The images are grouped by the tag named `group_by`. Labels that came by a feed of one of the `trusted` names are
    marked as such. Labels of answers that were given after `until` are left out; delayed ones of answers given after
    `delayed_judge_until` judge nothing, and where they will judge once they are mature they do not train either: what
    the next champion has learnt could not be asked of it.
    """
    codec, truth = codec_of(contract.inputs), contract.truth
    with database.read() as connection:
        records = load_input_labels(connection, model)
        records = [record for record in records if until is None or record.answered_at <= until]
        hashes = sorted({record.image_hash for record in records})
        kept_by_hash = dict(iter_inputs(connection, hashes))
    forms = {key: kept.form for key, kept in kept_by_hash.items()}
    reasons = [(record, _unusable_reason(record, forms[record.image_hash], contract, codec)) for record in records]
    inputs_by_hash = {
        key: codec.unpack([kept.content])
        for key, kept in kept_by_hash.items()
        if codec.form_mismatch(kept.form) is None
    }
    usable = [record for record, reason in reasons if reason is None]
    excluded = [
        ExcludedLabel(record.feedback_id, "unusable", reason) for record, reason in reasons if reason is not None
    ]
    mature = judging_shares(usable, truth, delayed_judge_until).keys()
    rows = _to_rows(usable, inputs_by_hash, contract, codec, judging_shares(usable, truth).keys())
    if rows is not None:
        waits = waiting_labels(rows, mature)
        young = [record for record, wait in zip(usable, waits, strict=True) if wait]
        excluded += [ExcludedLabel(record.feedback_id, "not mature", NOT_MATURE) for record in young]
        usable = [record for record, wait in zip(usable, waits, strict=True) if not wait]
        flags = tuple(_train_only(record, mature, truth) for record in usable)
        rows = replace(rows.take(~waits), trains_only=flags) if usable else None
    return TrainingLabels(
        rows=rows,
        origins={record.feedback_id: _to_origin(record, trusted) for record in usable},
        groups={record.identity(truth): record.tags.get(group_by, NO_GROUP) for record in usable} if group_by else {},
        unusable=tuple(excluded),
        records_by_id={record.feedback_id: record for record in records},
        truth=truth,
        delayed_judge_until=delayed_judge_until,
    )


def load_input_labels(connection: Connection, model_name: str) -> list[InputLabel]:
    """Every current label of a model's predictions, ordered by image and label: arrival must not change a training."""
    query = (
        select(
            feedback.c.id.label("feedback_id"),
            feedback.c.prediction_id,
            predictions.c.image_hash,
            feedback.c.label,
            feedback.c.source,
            feedback.c.reviewer,
            predictions.c.client_id,
            predictions.c.tags,
            feedback.c.at,
            predictions.c.at.label("answered_at"),
            feedback.c.feed,
            predictions.c.request_id,
            predictions.c.subject,
            predictions.c.model_version,
            review_samples.c.inclusion,
            review_samples.c.heaviest,
        )
        .join(predictions, predictions.c.id == feedback.c.prediction_id)
        .outerjoin(review_samples, review_samples.c.prediction_id == feedback.c.prediction_id)
        .where(predictions.c.model_name == model_name, feedback.c.superseded_by.is_(None))
    )
    rows = connection.execute(query).mappings().all()
    versions = {row["model_version"] for row in rows}
    drawn_since = {version: sampling_plans.first_published_at(connection, model_name, version) for version in versions}
    records = [_input_label(row, drawn_since[row["model_version"]]) for row in rows]
    return sorted(records, key=lambda record: (record.image_hash, record.feedback_id))  # not by a database's collation


def judging_shares(
    records: Iterable[InputLabel], truth: Truth = "input", delayed_until: datetime | None = None
) -> dict[str, float]:
    """How much each row that may judge counts, by its identity; the most that one of its labels does.

    A delayed label judges if its answer was given up to `delayed_until`: of younger ones errors may be known first, and
    on what the champion misread any other model looks better.
    """
    shares: dict[str, float] = {}
    for record in records:
        is_young = record.source == "delayed" and delayed_until is not None and record.answered_at > delayed_until
        if record.judging_share is not None and not is_young:
            row = record.identity(truth)
            shares[row] = max(record.judging_share, shares.get(row, 0.0))
    return shares


def iter_inputs(connection: Connection, hashes: list[str]) -> Iterator[tuple[str, StoredInput]]:
    """What is kept of each hash."""
    for first in range(0, len(hashes), BATCH_SIZE):
        query = select(inputs).where(inputs.c.hash.in_(hashes[first : first + BATCH_SIZE]))
        for row in connection.execute(query):
            yield row.hash, StoredInput(row.form, bytes(row.content))


def open_label_review(
    connection: Connection,
    model: str,
    key: str,
    training_labels: TrainingLabels,
    excluded: Sequence[ExcludedLabel],
    now: datetime,
) -> str | None:
    """Open a task to review the labels in doubt; None when there are none or the retraining has opened it before.

    Contradictions and suspicions come in turns, the strongest first of each: their doubts are not on one scale, and a
    flood of one kind must not hide the other.
    """
    by_image: dict[str, list[ExcludedLabel]] = defaultdict(list)
    for label in excluded:
        if label.reason in REVIEWABLE_REASONS:
            by_image[training_labels.records_by_id[label.feedback_id].image_hash].append(label)
    ranked = [_images_by_doubt(by_image, reason) for reason in REVIEWABLE_REASONS]
    in_doubt = list(dict.fromkeys(image for turn in zip_longest(*ranked) for image in turn if image is not None))
    if not in_doubt:
        return None
    details = {
        "in_doubt": len(in_doubt),
        "predictions": [_review_item(by_image[image], training_labels) for image in in_doubt[:MAX_REVIEW_ITEMS]],
    }
    return tasks.open_review_task(connection, model, key, details, now)


def _images_by_doubt(by_image: Mapping[str, Sequence[ExcludedLabel]], reason: str) -> list[str]:
    """The images with a label that was excluded for this reason, the most doubtful first."""
    worst = {
        image: max((label.doubt for label in labels if label.reason == reason), default=-1.0)
        for image, labels in by_image.items()
    }
    return sorted((image for image in worst if worst[image] >= 0), key=lambda image: (-worst[image], image))


def _review_item(excluded: Sequence[ExcludedLabel], training_labels: TrainingLabels) -> dict[str, object]:
    """One image to review, as the prediction that its most doubtful label is about."""
    worst = max(excluded, key=lambda label: label.doubt)
    return {
        "id": training_labels.records_by_id[worst.feedback_id].prediction_id,
        "feedback": [label.feedback_id for label in excluded[:MAX_LISTED_LABELS]],
        "doubt": worst.doubt,
        "why": f"{worst.reason}: {worst.detail}",
    }


def _unusable_reason(record: InputLabel, form: str, contract: ModelContract, codec: InputCodec) -> str | None:
    """Why a label cannot become a row: the pipeline has changed since; None where it can."""
    if contract.task.canonical(record.label) != record.label:
        return f"label {record.label!r} is no answer of the pipeline; allowed: {contract.task.allowed}"
    return codec.form_mismatch(form)


def _to_rows(
    records: Sequence[InputLabel],
    inputs_by_hash: Mapping[str, Batch],
    contract: ModelContract,
    codec: InputCodec,
    estimating: Collection[str],
) -> FeedbackRows | None:
    if not records:
        return None
    return FeedbackRows(
        Batch.concat([inputs_by_hash[record.image_hash] for record in records]),
        labels=np.array([contract.task.number(record.label) for record in records], dtype=np.int64),
        name="feedback",
        canonical=codec.rows,
        keys=tuple(record.prediction_id for record in records) if contract.truth == "event" else (),
        groups=tuple(record.subject for record in records) if contract.truth == "event" else (),
        times=np.array([record.answered_at.timestamp() for record in records]) if contract.truth == "event" else None,
        feedback_ids=tuple(record.feedback_id for record in records),
        trains_only=tuple(_train_only(record, estimating, contract.truth) for record in records),
    )


def _train_only(record: InputLabel, estimating: Collection[str], truth: Truth) -> bool:
    """Whether a label exists because its prediction was picked; a review of an image drawn at random amends it."""
    return record.source == "correction" or record.identity(truth) not in estimating


def _block_name(record: InputLabel, unit: BlockUnit) -> str:
    tags = {**record.tags, "client": record.client_id}
    key = block_key(unit, record.answered_at, record.prediction_id, record.request_id, tags)
    return " ".join(str(part) for part in key)


def _input_label(row: RowMapping, drawn_since: datetime | None) -> InputLabel:
    columns = {name: row[name] for name in row if name not in ("model_version", "inclusion", "heaviest")}
    return InputLabel(
        **{**columns, "tags": row["tags"] or {}},
        judging_share=_judging_share(row, drawn_since),
    )


def _judging_share(row: RowMapping, drawn_since: datetime | None) -> float | None:
    """As `InputLabel.judging_share`: a delayed label, and one from before any draw, stands for itself alone."""
    if row["source"] == "delayed":
        return 1.0
    if row["source"] != "audit":
        return None
    if row["inclusion"] is not None:
        return min(1.0, 1 / (float(row["inclusion"]) * float(row["heaviest"])))
    return 1.0 if drawn_since is None or row["answered_at"] < drawn_since else None


def _to_origin(record: InputLabel, trusted: Collection[str]) -> LabelOrigin:
    is_trusted = record.feed is not None and record.feed in trusted
    return LabelOrigin(record.source, record.reviewer, record.client_id, record.at.timestamp(), is_trusted)
