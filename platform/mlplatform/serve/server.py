"""The running parts of one API server: model, recorder, reloader, tuner; it speaks no HTTP."""

from dataclasses import dataclass

from mlplatform.build import Parts
from mlplatform.serve.batcher import Batcher
from mlplatform.serve.cache import Cache, cache_of
from mlplatform.serve.decode import Decoder
from mlplatform.serve.holder import Holder, Loaded
from mlplatform.serve.metrics import Metrics
from mlplatform.serve.pool import Pool
from mlplatform.serve.recorder import Recorder
from mlplatform.serve.reload import Reloader
from mlplatform.serve.requests import RequestCounts
from mlplatform.serve.tuning import Tuner
from mlplatform.store.tallies import NO_MODEL

WORKERS = 4


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

    def start(self) -> None:
        """Look for a champion once, then keep looking in the background."""
        self.recorder.start()
        self.reloader.start()

    def close(self) -> None:
        """Finish what was accepted: answers first, then their records."""
        self.pool.close()
        self.batcher.close()
        self.recorder.close()
        self.reloader.close()


def assemble(parts: Parts) -> Server:
    """Build a server's parts from settings; nothing runs yet but the lanes, which wait."""
    settings, family, holder = parts.settings, parts.family, Holder()
    decoder = Decoder(family.height, family.width, settings.max_images, settings.max_megapixels * 1e6)
    requests = RequestCounts(parts.database, parts.clock, family.name, parts.instance, lambda: _serving(holder))
    recorder = Recorder(
        parts.database,
        capacity=settings.recorder_queue,
        batch=settings.recorder_batch,
        flush_seconds=settings.recorder_flush_ms / 1000,
        instance=parts.instance,
        requests=requests,
    )
    pool = Pool(WORKERS)
    batcher = Batcher(settings.batch_lanes, settings.batch_max, settings.batch_wait_ms)
    cache = cache_of(settings, len(family.classes))
    tuner = Tuner(parts, holder, decoder, batcher)

    def measure(loaded: Loaded) -> None:
        tuner.pin(loaded)

    def after_poll() -> None:
        tuner.follow()
        tuner.work()

    reloader = Reloader(parts, holder, measure, after_poll, tuner.choice)
    return Server(
        parts, decoder, holder, recorder, Metrics(holder, recorder), pool, batcher, cache, tuner, reloader, requests
    )


def _serving(holder: Holder) -> int:
    """The version that answers now."""
    loaded = holder.loaded
    return NO_MODEL if loaded is None else loaded.version
