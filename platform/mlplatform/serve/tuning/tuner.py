"""How this server computes, and the search for something faster when an alert or a person asks; it serves nothing.

The result is kept in the store for the host class: every server of it takes the result over at its next look, and after
a restart. What the settings name is not searched. Each search is a run in MLflow with what was measured.
"""

import logging
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Any, Final

from mlplatform.alerting import evaluations
from mlplatform.context import Parts
from mlplatform.errors import StoreUnavailableError
from mlplatform.predictions import compute_configs
from mlplatform.serve.inference.batcher import Batcher
from mlplatform.serve.inference.image_codec import Decoder
from mlplatform.serve.inference.model_slot import Holder, Loaded
from mlplatform.serve.inference.target_version import chosen, prove
from mlplatform.serve.tuning.compute_config import Measured, Plan, better, busiest, fastest, plan_of, within
from mlplatform.serve.tuning.latency_benchmark import Speed, measure, under_load
from mlplatform.store import leases, tasks
from pipelines.engines.inference_engine import GPU_FILE, Choice, engines_here
from pipelines.engines.loading import open_model
from pipelines.errors import ModelFormatError, ModelUnreadableError
from registry.errors import NoChampionError, RegistryError

log = logging.getLogger(__name__)
BATCHES: Final = (1, 8, 32, 128)
WAITS_MS: Final = (0.0, 1.0)
LOAD_SECONDS: Final = 0.4
LEASE_LIFE: Final = timedelta(minutes=3)


@cache
def host_class() -> str:
    """Hosts whose latencies may be compared: same machine type, cores and kind of GPU, however they were tuned."""
    return f"{platform.machine()}-{os.cpu_count()}cpu" + ("-gpu" if GPU_FILE.exists() else "")


