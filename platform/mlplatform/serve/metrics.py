"""The server's own numbers in Prometheus form; it decides nothing by them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mlplatform.serve.holder import Holder
from mlplatform.serve.recorder import Recorder

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


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
        self.batches = Histogram(
            "mlplatform_batch_images",
            "Images answered together with a request's own, its own included.",
            buckets=BATCHES,
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
        self.cached = Counter(
            "mlplatform_cache",
            "Answers looked up in the cache: found here, shared by another server, or computed (miss).",
            ("found",),
            registry=self._registry,
        )
        self._of_cache: dict[str, Counter] = {}
        self._of_version: dict[int, Counter] = {}
        self._of_route: dict[tuple[str, int], Counter] = {}
        self._records = Gauge(
            "mlplatform_recorder",
            "Predictions recorded, queued, dropped and failed since the start.",
            ("state",),
            registry=self._registry,
        )
        self._version = Gauge(
            "mlplatform_model_version",
            "Version that answers now; 0 before the first.",
            registry=self._registry,
        )

    def answered(self, version: int, images: int, seconds: float, batch: int) -> None:
        """A request was answered, as part of a batch of so many images."""
        self.latency.observe(seconds)
        if batch:
            self.batches.observe(batch)
        counter = self._of_version.get(version)
        if counter is None:
            counter = self._of_version[version] = self.predictions.labels(str(version))
        counter.inc(images)

    def looked_up(self, found: str, images: int) -> None:
        """So many pictures were looked up in the cache with this outcome."""
        if images:
            counter = self._of_cache.get(found)
            if counter is None:
                counter = self._of_cache[found] = self.cached.labels(found)
            counter.inc(images)

    def request(self, route: str, status: int) -> None:
        """A request has ended."""
        counter = self._of_route.get((route, status))
        if counter is None:
            counter = self._of_route[route, status] = self.requests.labels(route, str(status))
        counter.inc()

    def text(self) -> bytes:
        """The exposition format."""
        for state, count in vars(self._recorder.counts()).items():
            self._records.labels(state).set(count)
        loaded = self._holder.loaded
        self._version.set(0 if loaded is None else loaded.version)
        return generate_latest(self._registry)
