"""The challenger that is tried beside the champion: one at most is loaded; it serves a canary's clients, or nobody.

It follows the running trial of the store as the reloader follows the champion. Which clients a canary answers is drawn
by a hash of the client and the trial, so a client meets the same version throughout a trial. Where a challenger fails,
the champion answers instead; a challenger that fails too often, or cannot be loaded, ends its trial.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlplatform.context import Parts
from mlplatform.errors import NotFoundError
from mlplatform.promotion import rollouts
from mlplatform.promotion.rollout_analysis import end_trial
from mlplatform.promotion.rollouts import CANARY, CHAMPION, Trial
from mlplatform.serve.inference.model_slot import Holder, Loaded
from monitors.decisions.failure_rate import failing
from pipelines.engines.model_file import PASSING
from pipelines.errors import ModelFormatError
from registry.errors import RegistryUnavailableError

log = logging.getLogger(__name__)
ACTOR: Final = "server/trial"
Images = NDArray[np.uint8]
Shares = NDArray[np.float32]


@dataclass(frozen=True)
class Tried:
    """The running trial and its loaded challenger."""

    trial: Trial
    loaded: Loaded

    def takes(self, client: str) -> bool:
        """Whether a canary answers this client."""
        return self.trial.role == CANARY and place_of(client, self.trial.id) < self.trial.share


def place_of(client: str, trial: str) -> float:
    """Where a client lies between 0 and 1, drawn anew for each trial."""
    return int.from_bytes(sha256(f"{trial}\0{client}".encode()).digest()[:8], "big") / 2**64


class Challenger:
    """The slot of one server; `load` makes a version ready to answer."""

    def __init__(self, parts: Parts, holder: Holder, load: Callable[[int], Loaded]) -> None:
        self._parts, self._holder, self._load = parts, holder, load
        self._tried: Tried | None = None
        self._lock = threading.Lock()
        self._answered = self._failed = 0
        self._given_up = ("", "")

    @property
    def tried(self) -> Tried | None:
        """What is tried now, None where nothing is."""
        return self._tried

    def beside(self, champion: Loaded) -> Tried | None:
        """What is tried beside this champion; the moment another one serves, nothing is."""
        tried = self._tried
        return tried if tried is not None and tried.trial.beside == champion.version else None

    def follow(self) -> None:
        """Look for the running trial once, load what it tries, let go of what it does not, end what fails."""
        with self._parts.database.read() as connection:
            trial = rollouts.current(connection, self._parts.family.name)
        champion, tried = self._holder.loaded, self._tried
        if trial is None or champion is None or champion.version != trial.beside:
            self._tried = None
            return
        if trial.id == self._given_up[0]:  # the store was away when its end was to be written
            self._give_up(trial, self._given_up[1])
            return
        if tried is not None and tried.trial.id == trial.id:
            with self._lock:
                reason = failing(self._failed, self._answered)
            if reason is not None:
                self._give_up(trial, reason)
            return
        self._tried = None  # the one before is let go first: two models in memory, not three
        self._begin(trial)

    def _begin(self, trial: Trial) -> None:
        try:
            loaded = self._load(trial.version)
        except (RegistryUnavailableError, *PASSING) as error:
            log.warning("version %d is to be tried and cannot be loaded yet: %s", trial.version, error)
        except Exception as error:
            log.exception("version %d cannot be tried", trial.version)
            self._give_up(trial, f"it cannot be loaded: {error}")
        else:
            with self._lock:
                self._answered = self._failed = 0
            self._tried = Tried(trial, loaded)
            log.info("version %d is tried: %s", trial.version, trial.role)

    def _give_up(self, trial: Trial, reason: str) -> None:
        self._tried, self._given_up = None, (trial.id, reason)
        with self._parts.database.write() as connection:
            end_trial(connection, self._parts, trial, "failed", ACTOR, reason)

    def choose(self, champion: Loaded, client: str, version: int | None) -> tuple[Loaded, str]:
        """Whichever version this client meets, or the one that is asked for, with its role.

        Raises NotFoundError for a version that answers nobody.
        """
        tried = self.beside(champion)
        if version not in (None, champion.version):
            if tried is None or tried.trial.role != CANARY or tried.loaded.version != version:
                raise NotFoundError(f"version {version} does not serve; version {champion.version} does")
            return tried.loaded, CANARY
        if tried is None or version is not None or not tried.takes(client):
            return champion, CHAMPION
        return tried.loaded, CANARY

    def sound(self, loaded: Loaded, probabilities: Shares) -> bool:
        """Count what the challenger answered; whether these are numbers."""
        if not np.isfinite(probabilities).all():
            self.note(loaded, len(probabilities), ModelFormatError("it answers numbers that are none"))
            return False
        with self._lock:
            self._answered += len(probabilities)
        return True

    def note(self, loaded: Loaded, images: int, error: Exception) -> None:
        """Count images that the challenger failed to answer."""
        log.error("the challenger, version %d, failed: %s", loaded.version, error, exc_info=error)
        with self._lock:
            self._failed += images

    def probe(self, loaded: Loaded, images: Images) -> Shares | None:
        """What the challenger answers, counted; None where it fails, which is logged and hurts nobody."""
        try:
            probabilities = loaded.predictor(images)
        except Exception as error:  # noqa: BLE001 - whatever a challenger does wrong, nobody waits for it
            self.note(loaded, len(images), error)
            return None
        return probabilities if self.sound(loaded, probabilities) else None
