"""Follows the champion of the promotion history, and swaps its model in.

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

from mlplatform.context import AppContext
from mlplatform.errors import PlatformError, StoreUnavailableError
from mlplatform.serve.inference.alias_monitor import AliasMonitor
from mlplatform.serve.inference.model_slot import LoadedModel, ModelSlot
from mlplatform.serve.inference.target_version import (
    LastKnownChampion,
    TargetVersion,
    check_inputs,
    pin_contract,
    pin_digests,
    pinned_digests,
    resolve_target_version,
    verify_digests,
)
from mlplatform.serve.public_errors import public_reason
from mlplatform.store import leases
from mlplatform.store.timeouts import reserved_connections
from pipelines.engines.inference_engine import EngineConfig
from pipelines.errors import ModelFormatError, PipelineError
from pipelines.inputs.codec_of import codec_of
from pipelines.loading import load_engine
from registry.errors import RegistryError, RegistryUnavailableError
from registry.model_package import MODEL_FILE, ONNX_FILE, ONNX_SHA256_TAG, SHA256_TAG, digest_tags, read_contract

log = logging.getLogger(__name__)


class ModelReloader:
    """Polls the history from its own thread. `measure` is called with each new model before it serves.

    `choice` says what shall compute its answers, `more` what else the server's heartbeat says.
    """

    def __init__(
        self,
        context: AppContext,
        model_slot: ModelSlot,
        measure: Callable[[LoadedModel], None],
        after_poll: Callable[[], None] = lambda: None,
        backend_config: Callable[[], EngineConfig] = EngineConfig,
        heartbeat_details: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._context, self._model_slot = context, model_slot
        self._measure, self._after_poll, self._backend_config, self._heartbeat_details = (
            measure,
            after_poll,
            backend_config,
            heartbeat_details,
        )
        self._alias_monitor = AliasMonitor(context)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reloader", daemon=True)
        self.error: str | None = None
        self.public_error: str | None = None
        """The same for everybody: without addresses, paths and digests."""
        self.on_swap: Callable[[], None] = lambda: None
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
            target = self._target_version()
            if target is None or self._is_serving(target.version):
                self.error = self.public_error = None
                return False
            model, digests = self._load_verified(target)
            self._measure(model)
        except Exception as error:
            surprise = not isinstance(error, RegistryError | PipelineError | PlatformError | OSError)
            if str(error) != self.error:
                log.warning("the model stays as it is: %s", error, exc_info=surprise)
            self.error, self.public_error = str(error) or type(error).__name__, public_reason(error)
            return False
        self._model_slot.swap(model)
        self.on_swap()
        self._last_known_champion.save(target.version, digests)
        if target.pinned_digests is None:
            pin_digests(self._context, target.version, digests)
        self.error = self.public_error = None
        log.info("serving %s version %d", model.name, target.version)
        return True

    @reserved_connections()
    def _run(self) -> None:
        while not self._stopping.is_set():
            self.poll()
            try:
                self._write_heartbeat()
                self._alias_monitor.check()
                self._after_poll()
            except (PlatformError, RegistryError) as error:
                log.warning("%s", error)
            except Exception:  # a thread's edge: whatever it was, the next champion must still be followed
                log.exception("the reloader goes on")
            self._stopping.wait(self._context.settings.poll_seconds)

    def _target_version(self) -> TargetVersion | None:
        try:
            return resolve_target_version(self._context)
        except (StoreUnavailableError, RegistryUnavailableError) as error:
            remembered = self._last_known_champion.load()
            if self._model_slot.current is not None or remembered is None:
                raise
            log.warning("starting with the last champion known, version %d: %s", remembered.version, error)
            return remembered

    def _is_serving(self, version: int) -> bool:
        loaded = self._model_slot.current
        return loaded is not None and loaded.version == version

    def load(self, version: int) -> LoadedModel:
        """A version from the registry, checked and warmed up; raises what registry, database and file may do."""
        return self._load_verified(TargetVersion(version, pinned_digests(self._context, version)))[0]

    def _load_verified(self, target: TargetVersion) -> tuple[LoadedModel, Mapping[str, str]]:
        """The version, its files those that were promoted, with their digests."""
        version, name = target.version, self._context.model_name
        folder, digests = self._verified_files(target)
        contract = read_contract(folder)
        pin_contract(self._context, version, contract)
        predictor = load_engine(folder, contract, self._backend_config())
        check_inputs(version, contract, predictor)
        if not np.isfinite(predictor(codec_of(contract.inputs).blank(2))).all():
            raise ModelFormatError(f"version {version} answers numbers that are none; roll back to another version")
        log.info("version %d is answered by %s on %s", version, predictor.name, predictor.device)
        return LoadedModel(
            name,
            version,
            predictor,
            self._context.clock(),
            folder,
            digests.get(SHA256_TAG) or digests.get(ONNX_SHA256_TAG, ""),
            digests,
        ), digests

    def _verified_files(self, target: TargetVersion) -> tuple[Path, Mapping[str, str]]:
        """The version's folder and digests; what nobody vouches for is not opened."""
        name, version, pins = self._context.model_name, target.version, target.pinned_digests
        try:
            folder = self._context.catalog.download(name, version, self._context.model_cache)
        except RegistryUnavailableError:
            folder = self._context.model_cache / name / str(version)
            if pins is None or not any((folder / file).is_file() for file in (MODEL_FILE, ONNX_FILE)):
                raise
            return folder, verify_digests(folder, version, pins)
        if pins is not None:
            return folder, verify_digests(folder, version, pins)
        return folder, digest_tags(folder)

    @property
    def _last_known_champion(self) -> LastKnownChampion:
        return LastKnownChampion(self._context.model_cache / self._context.model_name / "champion.json")

    def _write_heartbeat(self) -> None:
        loaded = self._model_slot.current
        details = {
            "model_version": None if loaded is None else loaded.version,
            "error": self.error,
            **self._heartbeat_details(),
        }
        with self._context.database.write() as connection:
            leases.record_heartbeat(connection, "api", self._context.instance, self._context.clock(), details)
