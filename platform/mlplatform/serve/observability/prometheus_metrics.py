"""The server's own numbers in Prometheus form; it decides nothing by them.

The parts of a server tell it: `passed` every request that was answered or failed, `stage`, `answered`, `looked_up`
and `labelled` what only they know, and `watch` a reader of counts that are kept elsewhere.
"""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mlplatform.recording.recorder import Recorder
from mlplatform.serve.inference.model_slot import Holder
from mlplatform.serve.observability.request_timing import Passage, StageName

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STAGE_BUCKETS = (0.0001, 0.00025, 0.0005, *BUCKETS)
LAG_BUCKETS = (60, 600, 3600, 6 * 3600, 86400, 3 * 86400, 7 * 86400, 30 * 86400)
Counts = Callable[[], Mapping[str, int]]


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
        self._add_stages()
        self._add_models()

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

    def _add_stages(self) -> None:
        self._stages = Histogram(
            "mlplatform_stage_seconds",
            "Time of a prediction request's stages: queue, decode, infer, record.",
            ("stage",),
            buckets=STAGE_BUCKETS,
            registry=self._registry,
        )
        self._of_stage: dict[str, Histogram] = {}
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

    def _add_models(self) -> None:
        self._info = Gauge(
            "mlplatform_model_info",
            "1 for each loaded version, with its model and role: champion, canary or shadow.",
            ("model", "version", "role"),
            registry=self._registry,
        )
        self._shadow_counts: Counts = dict
        self._roles: Callable[[], Mapping[str, int]] = dict

    def watch(self, *, shadow: Counts, roles: Counts, depths: Mapping[str, Callable[[], int]]) -> None:
        """Read these whenever the numbers are asked for; `roles` are the versions loaded besides the champion."""
        self._shadow_counts, self._roles = shadow, roles
        self._depths.update(depths)

    def passed(self, passage: Passage) -> None:
        """One request was answered or failed."""
        for stage in passage.stages:
            self.stage(stage.name, stage.seconds)

    def stage(self, name: StageName, seconds: float) -> None:
        """One stage took so long."""
        histogram = self._of_stage.get(name)
        if histogram is None:
            histogram = self._of_stage[name] = self._stages.labels(name)
        histogram.observe(seconds)

    def labelled(self, source: str, seconds: float) -> None:
        """A new label arrived so long after its answer."""
        self._lag.labels(source).observe(seconds)

    def text(self) -> bytes:
        """The exposition format."""
        counts = vars(self._recorder.counts())
        for state, count in counts.items():
            self._records.labels(state).set(count)
        for name, size in zip(("used", "limit"), self._recorder.disk(), strict=True):
            self._spool.labels(name).set(size)
        for state, count in self._shadow_counts().items():
            self._shadow.labels(state).set(count)
        for queue, depth in self._depths.items():
            self._depth.labels(queue).set(depth())
        loaded = self._holder.loaded
        self._version.set(0 if loaded is None else loaded.version)
        self._info.clear()
        if loaded is not None:
            for role, version in {"champion": loaded.version, **self._roles()}.items():
                self._info.labels(loaded.name, str(version), role).set(1)
        return generate_latest(self._registry)
