"""The running parts of one API server: model, recorder, reloader, tuner; it speaks no HTTP."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlplatform.auth.api_key_cache import Keyring
from mlplatform.context import Parts
from mlplatform.predictions.prediction_counts import NO_MODEL
from mlplatform.recording.db_writer import ThreadWriter, Writer
from mlplatform.recording.recorder import Recorder
from mlplatform.recording.request_counts import RequestCounts
from mlplatform.recording.spool.directory import Shelf
from mlplatform.serve.blocking_routes import Turns
from mlplatform.serve.http1.shutdown_state import UNHURRIED_SECONDS, Ending
from mlplatform.serve.inference.batcher import Batcher
from mlplatform.serve.inference.explanation_service import Explaining
from mlplatform.serve.inference.heatmaps import Mapper, ThreadMapper
from mlplatform.serve.inference.idempotency import Repeats
from mlplatform.serve.inference.image_codec import Decoder
from mlplatform.serve.inference.model_reloader import Reloader
from mlplatform.serve.inference.model_slot import Holder
from mlplatform.serve.inference.prediction_cache import Cache, cache_of
from mlplatform.serve.inference.rollout_router import Challenger
from mlplatform.serve.inference.shadow_inference import Shadow
from mlplatform.serve.observability.opentelemetry_export import Telemetry, begin_telemetry
from mlplatform.serve.observability.prometheus_metrics import Metrics
from mlplatform.serve.observability.request_timing import Observer, Underway
from mlplatform.serve.thread_pool import Pool
from mlplatform.serve.tuning.tuner import Tuner

WORKERS = 4
EXPLAINING_SECONDS = 20.0
"""How long an explanation waits for its turn: the first one of a server takes seconds."""


@dataclass(frozen=True)
class Server:
    """Everything an app needs, started together and closed together."""

    parts: Parts
    decoder: Decoder
    holder: Holder
    recorder: Recorder
    metrics: Metrics
    pool: Pool
    batcher: Batcher
    cache: Cache
    tuner: Tuner
    reloader: Reloader
    requests: RequestCounts
    explaining: Explaining
    keyring: Keyring
    challenger: Challenger
    shadow: Shadow
    underway: Underway
    observers: tuple[Observer, ...]
    telemetry: Telemetry | None = None
    repeats: Repeats = field(default_factory=Repeats)
    turns: Turns = field(default_factory=Turns)
    explaining_turns: Turns = field(default_factory=lambda: Turns(1, EXPLAINING_SECONDS))
    """One explanation at a time: its picture may be large, and labels and pages do not wait behind it."""
    ending: Ending = field(default_factory=lambda: Ending(UNHURRIED_SECONDS))

    @property
    def ready(self) -> bool:
        """Whether it is to be asked: it has a model and is not about to end."""
        return self.holder.loaded is not None and not self.ending.begun

    def start(self) -> None:
        """Look for a champion once, then keep looking in the background."""
        if self.parts.settings.asks_for_keys:
            self.keyring.start()
        self.recorder.start()
        self.shadow.start()
        self.reloader.start()

    def close(self) -> None:
        """Finish what was accepted: answers first, then their records."""
        self.explaining.close()
        self.pool.close()
        self.batcher.close(self.ending.left())
        self.shadow.close()
        self.recorder.close(self.ending.left() / 2)  # which it may take twice: to send what waits, and to stop
        self.reloader.close()
        self.keyring.close()
        if self.telemetry is not None:
            self.telemetry.close()


def assemble(
    parts: Parts,
    environ: Mapping[str, str] | None = None,
    writer: Writer | None = None,
    mapper: Mapper | None = None,
) -> Server:
    """Build a server's parts from settings; nothing runs yet but the lanes, which wait.

    `writer` is what writes the answers' rows, the recorder's thread where none is given; `mapper` what
    makes heat maps, the thread of the request likewise.
    """
    settings, family, holder = parts.settings, parts.family, Holder()
    megapixels = (settings.max_megapixels * 1e6, settings.max_request_megapixels * 1e6)
    decoder = Decoder(family.height, family.width, settings.max_images, *megapixels, settings.polarity)
    requests = RequestCounts(parts.database, parts.clock, family.name, parts.instance, lambda: _serving(holder))
    recorder = Recorder(
        writer or ThreadWriter(parts.database),
        shelf=_shelf(parts),
        batch=settings.recorder_batch,
        flush_seconds=settings.recorder_flush_ms / 1000,
        sync_seconds=settings.sync_seconds if settings.recording == "sync" else None,
        requests=requests,
        replaced=lambda: parts.database.replaced,
    )
    pool = Pool(WORKERS)
    batcher = Batcher(settings.batch_lanes, settings.batch_max, settings.batch_wait_ms)
    cache = cache_of(settings, len(family.classes))
    tuner = Tuner(parts, holder, decoder, batcher)

    challenger = Challenger(parts, holder, lambda version: reloader.load(version))
    underway = Underway()
    shadow = Shadow(parts, challenger, lambda: underway.requests > 0)

    def after_poll() -> None:
        challenger.follow()
        tuner.follow()
        tuner.work()

    def told() -> dict[str, object]:
        return {"recorder": vars(recorder.counts()) | {"aside_since": recorder.aside_since}, "model": family.name}

    reloader = Reloader(parts, holder, tuner.pin, after_poll, tuner.choice, told)
    metrics = Metrics(holder, recorder)

    def roles() -> dict[str, int]:
        tried = challenger.tried
        return {} if tried is None else {tried.trial.role: tried.loaded.version}

    depths = {
        "answers": lambda: underway.requests,
        "recorder": lambda: recorder.counts().queued,
        "shadow": lambda: shadow.counts()["queued"],
    }
    metrics.watch(shadow=shadow.counts, roles=roles, depths=depths)
    telemetry = begin_telemetry(os.environ if environ is None else environ, parts.instance)
    observers: tuple[Observer, ...] = (metrics,) if telemetry is None else (metrics, telemetry)
    return Server(
        parts=parts,
        decoder=decoder,
        holder=holder,
        recorder=recorder,
        metrics=metrics,
        pool=pool,
        batcher=batcher,
        cache=cache,
        tuner=tuner,
        reloader=reloader,
        requests=requests,
        explaining=Explaining(parts, holder, decoder, mapper or ThreadMapper()),
        keyring=Keyring(lambda: parts.database, parts.clock),
        challenger=challenger,
        shadow=shadow,
        underway=underway,
        observers=observers,
        telemetry=telemetry,
        ending=Ending(settings.stop_seconds),
    )


def _shelf(parts: Parts) -> Shelf:
    """The spools below the home folder."""
    settings = parts.settings
    return Shelf(
        root=settings.spool_folder,
        instance=parts.instance,
        limit=int(settings.spool_mb * 2**20),
        on_full=settings.spool_full,
        fsync=settings.spool_fsync,
        clock=parts.clock,
    )


def _serving(holder: Holder) -> int:
    """The version that answers now."""
    loaded = holder.loaded
    return NO_MODEL if loaded is None else loaded.version
