"""The model that answers now, swapped in one assignment; it knows neither registry nor HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mlplatform.errors import ModelUnavailableError
from pipelines.engines.inference_engine import Engine


@dataclass(frozen=True)
class Loaded:
    """A predictor with the name and version it answers under."""

    name: str
    version: int
    predictor: Engine
    loaded_at: datetime
    folder: Path | None = None
    """Its files, from which it may be opened on another engine."""
    digest: str = ""
    """Of its files: what makes it this version and no other of the same number elsewhere."""
    digests: Mapping[str, str] | None = None
    """Of each of its files, by tag: what they must still be when it is opened again; None where nobody noted them."""


class Holder:
    """Holds one loaded model. A request takes it once, so it is answered by exactly one version."""

    def __init__(self) -> None:
        self._loaded: Loaded | None = None

    @property
    def loaded(self) -> Loaded | None:
        """The model that answers now, None before the first."""
        return self._loaded

    def take(self) -> Loaded:
        """The model that answers now; raises ModelUnavailableError before the first."""
        loaded = self._loaded
        if loaded is None:
            raise ModelUnavailableError(
                "no champion is loaded yet: `platform train` makes the first one; the server loads it by itself"
            )
        return loaded

    def put(self, loaded: Loaded) -> None:
        """Swap: requests under way finish on the model they took."""
        self._loaded = loaded
