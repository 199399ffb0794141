"""An MLflow that is there, is away, or says what became of a run."""

from registry.errors import RegistryUnavailableError
from registry.runs import RunStatus, TrackingStore


class FakeTracking(TrackingStore):
    """MLflow's runs, of which only the closing is asked for."""

    def __init__(self, *, away: bool = False) -> None:
        super().__init__("sqlite:///unused.db")
        self.closed: list[tuple[str, RunStatus]] = []
        self._away = away

    def close_run(self, run_id: str, status: RunStatus) -> None:
        if self._away:
            raise RegistryUnavailableError("MLflow did not answer")
        self.closed.append((run_id, status))
