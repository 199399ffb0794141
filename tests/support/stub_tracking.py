"""An MLflow that is there, is away, keeps a few texts, or says what became of a run."""

from collections.abc import Mapping

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


class KeptTexts(TrackingStore):
    """MLflow's runs, of which only texts are asked for, by run and name, and the values of metrics by step."""

    def __init__(self, texts: Mapping[tuple[str, str], str]) -> None:
        super().__init__("sqlite:///unused.db")
        self.texts = dict(texts)
        self.histories: dict[str, dict[str, list[tuple[int, float]]]] = {}
        self.away = False

    def read_text(self, run_id: str, name: str) -> str | None:
        if self.away:
            raise RegistryUnavailableError("MLflow did not answer")
        return self.texts.get((run_id, name))

    def read_metric_histories(self, run_id: str, part: str, most: int) -> dict[str, list[tuple[int, float]]]:
        if self.away:
            raise RegistryUnavailableError("MLflow did not answer")
        kept = self.histories.get(run_id, {})
        return {name: kept[name] for name in sorted(kept)[:most] if part in name}
