"""Searches for a faster compute configuration when an alert or a person asks, and applies what was found.

The result is kept in the store for the host class: every server of it takes the result over at its next poll, and after
a restart. What the settings name is not searched. Each search is a run in MLflow with what was measured.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from mlplatform.alerting import evaluations
from mlplatform.context import AppContext
from mlplatform.errors import StoreUnavailableError
from mlplatform.predictions import compute_configs
from mlplatform.serve.host_class import host_class
from mlplatform.serve.inference.batcher import Batcher
from mlplatform.serve.inference.model_slot import LoadedModel, ModelSlot
from mlplatform.serve.inference.request_decoder import Decoders
from mlplatform.serve.inference.target_version import resolve_target_version, verify_digests
from mlplatform.serve.tuning.compute_config import (
    ComputeConfig,
    ConfigBenchmark,
    config_from_settings,
    highest_throughput,
    is_improvement,
    lowest_latency,
    merge_with_settings,
)
from mlplatform.serve.tuning.latency_benchmark import LatencySummary, measure_latency, measure_throughput
from mlplatform.store import leases, tasks
from pipelines.engines.inference_engine import EngineConfig, available_engines
from pipelines.errors import ModelFormatError, ModelUnreadableError
from pipelines.loading import load_engine
from registry.errors import NoChampionError, RegistryError
from registry.model_package import read_contract

log = logging.getLogger(__name__)
BATCH_SIZES: Final = (1, 8, 32, 128)
BATCH_WAITS_MS: Final = (0.0, 1.0)
LOAD_TEST_SECONDS: Final = 0.4
LEASE_DURATION: Final = timedelta(minutes=3)


@dataclass
class Tuner:
    """Pins latency baselines, follows what tuning found and carries out `tune-serving` tasks, on this process."""

    context: AppContext
    model_slot: ModelSlot
    decoders: Decoders
    batcher: Batcher | None = None
    config: ComputeConfig = field(init=False)
    load_seconds: float = LOAD_TEST_SECONDS
    measure_latency: Callable[[LoadedModel, Decoders, int, int], LatencySummary] = measure_latency
    measure_throughput: Callable[[LoadedModel, ComputeConfig, float], float] = measure_throughput

    def __post_init__(self) -> None:
        self.config = config_from_settings(self.context.settings)

    @property
    def threads(self) -> int:
        """Intra-op threads of one inference now."""
        return self.config.threads

    def backend_config(self) -> EngineConfig:
        """What opens the next model; what tuning found is looked up first."""
        self._load_stored()
        return self.config.backend_config()

    def store_latency_baseline(self, model: LoadedModel) -> None:
        """Measure a version before it serves; its first measurement per host class is its baseline."""
        speed = self.measure_latency(model, self.decoders, self.context.settings.baseline_calls, self.threads)
        with self.context.database.write() as connection:
            evaluations.store_baseline(
                connection,
                model.name,
                model.version,
                "latency",
                host_class(),
                speed.to_dict(),
                self.context.clock(),
            )

    def apply_stored(self) -> bool:
        """Compute as tuning found, here or on another server of the class; whether anything changed."""
        before = self.config
        self._load_stored()
        if self.config.backend_config() != before.backend_config():
            loaded = self.model_slot.current
            if loaded is not None and loaded.folder is not None:
                self.model_slot.swap(self._reopen(loaded, self.config))
        return self.config != before

    def run_open_tasks(self) -> int:
        """Carry out the open tuning tasks; returns how many were done. One server of a model does it at a time."""
        loaded = self.model_slot.current
        if loaded is None:
            return 0
        with self.context.database.read() as connection:
            if not tasks.open_tasks(connection, loaded.name, "tune-serving"):
                return 0
        name = f"tune-serving/{loaded.name}"
        with self.context.database.write() as connection:
            lease = leases.acquire(connection, name, self.context.instance, LEASE_DURATION, self.context.clock())
        if lease is None:
            return 0
        try:
            with self.context.database.read() as connection:
                waiting = tasks.open_tasks(connection, loaded.name, "tune-serving")
            result = self.tune(loaded) if waiting else {}
            for task in waiting:
                with self.context.database.write() as connection:
                    tasks.close_task(connection, task.id, result, self.context.clock())
        finally:
            with self.context.database.write() as connection:
                leases.release(connection, lease)
        self.apply_stored()
        return len(waiting)

    def tune(self, model: LoadedModel) -> dict[str, Any]:
        """Measure what the settings leave open, keep the best for the host class, and say what was before."""
        now = replace(self.config, engine=model.predictor.name, device=model.predictor.device)
        before = self._measure_throughput(model, self._measure_latency(model, now))
        benchmarks = [before]
        best = lowest_latency([before, *self._search_backends(model, benchmarks)])
        after = self._search_batching(model, best.config, benchmarks)
        kept = after if is_improvement(before, after) else before
        measured = {
            "before": before.to_dict(),
            "after": kept.to_dict(),
            "tried": [benchmark.to_dict() for benchmark in benchmarks],
        }
        tuning = compute_configs.TunedConfig(
            model.name, host_class(), self.context.clock(), kept.config.to_dict(), measured, self.context.instance
        )
        with self.context.database.write() as connection:
            compute_configs.save(connection, tuning)
        run_id = self._log_run(model, before, kept, measured)
        if run_id:
            with self.context.database.write() as connection:
                compute_configs.record_run(connection, tuning, run_id)
        log.info("tuned %s: p95 %.3f ms before, %.3f ms after", model.name, before.p95_ms, kept.p95_ms)
        return {**measured, "host_class": host_class(), "instance": self.context.instance, "run_id": run_id}

    def _load_stored(self) -> None:
        """Make what is stored for this host class the plan; a store that is away changes nothing."""
        settings = self.context.settings
        try:
            with self.context.database.read() as connection:
                stored = compute_configs.find(connection, self.context.model_name, host_class())
        except StoreUnavailableError:
            return
        self.config = config_from_settings(settings) if stored is None else merge_with_settings(settings, stored.plan)
        if self.batcher is not None:
            self.batcher.resize(self.config.lanes, self.config.batch_max, self.config.batch_wait_ms)

    def _search_backends(self, model: LoadedModel, benchmarks: list[ConfigBenchmark]) -> list[ConfigBenchmark]:
        """Every engine and number of threads that the settings allow and this version can be answered with."""
        settings, measured = self.context.settings, []
        cores = os.cpu_count() or 1
        counts = sorted({1, cores, *(2**power for power in range(8) if 2**power < cores)})
        for engine, device in available_engines():
            if settings.engine not in ("auto", engine) or settings.device not in ("auto", device):
                continue
            for threads in counts if device == "cpu" else counts[:1]:
                plan = replace(self.config, engine=engine, device=device, threads=threads)
                if plan == self.config or model.folder is None:
                    continue
                try:
                    opened = self._reopen(model, plan)
                    if opened.predictor.name == engine:  # not every version has a graph for every engine
                        measured.append(self._measure_latency(model, plan))
                # a GPU that is full, a library that is broken
                except (ModelFormatError, ModelUnreadableError, RuntimeError) as error:
                    log.warning("%s on %s cannot answer here: %s", engine, device, error)
        benchmarks += measured
        return measured

    def _search_batching(
        self, model: LoadedModel, config: ComputeConfig, benchmarks: list[ConfigBenchmark]
    ) -> ConfigBenchmark:
        """The best number of workers, size and wait of batches for one engine, searched one after the other."""
        best = self._measure_throughput(model, self._measure_latency(model, config))
        cores = os.cpu_count() or 1
        steps: tuple[tuple[str, tuple[float, ...]], ...] = (
            ("lanes", tuple(sorted({1, min(2, cores), cores}))),
            ("batch_max", BATCH_SIZES),
            ("batch_wait_ms", BATCH_WAITS_MS),
        )
        for name, values in steps:
            tried = [best]
            for value in values:
                other = replace(best.config, **{name: value})  # type: ignore[arg-type]
                if other != best.config:
                    tried.append(self._measure_throughput(model, replace(best, config=other)))
            benchmarks += tried[1:]
            best = highest_throughput(tried)
        return best

    def _measure_latency(self, model: LoadedModel, config: ComputeConfig) -> ConfigBenchmark:
        speed = self.measure_latency(
            self._reopen(model, config), self.decoders, self.context.settings.baseline_calls, config.threads
        )
        return ConfigBenchmark(config, speed.p50_ms, speed.p95_ms)

    def _measure_throughput(self, model: LoadedModel, benchmark: ConfigBenchmark) -> ConfigBenchmark:
        rps = self.measure_throughput(self._reopen(model, benchmark.config), benchmark.config, self.load_seconds)
        return replace(benchmark, rps=rps)

    def _reopen(self, model: LoadedModel, config: ComputeConfig) -> LoadedModel:
        """The same version, computed by this plan."""
        if model.folder is None:
            return model
        if model.digests is not None:
            verify_digests(model.folder, model.version, model.digests)
        return replace(model, predictor=load_engine(model.folder, read_contract(model.folder), config.backend_config()))

    def _log_run(
        self, model: LoadedModel, before: ConfigBenchmark, after: ConfigBenchmark, measured: dict[str, Any]
    ) -> str:
        """A run in MLflow that shows what was before and after; a registry that is away delays nothing."""
        try:
            with self.context.tracking.start_run(f"{model.name}-serving", f"tune {host_class()}") as run:
                run.log_params({"host_class": host_class(), "version": model.version, **after.config.to_dict()})
                for side, benchmark in (("before", before), ("after", after)):
                    figures = {"p50_ms": benchmark.p50_ms, "p95_ms": benchmark.p95_ms, "rps": benchmark.rps}
                    run.log_metrics({f"{side}_{name}": value for name, value in figures.items()})
                run.log_json("tuning.json", measured)
                return run.id
        except RegistryError as error:
            log.warning("the tuning is kept and not shown in MLflow: %s", error)
            return ""


def open_champion(context: AppContext, backend_config: EngineConfig) -> LoadedModel:
    """The champion opened for measuring, outside of any server; raises NoChampionError before the first."""
    name, wanted = context.model_name, resolve_target_version(context)
    if wanted is None:
        raise NoChampionError(f"No version of {name!r} is champion: train and promote a first one")
    version, folder = wanted.version, context.catalog.download(name, wanted.version, context.model_cache)
    if wanted.pinned_digests is not None:
        verify_digests(folder, version, wanted.pinned_digests)
    predictor = load_engine(folder, read_contract(folder), backend_config)
    return LoadedModel(name, version, predictor, context.clock(), folder)
