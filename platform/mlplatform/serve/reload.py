"""The reloader: follows the champion alias and swaps the model in; it answers no request.

A version is downloaded, checked, loaded, warmed up and measured before it is swapped in; when any of that fails,
the old model stays and the error is shown in `/readyz` and `platform status`. The last champion is remembered on
disk, so that a server starts and answers while the registry is away.
"""

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mlplatform.build import Parts
from mlplatform.errors import PlatformError
from mlplatform.serve.holder import Holder, Loaded
from mlplatform.store import leases
from mlplatform.store.patience import reserved
from pipelines.engine import Choice, open_model
from pipelines.errors import ModelFormatError, PipelineError
from registry.catalog import CHAMPION
from registry.errors import RegistryError, RegistryUnavailableError
from registry.package import MODEL_FILE, model_digest

log = logging.getLogger(__name__)


class Reloader:
    """Polls the registry from its own thread. `measure` is called with each new model before it serves.

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
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reloader", daemon=True)
        self.error: str | None = None
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
            version = self._wanted()
            if version is None or self._is_loaded(version):
                self.error = None
                return False
            loaded = self.load(version)
            self._measure(loaded)
        except Exception as error:
            surprise = not isinstance(error, RegistryError | PipelineError | PlatformError | OSError)
            if str(error) != self.error:
                log.warning("the model stays as it is: %s", error, exc_info=surprise)
            self.error = str(error) or type(error).__name__
            return False
        self._holder.put(loaded)
        self.swapped()
        self._remember(version)
        self.error = None
        log.info("serving %s version %d", loaded.name, version)
        return True

    @reserved()
    def _run(self) -> None:
        while not self._stopping.is_set():
            self.poll()
            try:
                self._beat()
                self._after_poll()
            except (PlatformError, RegistryError) as error:
                log.warning("%s", error)
            except Exception:  # a thread's edge: whatever it was, the next champion must still be followed
                log.exception("the reloader goes on")
            self._stopping.wait(self._parts.settings.poll_seconds)

    def _wanted(self) -> int | None:
        name = self._parts.family.name
        try:
            return self._parts.catalog.alias(name, CHAMPION)
        except RegistryUnavailableError:
            remembered = self._remembered()
            if self._holder.loaded is not None or remembered is None:
                raise
            log.warning("the registry is away: starting with the last champion known, version %d", remembered)
            return remembered

    def _is_loaded(self, version: int) -> bool:
        loaded = self._holder.loaded
        return loaded is not None and loaded.version == version

    def load(self, version: int) -> Loaded:
        """A version from the registry, checked and warmed up; raises what registry and file may do."""
        family = self._parts.family
        folder = self._cached(version)
        predictor = open_model(folder, family.classes, self._choice())
        blank = np.zeros((2, family.height, family.width), dtype=np.uint8)
        if not np.isfinite(predictor(blank)).all():
            raise ModelFormatError(f"version {version} answers numbers that are none; roll back to another version")
        log.info("version %d is answered by %s on %s", version, predictor.name, predictor.device)
        return Loaded(family.name, version, predictor, self._parts.clock(), folder, model_digest(folder))

    def _cached(self, version: int) -> Path:
        name = self._parts.family.name
        try:
            return self._parts.catalog.download(name, version, self._parts.model_cache)
        except RegistryUnavailableError:
            folder = self._parts.model_cache / name / str(version)
            if version == self._remembered() and (folder / MODEL_FILE).is_file():
                return folder
            raise

    @property
    def _memory(self) -> Path:
        return self._parts.model_cache / self._parts.family.name / "champion.json"

    def _remember(self, version: int) -> None:
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            draft = self._memory.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps({"version": version}))
            draft.replace(self._memory)
        except OSError as error:
            log.warning("the champion could not be remembered on disk: %s", error)

    def _remembered(self) -> int | None:
        try:
            return int(json.loads(self._memory.read_text())["version"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _beat(self) -> None:
        loaded = self._holder.loaded
        details = {"model_version": None if loaded is None else loaded.version, "error": self.error, **self._more()}
        with self._parts.database.write() as connection:
            leases.beat(connection, "api", self._parts.instance, self._parts.clock(), details)
