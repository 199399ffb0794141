"""Routes prediction requests to the champion or to the challenger of a running rollout (shadow or canary).

One challenger at most is loaded; it follows the running rollout of the store as the reloader follows the champion.
Which clients a canary answers is drawn by a hash of client and rollout, so a client meets the same version throughout.
Where a challenger fails, the champion answers instead; one that fails too often, or cannot be loaded, ends its rollout.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.promotion import rollouts
from mlplatform.promotion.rollout_service import end_rollout
from mlplatform.promotion.rollouts import CANARY_ROLE, CHAMPION_ROLE, Rollout
from mlplatform.serve.inference.model_slot import LoadedModel, ModelSlot
from monitors.decisions.failure_rate import too_many_failures
from pipelines.batch import Batch
from pipelines.engines.inference_engine import TRANSIENT_ERRORS
from pipelines.errors import ModelFormatError
from registry.errors import RegistryUnavailableError

log = logging.getLogger(__name__)
ACTOR: Final = "server/trial"
ProbabilityRows = NDArray[np.float32]


@dataclass(frozen=True)
class LoadedChallenger:
    """The running rollout and its loaded challenger."""

    rollout: Rollout
    model: LoadedModel

    def serves_client(self, client: str) -> bool:
        """Whether a canary answers this client."""
        return self.rollout.role == CANARY_ROLE and bucket_of(client, self.rollout.id) < self.rollout.share


def bucket_of(client: str, rollout_id: str) -> float:
    """Where a client lies between 0 and 1, drawn anew for each rollout."""
    return int.from_bytes(sha256(f"{rollout_id}\0{client}".encode()).digest()[:8], "big") / 2**64


class RolloutRouter:
    """The slot of one server; `load` makes a version ready to answer."""

    def __init__(self, context: AppContext, model_slot: ModelSlot, load: Callable[[int], LoadedModel]) -> None:
        self._context, self._model_slot, self._load = context, model_slot, load
        self._challenger: LoadedChallenger | None = None
        self._lock = threading.Lock()
        self._succeeded_count = self._failed_count = 0
        self._pending_failure = ("", "")

    @property
    def challenger(self) -> LoadedChallenger | None:
        """What is tried now, None where nothing is."""
        return self._challenger

    def versions_by_role(self) -> dict[str, int]:
        """The versions that are loaded beside the champion."""
        challenger = self._challenger
        return {} if challenger is None else {challenger.rollout.role: challenger.model.version}

    def for_champion(self, champion: LoadedModel) -> LoadedChallenger | None:
        """What is tried beside this champion; the moment another one serves, nothing is."""
        challenger = self._challenger
        return challenger if challenger is not None and challenger.rollout.beside == champion.version else None

    def refresh(self) -> None:
        """Look for the running rollout once: load its challenger, drop one that is not, end a rollout that fails."""
        with self._context.database.read() as connection:
            rollout = rollouts.running_rollout(connection, self._context.model_name)
        champion, challenger = self._model_slot.current, self._challenger
        if rollout is None or champion is None or champion.version != rollout.beside:
            self._challenger = None
            return
        if rollout.id == self._pending_failure[0]:  # the store was away when its end was to be written
            self._end_failed_rollout(rollout, self._pending_failure[1])
            return
        if challenger is not None and challenger.rollout.id == rollout.id:
            with self._lock:
                reason = too_many_failures(self._failed_count, self._succeeded_count)
            if reason is not None:
                self._end_failed_rollout(rollout, reason)
            return
        self._challenger = None  # the one before is let go first: two models in memory, not three
        self._load_challenger(rollout)

    def _load_challenger(self, rollout: Rollout) -> None:
        try:
            loaded = self._load(rollout.version)
        except (RegistryUnavailableError, *TRANSIENT_ERRORS) as error:
            log.warning("version %d is to be tried and cannot be loaded yet: %s", rollout.version, error)
        except Exception as error:
            log.exception("version %d cannot be tried", rollout.version)
            self._end_failed_rollout(rollout, f"it cannot be loaded: {error}")
        else:
            with self._lock:
                self._succeeded_count = self._failed_count = 0
            self._challenger = LoadedChallenger(rollout, loaded)
            log.info("version %d is tried: %s", rollout.version, rollout.role)

    def _end_failed_rollout(self, rollout: Rollout, reason: str) -> None:
        self._challenger, self._pending_failure = None, (rollout.id, reason)
        with self._context.database.write() as connection:
            end_rollout(connection, rollout, "failed", ACTOR, reason, self._context.clock())

    def route(self, champion: LoadedModel, client: str, version: int | None) -> tuple[LoadedModel, str]:
        """Whichever version this client meets, or the one that is asked for, with its role.

        Raises NotFoundError for a version that answers nobody.
        """
        challenger = self.for_champion(champion)
        if version not in (None, champion.version):
            if challenger is None or challenger.rollout.role != CANARY_ROLE or challenger.model.version != version:
                raise NotFoundError(f"version {version} does not serve; version {champion.version} does")
            return challenger.model, CANARY_ROLE
        if challenger is None or version is not None or not challenger.serves_client(client):
            return champion, CHAMPION_ROLE
        return challenger.model, CANARY_ROLE

    def record_success(self, model: LoadedModel, probabilities: ProbabilityRows) -> bool:
        """Count what the challenger answered; whether these are numbers."""
        if not np.isfinite(probabilities).all():
            self.record_failure(model, len(probabilities), ModelFormatError("it answers numbers that are none"))
            return False
        with self._lock:
            self._succeeded_count += len(probabilities)
        return True

    def record_failure(self, model: LoadedModel, rows: int, error: Exception) -> None:
        """Count rows that the challenger failed to answer."""
        log.error("the challenger, version %d, failed: %s", model.version, error, exc_info=error)
        with self._lock:
            self._failed_count += rows

    def shadow_predict(self, model: LoadedModel, batch: Batch) -> ProbabilityRows | None:
        """What the challenger answers, counted; None where it fails, which is logged and hurts nobody."""
        try:
            probabilities = model.predictor(batch)
        except Exception as error:  # noqa: BLE001 - whatever a challenger does wrong, nobody waits for it
            self.record_failure(model, len(batch), error)
            return None
        return probabilities if self.record_success(model, probabilities) else None