@dataclass
class Tuner:
    """Pins latency baselines, follows what tuning found and carries out `tune-serving` tasks, on this process."""

    parts: Parts
    holder: Holder
    decoder: Decoder
    batcher: Batcher | None = None
    plan: Plan = field(init=False)
    load_seconds: float = LOAD_SECONDS
    measure: Callable[[Loaded, Decoder, int, int], Speed] = measure
    under_load: Callable[[Loaded, Plan, float], float] = under_load

    def __post_init__(self) -> None:
        self.plan = plan_of(self.parts.settings)

    @property
    def threads(self) -> int:
        """Intra-op threads of one inference now."""
        return self.plan.threads

    def choice(self) -> Choice:
        """What opens the next model; what tuning found is looked up first."""
        self._take_over()
        return self.plan.choice()

    def pin(self, loaded: Loaded) -> None:
        """Measure a version before it serves; its first measurement per host class is its baseline."""
        speed = self.measure(loaded, self.decoder, self.parts.settings.baseline_calls, self.threads)
        with self.parts.database.write() as connection:
            evaluations.set_baseline(
                connection,
                loaded.name,
                loaded.version,
                "latency",
                host_class(),
                speed.numbers(),
                self.parts.clock(),
            )

    def follow(self) -> bool:
        """Compute as tuning found, here or on another server of the class; whether anything changed."""
        before = self.plan
        self._take_over()
        if self.plan.choice() != before.choice():
            loaded = self.holder.loaded
            if loaded is not None and loaded.folder is not None:
                self.holder.put(self._opened(loaded, self.plan))
        return self.plan != before

    def work(self) -> int:
        """Carry out the open tuning tasks; returns how many were done. One server of a model does it at a time."""
        loaded = self.holder.loaded
        if loaded is None:
            return 0
        with self.parts.database.read() as connection:
            if not tasks.open_tasks(connection, loaded.name, "tune-serving"):
                return 0
        name = f"tune-serving/{loaded.name}"
        with self.parts.database.write() as connection:
            lease = leases.acquire(connection, name, self.parts.instance, LEASE_LIFE, self.parts.clock())
        if lease is None:
            return 0
        try:
            with self.parts.database.read() as connection:
                waiting = tasks.open_tasks(connection, loaded.name, "tune-serving")
            result = self.tune(loaded) if waiting else {}
            for task in waiting:
                with self.parts.database.write() as connection:
                    tasks.close_task(connection, task.id, result, self.parts.clock())
        finally:
            with self.parts.database.write() as connection:
                leases.release(connection, lease)
        self.follow()
        return len(waiting)

    def tune(self, loaded: Loaded) -> dict[str, Any]:
        """Measure what the settings leave open, keep the best for the host class, and say what was before."""
        now = replace(self.plan, engine=loaded.predictor.name, device=loaded.predictor.device)
        before = self._loaded(loaded, self._alone(loaded, now))
        found = [before]
        best = fastest([before, *self._engines(loaded, found)])
        after = self._batches(loaded, best.plan, found)
        kept = after if better(before, after) else before
        measured = {"before": before.numbers(), "after": kept.numbers(), "tried": [each.numbers() for each in found]}
        tuning = compute_configs.Tuning(
            loaded.name, host_class(), self.parts.clock(), kept.plan.numbers(), measured, self.parts.instance
        )
        with self.parts.database.write() as connection:
            compute_configs.keep(connection, tuning)
        run_id = self._logged(loaded, before, kept, measured)
        if run_id:
            with self.parts.database.write() as connection:
                compute_configs.note_run(connection, tuning, run_id)
        log.info("tuned %s: p95 %.3f ms before, %.3f ms after", loaded.name, before.p95_ms, kept.p95_ms)
        return {**measured, "host_class": host_class(), "instance": self.parts.instance, "run_id": run_id}

    def _take_over(self) -> None:
        """Make what is stored for this host class the plan; a store that is away changes nothing."""
        settings = self.parts.settings
        try:
            with self.parts.database.read() as connection:
                stored = compute_configs.find(connection, self.parts.family.name, host_class())
        except StoreUnavailableError:
            return
        self.plan = plan_of(settings) if stored is None else within(settings, stored.plan)
        if self.batcher is not None:
            self.batcher.resize(self.plan.lanes, self.plan.batch_max, self.plan.batch_wait_ms)

    def _engines(self, loaded: Loaded, found: list[Measured]) -> list[Measured]:
        """Every engine and number of threads that the settings allow and this version can be answered with."""
        settings, made = self.parts.settings, []
        cores = os.cpu_count() or 1
        counts = sorted({1, cores, *(2**power for power in range(8) if 2**power < cores)})
        for engine, device in engines_here():
            if settings.engine not in ("auto", engine) or settings.device not in ("auto", device):
                continue
            for threads in counts if device == "cpu" else counts[:1]:
                plan = replace(self.plan, engine=engine, device=device, threads=threads)
                if plan == self.plan or loaded.folder is None:
                    continue
                try:
                    opened = self._opened(loaded, plan)
                    if opened.predictor.name == engine:  # not every version has a graph for every engine
                        made.append(self._alone(loaded, plan))
                # a GPU that is full, a library that is broken
                except (ModelFormatError, ModelUnreadableError, RuntimeError) as error:
                    log.warning("%s on %s cannot answer here: %s", engine, device, error)
        found += made
        return made

    def _batches(self, loaded: Loaded, plan: Plan, found: list[Measured]) -> Measured:
        """The best lanes, size and wait of batches for one way to compute, found one after the other."""
        best = self._loaded(loaded, self._alone(loaded, plan))
        cores = os.cpu_count() or 1
        steps: tuple[tuple[str, tuple[float, ...]], ...] = (
            ("lanes", tuple(sorted({1, min(2, cores), cores}))),
            ("batch_max", BATCHES),
            ("batch_wait_ms", WAITS_MS),
        )
        for name, values in steps:
            tried = [best]
            for value in values:
                other = replace(best.plan, **{name: value})  # type: ignore[arg-type]
                if other != best.plan:
                    tried.append(self._loaded(loaded, replace(best, plan=other)))
            found += tried[1:]
            best = busiest(tried)
        return best

    def _alone(self, loaded: Loaded, plan: Plan) -> Measured:
        speed = self.measure(self._opened(loaded, plan), self.decoder, self.parts.settings.baseline_calls, plan.threads)
        return Measured(plan, speed.p50_ms, speed.p95_ms)

    def _loaded(self, loaded: Loaded, measured: Measured) -> Measured:
        rps = self.under_load(self._opened(loaded, measured.plan), measured.plan, self.load_seconds)
        return replace(measured, rps=rps)

    def _opened(self, loaded: Loaded, plan: Plan) -> Loaded:
        """The same version, computed by this plan."""
        if loaded.folder is None:
            return loaded
        if loaded.digests is not None:
            prove(loaded.folder, loaded.version, loaded.digests)
        return replace(loaded, predictor=open_model(loaded.folder, loaded.predictor.classes, plan.choice()))

    def _logged(self, loaded: Loaded, before: Measured, after: Measured, measured: dict[str, Any]) -> str:
        """A run in MLflow that shows what was before and after; a registry that is away delays nothing."""
        try:
            with self.parts.tracking.start_run(f"{loaded.name}-serving", f"tune {host_class()}") as run:
                run.log_params({"host_class": host_class(), "version": loaded.version, **after.plan.numbers()})
                for side, each in (("before", before), ("after", after)):
                    figures = {"p50_ms": each.p50_ms, "p95_ms": each.p95_ms, "rps": each.rps}
                    run.log_metrics({f"{side}_{name}": value for name, value in figures.items()})
                run.log_json("tuning.json", measured)
                return run.id
        except RegistryError as error:
            log.warning("the tuning is kept and not shown in MLflow: %s", error)
            return ""


def champion_of(parts: Parts, choice: Choice) -> Loaded:
    """The champion opened for measuring, outside of any server; raises NoChampionError before the first."""
    name, wanted = parts.family.name, chosen(parts)
    if wanted is None:
        raise NoChampionError(f"No version of {name!r} is champion: train and promote a first one")
    version, folder = wanted.version, parts.catalog.download(name, wanted.version, parts.model_cache)
    if wanted.pins is not None:
        prove(folder, version, wanted.pins)
    return Loaded(name, version, open_model(folder, parts.family.classes, choice), parts.clock(), folder)
