"""Counts and times what a server does, and shows it in Prometheus' exposition format.

The parts of a server call it: `on_finished` after every prediction request, `observe_*` and `count_*` for what only
they know. `register_sources` names readers of counts kept elsewhere, called when the numbers are asked for.
"""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mlplatform.predictions.prediction_counts import NO_MODEL_VERSION
from mlplatform.recording.recorder import Recorder
from mlplatform.serve.observability.request_timing import RequestTiming, StageName

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STAGE_BUCKETS = (0.0001, 0.00025, 0.0005, *LATENCY_BUCKETS)
LAG_BUCKETS = (60, 600, 3600, 6 * 3600, 86400, 3 * 86400, 7 * 86400, 30 * 86400)
CountReader = Callable[[], Mapping[str, int]]


class ServerMetrics:
    """One registry per server, so that two servers in one process do not share counters."""

    def __init__(self, model: str, version: Callable[[], int], recorder: Recorder) -> None:
        """`version` says which version of `model` answers now, NO_MODEL_VERSION before the first."""
        self._model, self._serving_version, self._recorder = model, version, recorder
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
            buckets=LATENCY_BUCKETS,
            registry=self._registry,
        )
        self.batches = Histogram(
            "mlplatform_batch_images",
            "Images answered together with a request's own, its own included.",
            buckets=BATCH_BUCKETS,
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
        self.cache_lookups = Counter(
            "mlplatform_cache",
            "Answers looked up in the cache: found here, shared by another server, or computed (miss).",
            ("found",),
            registry=self._registry,
        )
        self._cache_counters: dict[str, Counter] = {}
        self._version_counters: dict[int, Counter] = {}
        self._route_counters: dict[tuple[str, int], Counter] = {}
        self._records = Gauge(
            "mlplatform_recorder",
            "Predictions recorded, queued, dropped, failed, refused and adopted since the start.",
            ("state",),
            registry=self._registry,
        )
        self._spool = Gauge(
            "mlplatform_spool_bytes",
            "Disk that predictions take which wait for the database, and what they may take.",
            ("of",),
            registry=self._registry,
        )
        self._shadow = Gauge(
            "mlplatform_shadow",
            "Answers beside those served: recorded, queued, dropped and failed since the start.",
            ("state",),
            registry=self._registry,
        )
        self._version = Gauge(
            "mlplatform_model_version",
            "Version that answers now; 0 before the first.",
            registry=self._registry,
        )
        self._add_stage_metrics()
        self._add_model_metrics()

    def observe_prediction(self, version: int, images: int, seconds: float, batch: int) -> None:
        """A request was answered, as part of a batch of so many images."""
        self.latency.observe(seconds)
        if batch:
            self.batches.observe(batch)
        counter = self._version_counters.get(version)
        if counter is None:
            counter = self._version_counters[version] = self.predictions.labels(str(version))
        counter.inc(images)

    def count_cache_lookups(self, outcome: str, images: int) -> None:
        """So many pictures were looked up in the cache with this outcome."""
        if images:
            counter = self._cache_counters.get(outcome)
            if counter is None:
                counter = self._cache_counters[outcome] = self.cache_lookups.labels(outcome)
            counter.inc(images)

    def count_request(self, route: str, status: int) -> None:
        """A request has ended."""
        counter = self._route_counters.get((route, status))
        if counter is None:
            counter = self._route_counters[route, status] = self.requests.labels(route, str(status))
        counter.inc()

    def _add_stage_metrics(self) -> None:
        self._stages = Histogram(
            "mlplatform_stage_seconds",
            "Time of a prediction request's stages: queue, decode, infer, record.",
            ("stage",),
            buckets=STAGE_BUCKETS,
            registry=self._registry,
        )
        self._stage_histograms: dict[str, Histogram] = {}
        self._depth = Gauge(
            "mlplatform_queue_depth", "What waits in each queue now.", ("queue",), registry=self._registry
        )
        self._depths: dict[str, Callable[[], int]] = {}
        self._lag = Histogram(
            "mlplatform_label_lag_seconds",
            "Time from an answer to the arrival of a new label, by source.",
            ("source",),
            buckets=LAG_BUCKETS,
            registry=self._registry,
        )

    def _add_model_metrics(self) -> None:
        self._info = Gauge(
            "mlplatform_model_info",
            "1 for each loaded version, with its model and role: champion, canary or shadow.",
            ("model", "version", "role"),
            registry=self._registry,
        )
        self._shadow_counts: CountReader = dict
        self._roles: Callable[[], Mapping[str, int]] = dict

    def register_sources(
        self, *, shadow: CountReader, roles: CountReader, depths: Mapping[str, Callable[[], int]]
    ) -> None:
        """Read these whenever the numbers are asked for; `roles` are the versions loaded besides the champion."""
        self._shadow_counts, self._roles = shadow, roles
        self._depths.update(depths)

    def on_finished(self, timing: RequestTiming) -> None:
        """One request was answered or failed."""
        for stage in timing.stages:
            self.observe_stage(stage.name, stage.seconds)

    def observe_stage(self, name: StageName, seconds: float) -> None:
        """One stage took so long."""
        histogram = self._stage_histograms.get(name)
        if histogram is None:
            histogram = self._stage_histograms[name] = self._stages.labels(name)
        histogram.observe(seconds)

    def observe_label_lag(self, source: str, seconds: float) -> None:
        """A new label arrived so long after its answer."""
        self._lag.labels(source).observe(seconds)

    def exposition(self) -> bytes:
        """The exposition format."""
        counts = vars(self._recorder.counts())
        for state, count in counts.items():
            self._records.labels(state).set(count)
        for name, size in zip(("used", "limit"), self._recorder.disk_usage(), strict=True):
            self._spool.labels(name).set(size)
        for state, count in self._shadow_counts().items():
            self._shadow.labels(state).set(count)
        for queue, depth in self._depths.items():
            self._depth.labels(queue).set(depth())
        serving = self._serving_version()
        self._version.set(0 if serving == NO_MODEL_VERSION else serving)
        self._info.clear()
        if serving != NO_MODEL_VERSION:
            for role, version in {"champion": serving, **self._roles()}.items():
                self._info.labels(self._model, str(version), role).set(1)
        return generate_latest(self._registry)
