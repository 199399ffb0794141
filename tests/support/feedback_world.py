"""Predictions with labels of many clients, and what of them may train."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mlplatform.context import AppContext
from mlplatform.ids import uuid7
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.retraining.training_labels import TrainingLabels, label_quotas, load_training_labels, retraining_policy
from monitors.rules.alerts_config import Retraining
from pipelines.answers import ClassReader
from pipelines.batch import Batch
from pipelines.builtin.digits import PIPELINE
from pipelines.candidate.row_selection import Rows, select_rows
from pipelines.candidate.training_spec import Champion, TrainingSpec
from pipelines.data import Examples, Split, content_hash, image_row, images_of
from pipelines.engines.torch_engine import TorchEngine
from pipelines.image.near_duplicates import fingerprint
from tests.support.platform_world import prediction, recorded

Images = NDArray[np.uint8]


class Reader(TorchEngine):
    """A champion that learnt the base rows, without a network."""

    def __init__(self, base: Examples) -> None:
        from sklearn.linear_model import LogisticRegression

        self.reader, self.inputs = ClassReader(PIPELINE.classes), PIPELINE.contract.inputs
        self._model = LogisticRegression(C=10, max_iter=2_000).fit(fingerprint(images_of(base.batch)) * 8, base.labels)

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        answers: NDArray[np.float32] = self._model.predict_proba(fingerprint(images_of(batch)) * 8).astype(np.float32)
        return answers


def policy_of(context: AppContext) -> Retraining:
    """What alerts.yaml says about retraining the digits."""
    return retraining_policy(context.settings.alerts_file, lambda: context.rules, PIPELINE.name)


def answered(
    context: AppContext, images: Images, clients: Sequence[str], tags: dict[str, str] | None = None
) -> list[str]:
    """Answers on these images for these clients, in turns; returns their ids."""
    one, rows = prediction(), []
    for place, image in enumerate(images):
        client = clients[place % len(clients)]
        row = replace(one.prediction, id=uuid7(), image_hash=content_hash(image), client_id=client, tags=tags)
        rows.append(PredictionWithInput(row, image_row(image)))
    return recorded(context.database, *rows)


def chosen(
    context: AppContext, split: Split, champion: Champion, limits: Retraining | None = None
) -> tuple[Rows, TrainingLabels]:
    """What a retraining would learn from, as its process finds out."""
    limits = limits or policy_of(context)
    material = load_training_labels(
        context.database, PIPELINE.name, PIPELINE.contract, limits.group_by, limits.quotas.trusted
    )
    order = TrainingSpec(
        PIPELINE,
        PIPELINE.recipe(None),
        split,
        material.rows,
        champion,
        seed=0,
        reason="for a test",
        origins=material.origins,
        quotas=label_quotas(limits),
        group_tags=material.groups,
        unusable=material.unusable,
    )
    return select_rows(order), material


def trained(rows: Rows) -> set[str]:
    return set() if rows.feedback is None else set(rows.feedback.feedback_ids)


def wrong(labels: NDArray[np.int64]) -> list[int]:
    return [(label + 1) % 10 for label in labels.tolist()]
