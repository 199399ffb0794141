"""What a training is asked to do, and the champion it is compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.candidate.champion_classes import align_champion
from pipelines.data import Examples, FeedbackRows, Split
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.errors import TrainingError
from pipelines.labels.label_curation import (
    ExcludedLabel,
    LabelQuotas,
)
from pipelines.labels.label_provenance import LabelOrigin
from pipelines.labels.learnt_labels import NOTHING_LEARNT, LearntLabels
from pipelines.loading import load_reference_engine
from pipelines.pipeline import Pipeline
from pipelines.recipe import Recipe
from registry.catalog import GOLDEN_DIGEST_TAG, TRAINED_UNTIL_TAG, Catalog
from registry.gate.verdict import GatePolicy
from registry.model_contract import same_rows
from registry.model_package import read_contract


@dataclass(frozen=True, eq=False)
class Champion:
    """The version to beat, ready to answer."""

    version: int
    predictor: InferenceEngine
    size_bytes: int
    golden_digest: str = ""
    """Of the golden set it was evaluated on; empty for a version without one."""
    trained_until: float | None = None
    """Seconds since 1970 of the newest row it was trained or tuned on, where all of them have a time."""
    run_id: str = ""
    """The run that made it, which keeps what labels taught it; empty where nobody knows."""
    registered_at: float = math.inf
    """Seconds since 1970; infinite where nobody knows."""
    learnt: LearntLabels = NOTHING_LEARNT


@dataclass(frozen=True, eq=False)
class TrainingSpec:
    """What to make a candidate from. `feedback` is all there is: its held-back part is for the gate alone."""

    pipeline: Pipeline
    recipe: Recipe
    split: Split
    feedback: FeedbackRows | None
    champion: Champion | None
    seed: int
    reason: str
    tags: Mapping[str, str] = field(default_factory=dict)
    policy: GatePolicy = field(default_factory=GatePolicy)
    origins: Mapping[str, LabelOrigin] = field(default_factory=dict)
    """Where each label came from, by feedback id; `feedback` may hold several labels of one image."""
    quotas: LabelQuotas = field(default_factory=LabelQuotas)
    judging_shares: Mapping[str, float] = field(default_factory=dict)
    """How much a held-back image counts, by content hash, above 0 and at most 1; 1 where it is not named."""
    blocks: Mapping[str, str] = field(default_factory=dict)
    """By content hash, what images that may be wrong together have in common, such as their request."""
    group_tags: Mapping[str, str] = field(default_factory=dict)
    """A tag of an image, by its content hash, such as the place it came from; the gate compares tagged groups."""
    unusable: tuple[ExcludedLabel, ...] = ()
    """Labels that could not become rows; the lineage names them too."""
    recent_images: frozenset[str] | None = None
    """The images, by content hash, that show the world as it is now; None where all of them do."""
    checkpoint_folder: Path | None = None
    """Folder in which a training leaves what it needs to go on after a kill; None keeps nothing."""
    device: str = "cpu"
    """Where the training computes, in torch's words; the registered model is the same kind of file anyway."""
    external_datasets: tuple[Examples, ...] = ()
    """Other data sets, evaluated for the card and never trained on."""


def load_champion(catalog: Catalog, pipeline: Pipeline, version: int, cache: Path) -> Champion:
    """Fetch a registered version as the one to beat, on the classes that the pipeline has now.

    Raises TrainingError where it takes other inputs, or answers otherwise: no row could be given to both.
    """
    folder = catalog.download(pipeline.name, version, cache)
    contract = read_contract(folder)
    if not same_rows(contract.inputs, pipeline.contract.inputs):
        raise TrainingError(
            f"version {version} of {pipeline.name} takes {contract.inputs}, and the pipeline makes versions that take "
            f"{pipeline.contract.inputs}: they cannot be compared; give the pipeline another name, which begins anew"
        )
    registered = catalog.version(pipeline.name, version)
    tags = registered.tags
    engine, path = load_reference_engine(folder, contract)
    noted = tags.get("size_bytes")  # of the same export as the candidate's
    size = int(noted) if noted else path.stat().st_size
    trained_until = tags.get(TRAINED_UNTIL_TAG)
    return Champion(
        version,
        align_champion(engine, pipeline.contract.task),
        size,
        tags.get(GOLDEN_DIGEST_TAG, ""),
        None if trained_until is None else float(trained_until),
        registered.run_id,
        registered.created_at.timestamp(),
    )
