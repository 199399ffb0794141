"""The running parts of one API server: model, recorder, reloader, tuner; it speaks no HTTP."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlplatform.auth.api_key_cache import ApiKeyCache
from mlplatform.context import AppContext
from mlplatform.predictions.prediction_counts import NO_MODEL_VERSION
from mlplatform.recording.recorder import Recorder
from mlplatform.recording.request_counts import RequestCounts
from mlplatform.recording.spool.directory import SpoolDirectory
from mlplatform.recording.thread_writer import ThreadWriter, Writer
from mlplatform.serve.blocking_routes import ConcurrencyLimiter
from mlplatform.serve.http1.shutdown_state import DEFAULT_CLOSE_SECONDS, ShutdownState
from mlplatform.serve.inference.batcher import Batcher
from mlplatform.serve.inference.explanation_service import ExplanationService
from mlplatform.serve.inference.heatmaps import HeatmapRenderer, ThreadHeatmapRenderer
from mlplatform.serve.inference.idempotency import IdempotencyCache
from mlplatform.serve.inference.image_codec import ImageDecoder
from mlplatform.serve.inference.model_reloader import ModelReloader
from mlplatform.serve.inference.model_slot import ModelSlot
from mlplatform.serve.inference.prediction_cache import PredictionCache, build_cache
from mlplatform.serve.inference.rollout_router import RolloutRouter
from mlplatform.serve.inference.shadow_inference import ShadowInference
from mlplatform.serve.observability.opentelemetry_export import OpenTelemetryExporter, start_telemetry
from mlplatform.serve.observability.prometheus_metrics import ServerMetrics
from mlplatform.serve.observability.request_timing import InFlight, RequestObserver
from mlplatform.serve.thread_pool import ThreadPool
from mlplatform.serve.tuning.tuner import Tuner

POOL_THREADS = 4
EXPLANATION_WAIT_SECONDS = 20.0
"""How long an explanation waits for its turn: the first one of a server takes seconds."""


@dataclass(frozen=True)
class ApiServer:
    """Everything an app needs, started together and closed together."""

    context: AppContext
    decoder: ImageDecoder
    model_slot: ModelSlot
    recorder: Recorder
    metrics: ServerMetrics
    thread_pool: ThreadPool
    batcher: Batcher
    prediction_cache: PredictionCache
    tuner: Tuner
    reloader: ModelReloader
    request_counts: RequestCounts
    explanation_service: ExplanationService
    api_key_cache: ApiKeyCache
    rollout_router: RolloutRouter
    shadow_inference: ShadowInference
    in_flight: InFlight
    observers: tuple[RequestObserver, ...]
    telemetry: OpenTelemetryExporter | None = None
    idempotency_cache: IdempotencyCache = field(default_factory=IdempotencyCache)
    route_limiter: ConcurrencyLimiter = field(default_factory=ConcurrencyLimiter)
    explanation_limiter: ConcurrencyLimiter = field(
        default_factory=lambda: ConcurrencyLimiter(1, EXPLANATION_WAIT_SECONDS)
    )
    """One explanation at a time: its picture may be large, and labels and pages do not wait behind it."""
    shutdown_state: ShutdownState = field(default_factory=lambda: ShutdownState(DEFAULT_CLOSE_SECONDS))

    @property
    def ready(self) -> bool:
        """Whether it is to be asked: it has a model and is not about to end."""
        return self.model_slot.current is not None and not self.shutdown_state.has_started

    def start(self) -> None:
        """Look for a champion once, then keep looking in the background."""
        if self.context.settings.requires_keys:
            self.api_key_cache.start()
        self.recorder.start()
        self.shadow_inference.start()
        self.reloader.start()

    def close(self) -> None:
        """Finish what was accepted: answers first, then their records."""
        self.explanation_service.close()
        self.thread_pool.close()
        self.batcher.close(self.shutdown_state.seconds_left())
        self.shadow_inference.close()
        self.recorder.close(
            self.shutdown_state.seconds_left() / 2
        )  # which it may take twice: to send what waits, and to stop
        self.reloader.close()
        self.api_key_cache.close()
        if self.telemetry is not None:
            self.telemetry.close()


def build_server(
    context: AppContext,
    environ: Mapping[str, str] | None = None,
    writer: Writer | None = None,
    heatmap_renderer: HeatmapRenderer | None = None,
) -> ApiServer:
    """Build a server's parts from settings; nothing runs yet but the lanes, which wait.

    `writer` is what writes the answers' rows, the recorder's thread where none is given; `mapper` what
    makes heat maps, the thread of the request likewise.
    """
    settings, family, holder = context.settings, context.pipeline, ModelSlot()
    megapixels = (settings.max_megapixels * 1e6, settings.max_request_megapixels * 1e6)
    decoder = ImageDecoder(family.height, family.width, settings.max_images, *megapixels, settings.polarity)
    requests = RequestCounts(
        context.database, context.clock, family.name, context.instance, lambda: _serving_version(holder)
    )
    recorder = Recorder(
        writer or ThreadWriter(context.database),
        spool_directory=_build_spool_directory(context),
        batch=settings.recorder_batch,
        flush_seconds=settings.recorder_flush_ms / 1000,
        sync_seconds=settings.sync_seconds if settings.recording == "sync" else None,
        request_counts=requests,
        store_replaced=lambda: context.database.is_file_replaced,
    )
    pool = ThreadPool(POOL_THREADS)
    batcher = Batcher(settings.batch_lanes, settings.batch_max, settings.batch_wait_ms)
    cache = build_cache(settings, len(family.classes))
    tuner = Tuner(context, holder, decoder, batcher)

    challenger = RolloutRouter(context, holder, lambda version: reloader.load(version))
    underway = InFlight()
    shadow = ShadowInference(context, challenger, lambda: underway.count > 0)

    def after_poll() -> None:
        challenger.refresh()
        tuner.apply_stored()
        tuner.run_open_tasks()

    def told() -> dict[str, object]:
        return {"recorder": vars(recorder.counts()) | {"aside_since": recorder.quarantined_since}, "model": family.name}

    reloader = ModelReloader(context, holder, tuner.store_latency_baseline, after_poll, tuner.backend_config, told)
    metrics = ServerMetrics(holder, recorder)

    def roles() -> dict[str, int]:
        tried = challenger.challenger
        return {} if tried is None else {tried.rollout.role: tried.model.version}

    depths = {
        "answers": lambda: underway.count,
        "recorder": lambda: recorder.counts().queued,
        "shadow": lambda: shadow.counts()["queued"],
    }
    metrics.register_sources(shadow=shadow.counts, roles=roles, depths=depths)
    telemetry = start_telemetry(os.environ if environ is None else environ, context.instance)
    observers: tuple[RequestObserver, ...] = (metrics,) if telemetry is None else (metrics, telemetry)
    return ApiServer(
        context=context,
        decoder=decoder,
        model_slot=holder,
        recorder=recorder,
        metrics=metrics,
        thread_pool=pool,
        batcher=batcher,
        prediction_cache=cache,
        tuner=tuner,
        reloader=reloader,
        request_counts=requests,
        explanation_service=ExplanationService(context, holder, decoder, heatmap_renderer or ThreadHeatmapRenderer()),
        api_key_cache=ApiKeyCache(lambda: context.database, context.clock),
        rollout_router=challenger,
        shadow_inference=shadow,
        in_flight=underway,
        observers=observers,
        telemetry=telemetry,
        shutdown_state=ShutdownState(settings.stop_seconds),
    )


def _build_spool_directory(context: AppContext) -> SpoolDirectory:
    """The spools below the home folder."""
    settings = context.settings
    return SpoolDirectory(
        root=settings.spool_folder,
        instance=context.instance,
        limit_bytes=int(settings.spool_mb * 2**20),
        on_full=settings.spool_full,
        fsync=settings.spool_fsync,
        clock=context.clock,
    )


def _serving_version(model_slot: ModelSlot) -> int:
    """The version that answers now."""
    loaded = model_slot.current
    return NO_MODEL_VERSION if loaded is None else loaded.version
