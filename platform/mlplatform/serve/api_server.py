"""The parts of one API server, built from settings, started together and closed together."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mlplatform.auth.api_key_cache import ApiKeyCache
from mlplatform.auth.oidc.setup import create_sign_in
from mlplatform.context import AppContext
from mlplatform.recording.recorder import Recorder
from mlplatform.recording.request_counts import RequestCounts
from mlplatform.recording.spool.directory import SpoolDirectory
from mlplatform.recording.thread_writer import ThreadWriter, Writer
from mlplatform.serve.blocking_routes import ConcurrencyLimiter
from mlplatform.serve.http1.graceful_shutdown import DEFAULT_CLOSE_SECONDS, ShutdownState
from mlplatform.serve.inference.batcher import Batcher
from mlplatform.serve.inference.explanation_service import ExplanationService
from mlplatform.serve.inference.heatmaps import HeatmapRenderer, ThreadHeatmapRenderer
from mlplatform.serve.inference.idempotency import IdempotencyCache
from mlplatform.serve.inference.model_reloader import ModelReloader
from mlplatform.serve.inference.model_slot import ModelSlot
from mlplatform.serve.inference.predict import PredictionService
from mlplatform.serve.inference.prediction_cache import CachedInference, PredictionCache, build_cache
from mlplatform.serve.inference.request_decoder import Decoders
from mlplatform.serve.inference.rollout_router import RolloutRouter
from mlplatform.serve.inference.shadow_inference import ShadowInference
from mlplatform.serve.observability.opentelemetry_export import OpenTelemetryExporter, start_telemetry
from mlplatform.serve.observability.prometheus_metrics import ServerMetrics
from mlplatform.serve.observability.request_timing import InFlight, RequestObserver
from mlplatform.serve.thread_pool import ThreadPool
from mlplatform.serve.tuning.tuner import Tuner

if TYPE_CHECKING:
    from mlplatform.auth.oidc.sign_in import SignIn

POOL_THREADS = 4
SLOW_PAGE_THREADS = 4
SIGN_IN_THREADS = 4
EXPLANATION_WAIT_SECONDS = 20.0
"""How long an explanation waits for its turn: the first one of a server takes seconds."""


@dataclass(frozen=True)
class ApiServer:
    """Everything an app needs, started together and closed together."""

    context: AppContext
    decoders: Decoders
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
    sign_in: "SignIn | None" = None
    sign_in_limiter: ConcurrencyLimiter = field(default_factory=lambda: ConcurrencyLimiter(SIGN_IN_THREADS))
    """The provider of sign-ins may hang; nothing else waits behind it."""
    slow_page_limiter: ConcurrencyLimiter = field(default_factory=lambda: ConcurrencyLimiter(SLOW_PAGE_THREADS))
    """Pages that ask MLflow, or replay a draft, may take many seconds; no label waits behind them."""
    shutdown_state: ShutdownState = field(default_factory=lambda: ShutdownState(DEFAULT_CLOSE_SECONDS))

    def is_ready(self) -> bool:
        """Whether it is to be asked: it has a model and is not about to end."""
        return self.model_slot.current is not None and not self.shutdown_state.has_started

    @cached_property
    def prediction_service(self) -> PredictionService:
        """What answers prediction requests, by whichever protocol they come."""
        return PredictionService(
            clock=self.context.clock,
            decoders=self.decoders,
            model_slot=self.model_slot,
            rollout_router=self.rollout_router,
            inference=CachedInference(
                self.batcher, self.prediction_cache, self.thread_pool, self.metrics.count_cache_lookups
            ),
            thread_pool=self.thread_pool,
            recorder=self.recorder,
            shadow_inference=self.shadow_inference,
            metrics=self.metrics,
            in_flight=self.in_flight,
            observers=self.observers,
            idempotency_cache=self.idempotency_cache,
        )

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
    """Build a server's parts from settings; nothing runs yet but the batcher's workers, which wait.

    `writer` writes the rows of predictions, on the recorder's thread where none is given; `heatmap_renderer` draws heat
    maps, on the request's thread where none is given.
    """
    settings, name, model_slot = context.settings, context.model_name, ModelSlot()
    decoders = Decoders(
        settings.max_images,
        settings.max_megapixels * 1e6,
        settings.max_request_megapixels * 1e6,
        settings.polarity,
    )
    request_counts = RequestCounts(context.database, context.clock, name, context.instance, model_slot.version)
    recorder = _build_recorder(context, writer or ThreadWriter(context.database), request_counts)
    batcher = Batcher(settings.batch_lanes, settings.batch_max, settings.batch_wait_ms)
    tuner = Tuner(context, model_slot, decoders, batcher)
    rollout_router = RolloutRouter(context, model_slot, lambda version: reloader.load(version))
    in_flight = InFlight()
    shadow_inference = ShadowInference(context, rollout_router, lambda: in_flight.count > 0)

    def after_poll() -> None:
        rollout_router.refresh()
        tuner.apply_stored()
        tuner.run_open_tasks()

    def heartbeat_details() -> dict[str, object]:
        counts = vars(recorder.counts()) | {"aside_since": recorder.quarantined_since}
        return {"recorder": counts, "model": name}

    reloader = ModelReloader(
        context, model_slot, tuner.store_latency_baseline, after_poll, tuner.backend_config, heartbeat_details
    )
    metrics = ServerMetrics(name, model_slot.version, recorder)
    metrics.register_sources(
        shadow=shadow_inference.counts,
        roles=rollout_router.versions_by_role,
        depths={
            "answers": lambda: in_flight.count,
            "recorder": lambda: recorder.counts().queued,
            "shadow": lambda: shadow_inference.counts()["queued"],
        },
    )
    telemetry = start_telemetry(os.environ if environ is None else environ, context.instance)
    return ApiServer(
        context=context,
        decoders=decoders,
        model_slot=model_slot,
        recorder=recorder,
        metrics=metrics,
        thread_pool=ThreadPool(POOL_THREADS),
        batcher=batcher,
        prediction_cache=build_cache(settings),
        tuner=tuner,
        reloader=reloader,
        request_counts=request_counts,
        explanation_service=ExplanationService(
            context, model_slot, decoders, heatmap_renderer or ThreadHeatmapRenderer()
        ),
        api_key_cache=ApiKeyCache(lambda: context.database, context.clock),
        rollout_router=rollout_router,
        shadow_inference=shadow_inference,
        in_flight=in_flight,
        observers=(metrics,) if telemetry is None else (metrics, telemetry),
        telemetry=telemetry,
        sign_in=create_sign_in(settings, lambda: context.database, context.clock),
        shutdown_state=ShutdownState(settings.stop_seconds),
    )


def _build_recorder(context: AppContext, writer: Writer, request_counts: RequestCounts) -> Recorder:
    settings = context.settings
    return Recorder(
        writer,
        spool_directory=_build_spool_directory(context),
        batch=settings.recorder_batch,
        flush_seconds=settings.recorder_flush_ms / 1000,
        sync_seconds=settings.sync_seconds if settings.recording == "sync" else None,
        request_counts=request_counts,
        store_replaced=lambda: context.database.is_file_replaced,
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
