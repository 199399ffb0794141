"""Decides which version a server shall answer with, and which digests its files must have.

MLflow's alias is a projection that anybody who may write there can move. It is followed only where no promotion was
ever made, and never to a version in quarantine. While the database is away, the version remembered on disk goes on.
"""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlplatform.alerting import evaluations
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, StoreUnavailableError
from mlplatform.promotion import promotion_history, quarantines
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.errors import ModelFormatError
from registry.catalog import CHAMPION
from registry.errors import CorruptModelError
from registry.model_contract import ImageInputs, ModelContract, TableInputs
from registry.model_package import DIGEST_TAGS, digest_tags

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TargetVersion:
    """A version to answer with, and its pinned digests by tag; None where nothing was pinned yet."""

    version: int
    pinned_digests: Mapping[str, str] | None


def resolve_target_version(context: AppContext) -> TargetVersion | None:
    """The champion by the history; None before the first.

    Raises StoreUnavailableError, RegistryError, and ConflictError for an alias that names a version in quarantine.
    """
    name = context.model_name
    with context.database.read() as connection:
        promotion = promotion_history.latest_promotion(connection, name)
        quarantined = quarantines.quarantined_versions(connection, name) if promotion is None else {}
    if promotion is not None:
        return TargetVersion(promotion.to_version, pinned_digests(context, promotion.to_version))
    version = context.catalog.alias(name, CHAMPION)
    if version in quarantined:
        raise ConflictError(f"MLflow's alias names version {version} of {name}, which is in quarantine")
    return None if version is None else TargetVersion(version, pinned_digests(context, version))


def pinned_digests(context: AppContext, version: int) -> Mapping[str, str] | None:
    """The digests noted when the version was promoted, or first served."""
    with context.database.read() as connection:
        baselines = evaluations.load_baselines(connection, context.model_name, version)
    return baselines.get(evaluations.ARTIFACT_DIGESTS, {}).get("")


def pin_digests(context: AppContext, version: int, digests_by_tag: Mapping[str, str]) -> None:
    """Pin what the registry vouched for, where nothing is pinned yet: versions promoted before this was done."""
    name, now = context.model_name, context.clock()
    try:
        with context.database.write() as connection:
            evaluations.store_baseline(connection, name, version, evaluations.ARTIFACT_DIGESTS, "", digests_by_tag, now)
    except StoreUnavailableError as error:
        log.warning("the digests of version %d are not pinned yet: %s", version, error)


def pin_contract(context: AppContext, version: int, contract: ModelContract) -> None:
    """Pin what the version's files say that it takes and answers, as `pin_digests` does.

    Raises CorruptModelError where something else is pinned.
    """
    try:
        with context.database.write() as connection:
            context.contracts.pin(connection, contract, context.model_name, version, context.clock())
    except StoreUnavailableError as error:
        log.warning("the contract of version %d is not compared with the one that is pinned: %s", version, error)


def check_inputs(version: int, contract: ModelContract, predictor: InferenceEngine) -> None:
    """Raise ModelFormatError unless the version takes what its contract says: rows, or grey pictures of that size."""
    inputs = contract.inputs
    if isinstance(inputs, TableInputs):
        return  # its graph was held against the contract before it was opened
    if not isinstance(inputs, ImageInputs) or inputs.channels != 1:
        raise ModelFormatError(
            f"version {version} takes neither grey pictures nor rows, and nothing else is served; roll back"
        )
    height, width = predictor.image_size
    if (height, width) != (inputs.height, inputs.width):
        raise ModelFormatError(
            f"version {version} takes pictures of {height}×{width}, and its contract says "
            f"{inputs.height}×{inputs.width}; register it again"
        )


def verify_digests(folder: Path, version: int, pinned_digests: Mapping[str, str]) -> Mapping[str, str]:
    """The digests of a version's files; raises CorruptModelError unless they are exactly those that were pinned."""
    digests = digest_tags(folder)
    for name, tag in DIGEST_TAGS.items():
        if digests.get(tag) != pinned_digests.get(tag):
            raise CorruptModelError(
                f"version {version} was promoted with sha256 {pinned_digests.get(tag, 'none')} of "
                f"{name}, and {folder} has "
                f"{digests.get(tag, 'none')}: it is not answered with; remove that folder, or roll back"
            )
    return digests


class LastKnownChampion:
    """The last champion that served here, on disk, for a start while database or registry are away."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, version: int, digests_by_tag: Mapping[str, str]) -> None:
        """Remember it; a disk that refuses is logged."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps({"version": version, "digests": dict(digests_by_tag)}), encoding="utf-8")
            draft.replace(self._path)
        except OSError as error:
            log.warning("the champion could not be remembered on disk: %s", error)

    def load(self) -> TargetVersion | None:
        """What was remembered; None where nothing can be read."""
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            pins = document.get("digests")
            return TargetVersion(
                int(document["version"]), None if pins is None else {str(k): str(v) for k, v in pins.items()}
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
