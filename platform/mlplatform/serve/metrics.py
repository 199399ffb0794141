"""The server's own numbers in Prometheus form; it decides nothing by them."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mlplatform.serve.holder import Holder
from mlplatform.serve.recorder import Recorder

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """One registry per server, so that two servers in one process do not share counters."""

    def __init__(self, holder: Holder, recorder: Recorder) -> None:
        self._holder, self._recorder = holder, recorder
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "mlplatform_requests",
            "Requests by route and status.",
            ("route", "status"),
            registry=self._registry,
        )
        self.latency = Histogram(
            "mlplatform_prediction_latency_seconds",
            "Server time of one prediction request, decoding included.",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self.predictions = Counter(
            "mlplatform_predictions", "Predictions by model version.", ("version",), registry=self._registry
        )
        self.feedback = Counter(
            "mlplatform_feedback",
            "Labels by source and outcome.",
            ("source", "outcome"),
            registry=self._registry,
        )
        self._records = Gauge(
            "mlplatform_recorder",
            "Predictions recorded, queued, dropped and failed since the start.",
            ("state",),
            registry=self._registry,
        )
        self._shadow = Gauge(
            "mlplatform_shadow",
            "Answers beside those served: recorded, queued, dropped and failed since the start.",
            ("state",),
            registry=self._registry,
        )
        self._shadow_counts: Callable[[], Mapping[str, int]] = dict
        self._version = Gauge(
            "mlplatform_model_version",
            "Version that answers now; 0 before the first.",
            registry=self._registry,
        )

    def watch_shadow(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Show these counts whenever the numbers are asked for."""
        self._shadow_counts = counts

    def text(self) -> bytes:
        """The exposition format."""
        for state, count in vars(self._recorder.counts()).items():
            self._records.labels(state).set(count)
        for state, count in self._shadow_counts().items():
            self._shadow.labels(state).set(count)
        loaded = self._holder.loaded
        self._version.set(0 if loaded is None else loaded.version)
        return generate_latest(self._registry)
