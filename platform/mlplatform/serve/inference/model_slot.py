"""Holds the model that answers now; it is swapped in one assignment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mlplatform.errors import ModelUnavailableError
from mlplatform.predictions.prediction_counts import NO_MODEL_VERSION
from pipelines.engines.inference_engine import InferenceEngine


@dataclass(frozen=True)
class LoadedModel:
    """A predictor with the name and version it answers under."""

    name: str
    version: int
    predictor: InferenceEngine
    loaded_at: datetime
    folder: Path | None = None
    """Its files, from which it may be opened on another engine."""
    digest: str = ""
    """Of its files: what makes it this version and no other of the same number elsewhere."""
    digests: Mapping[str, str] | None = None
    """Of each of its files, by tag: what they must still be when it is opened again; None where nobody noted them."""


class ModelSlot:
    """Holds one loaded model. A request takes it once, so it is answered by exactly one version."""

    def __init__(self) -> None:
        self._current: LoadedModel | None = None

    @property
    def current(self) -> LoadedModel | None:
        """The model that answers now, None before the first."""
        return self._current

    def version(self) -> int:
        """The version that answers now, NO_MODEL_VERSION before the first."""
        loaded = self._current
        return NO_MODEL_VERSION if loaded is None else loaded.version

    def get(self) -> LoadedModel:
        """The model that answers now; raises ModelUnavailableError before the first."""
        loaded = self._current
        if loaded is None:
            raise ModelUnavailableError(
                "no champion is loaded yet: `platform train` makes the first one; the server loads it by itself"
            )
        return loaded

    def swap(self, model: LoadedModel) -> None:
        """Swap: requests under way finish on the model they took."""
        self._current = model
