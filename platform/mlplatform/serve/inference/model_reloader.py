"""The reloader: follows the champion of the history and swaps the model in; it answers no request.

A version is downloaded, checked, loaded, warmed up and measured before it is swapped in; when any of that fails,
the old model stays and the error is shown in `/readyz` and `platform status`. The last champion is remembered on
disk, so that a server starts and answers while registry or database are away. Files are opened only when their digests
are those pinned in the database at the promotion, whatever the registry or this disk say by then.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlplatform.context import Parts
from mlplatform.errors import PlatformError, StoreUnavailableError
from mlplatform.serve.inference.alias_monitor import AliasWatch
from mlplatform.serve.inference.model_slot import Holder, Loaded
from mlplatform.serve.inference.target_version import Chosen, Memory, chosen, pin, pinned, prove
from mlplatform.serve.public_errors import reason_of
from mlplatform.store import leases
from mlplatform.store.timeouts import reserved
from pipelines.engines.inference_engine import Choice
from pipelines.engines.loading import open_model
from pipelines.errors import ModelFormatError, PipelineError
from registry.errors import RegistryError, RegistryUnavailableError
from registry.model_package import MODEL_FILE, SHA256_TAG, digests

log = logging.getLogger(__name__)


class Reloader:
    """Polls the history from its own thread. `measure` is called with each new model before it serves.

    `choice` says what shall compute its answers, `more` what else the server's heartbeat says.
    """

    def __init__(
        self,
        parts: Parts,
        holder: Holder,
        measure: Callable[[Loaded], None],
        after_poll: Callable[[], None] = lambda: None,
        choice: Callable[[], Choice] = Choice,
        more: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._parts, self._holder = parts, holder
        self._measure, self._after_poll, self._choice, self._more = measure, after_poll, choice, more
        self._alias = AliasWatch(parts)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reloader", daemon=True)
        self.error: str | None = None
        self.reason: str | None = None
        """The same for everybody: without addresses, paths and digests."""
        self.swapped: Callable[[], None] = lambda: None
        """Called after each swap."""

    def start(self) -> None:
        """Begin polling."""
        self._thread.start()

    def close(self) -> None:
        """Stop polling."""
        self._stopping.set()
        self._thread.join(timeout=5.0)

    def poll(self) -> bool:
        """Look once; returns whether another model was swapped in. Never raises what the world may do."""
        try:
            wanted = self._wanted()
            if wanted is None or self._is_loaded(wanted.version):
                self.error = self.reason = None
                return False
            loaded, found = self._proven(wanted)
            self._measure(loaded)
        except Exception as error:
            surprise = not isinstance(error, RegistryError | PipelineError | PlatformError | OSError)
            if str(error) != self.error:
                log.warning("the model stays as it is: %s", error, exc_info=surprise)
            self.error, self.reason = str(error) or type(error).__name__, reason_of(error)
            return False
        self._holder.put(loaded)
        self.swapped()
        self._memory.write(wanted.version, found)
        if wanted.pins is None:
            pin(self._parts, wanted.version, found)
        self.error = self.reason = None
        log.info("serving %s version %d", loaded.name, wanted.version)
        return True

    @reserved()
    def _run(self) -> None:
        while not self._stopping.is_set():
            self.poll()
            try:
                self._beat()
                self._alias.look()
                self._after_poll()
            except (PlatformError, RegistryError) as error:
                log.warning("%s", error)
            except Exception:  # a thread's edge: whatever it was, the next champion must still be followed
                log.exception("the reloader goes on")
            self._stopping.wait(self._parts.settings.poll_seconds)

    def _wanted(self) -> Chosen | None:
        try:
            return chosen(self._parts)
        except (StoreUnavailableError, RegistryUnavailableError) as error:
            remembered = self._memory.read()
            if self._holder.loaded is not None or remembered is None:
                raise
            log.warning("starting with the last champion known, version %d: %s", remembered.version, error)
            return remembered

    def _is_loaded(self, version: int) -> bool:
        loaded = self._holder.loaded
        return loaded is not None and loaded.version == version

    def load(self, version: int) -> Loaded:
        """A version from the registry, checked and warmed up; raises what registry, database and file may do."""
        return self._proven(Chosen(version, pinned(self._parts, version)))[0]

    def _proven(self, wanted: Chosen) -> tuple[Loaded, Mapping[str, str]]:
        """The version, its files those that were promoted, with their digests."""
        version, family = wanted.version, self._parts.family
        folder, found = self._files(wanted)
        predictor = open_model(folder, family.classes, self._choice())
        blank = np.zeros((2, family.height, family.width), dtype=np.uint8)
        if not np.isfinite(predictor(blank)).all():
            raise ModelFormatError(f"version {version} answers numbers that are none; roll back to another version")
        log.info("version %d is answered by %s on %s", version, predictor.name, predictor.device)
        return Loaded(
            family.name, version, predictor, self._parts.clock(), folder, found.get(SHA256_TAG, ""), found
        ), found

    def _files(self, wanted: Chosen) -> tuple[Path, Mapping[str, str]]:
        """The version's folder and digests; what nobody vouches for is not opened."""
        name, version, pins = self._parts.family.name, wanted.version, wanted.pins
        try:
            folder = self._parts.catalog.download(name, version, self._parts.model_cache)
        except RegistryUnavailableError:
            folder = self._parts.model_cache / name / str(version)
            if pins is None or not (folder / MODEL_FILE).is_file():
                raise
            return folder, prove(folder, version, pins)
        if pins is not None:
            return folder, prove(folder, version, pins)
        return folder, digests(folder)

    @property
    def _memory(self) -> Memory:
        return Memory(self._parts.model_cache / self._parts.family.name / "champion.json")

    def _beat(self) -> None:
        loaded = self._holder.loaded
        details = {"model_version": None if loaded is None else loaded.version, "error": self.error, **self._more()}
        with self._parts.database.write() as connection:
            leases.beat(connection, "api", self._parts.instance, self._parts.clock(), details)
