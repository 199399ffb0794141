"""What a training is asked to do, and the champion it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.data import FeedbackRows, ImageSet, Split
from pipelines.engines.torch_engine import Predictor, load
from pipelines.labels.label_curation import (
    Quotas,
    SetAside,
)
from pipelines.labels.label_provenance import Origin
from pipelines.pipeline import Family
from pipelines.recipe import Recipe
from registry.catalog import Catalog
from registry.gate.verdict import GatePolicy

GOLDEN_DIGEST_TAG = "golden_digest"


@dataclass(frozen=True, eq=False)
class Champion:
    """The version to beat, ready to answer."""

    version: int
    predictor: Predictor
    size_bytes: int
    golden_digest: str = ""
    """Of the golden set it was judged on; empty when it noted none."""


@dataclass(frozen=True, eq=False)
class Order:
    """What to make a candidate from. `feedback` is all there is: its held-back part only judges."""

    family: Family
    recipe: Recipe
    split: Split
    feedback: FeedbackRows | None
    champion: Champion | None
    seed: int
    reason: str
    tags: Mapping[str, str] = field(default_factory=dict)
    policy: GatePolicy = field(default_factory=GatePolicy)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Where each label came from, by feedback id; `feedback` may hold several labels of one image."""
    quotas: Quotas = field(default_factory=Quotas)
    groups: Mapping[str, str] = field(default_factory=dict)
    """A tag of an image, by its content hash, such as the place it came from; the gate compares tagged groups."""
    unusable: tuple[SetAside, ...] = ()
    """Labels that could not become rows; the lineage names them too."""
    recent: frozenset[str] | None = None
    """The images, by content hash, that show the world as it is now; None where all of them do."""
    checkpoints: Path | None = None
    """Folder in which a training leaves what it needs to go on after a kill; None keeps nothing."""
    device: str = "cpu"
    """Where the training computes, in torch's words; the registered model is the same kind of file anyway."""
    elsewhere: tuple[ImageSet, ...] = ()
    """Other data sets, each judged for the card and trained on never."""


def champion_of(catalog: Catalog, family: Family, version: int, cache: Path, model_file: str) -> Champion:
    """Fetch a registered version as the one to beat."""
    path = catalog.download(family.name, version, cache) / model_file
    tags = catalog.version(family.name, version).tags
    noted = tags.get("size_bytes")  # of the same export as the candidate's
    size = int(noted) if noted else path.stat().st_size
    return Champion(version, load(path, family.classes), size, tags.get(GOLDEN_DIGEST_TAG, ""))
