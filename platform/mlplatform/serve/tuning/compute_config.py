"""How a server computes predictions (engine, device, threads, batching), and the choice between measured settings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from mlplatform.settings import Settings
from pipelines.engines.inference_engine import DeviceName, EngineConfig, EngineName, resolve_device, resolve_engine

NOISE_FACTOR: Final = 1.05
"""Two measurements this close are alike: what is in force, or simpler, stays."""
MIN_WAIT_SPEEDUP: Final = 1.10
"""A wait slows a lone request, so it must lift throughput by so much."""


@dataclass(frozen=True)
class ComputeConfig:
    """Engine, device and intra-op threads of one inference; workers (`lanes`), size and wait of batches."""

    engine: EngineName
    device: DeviceName
    threads: int
    lanes: int
    batch_max: int
    batch_wait_ms: float

    def backend_config(self) -> EngineConfig:
        """What opens a model."""
        return EngineConfig(self.engine, self.device, self.threads)

    def to_dict(self) -> dict[str, Any]:
        """As stored."""
        return asdict(self)


@dataclass(frozen=True)
class ConfigBenchmark:
    """A plan with what it reached: lone calls in milliseconds, images a second under load."""

    config: ComputeConfig
    p50_ms: float
    p95_ms: float
    rps: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As stored, and as shown."""
        figures = {"p50_ms": round(self.p50_ms, 4), "p95_ms": round(self.p95_ms, 4), "rps": round(self.rps, 1)}
        return {**self.config.to_dict(), **figures}


def config_from_settings(settings: Settings) -> ComputeConfig:
    """The plan that settings alone make."""
    choice = EngineConfig(settings.engine, settings.device, settings.serve_threads)
    engine = resolve_engine(choice)
    device = resolve_device(choice) if engine == "torch" else "cpu"
    return ComputeConfig(
        engine, device, settings.serve_threads, settings.batch_lanes, settings.batch_max, settings.batch_wait_ms
    )


def merge_with_settings(settings: Settings, stored_config: Mapping[str, Any]) -> ComputeConfig:
    """A stored plan as far as the settings leave the choice open; what they name goes before."""
    base = config_from_settings(settings)
    try:
        plan = ComputeConfig(**stored_config)
    except TypeError:  # written by another version of this program
        return base
    if settings.engine not in ("auto", plan.engine) or settings.device not in ("auto", plan.device):
        return replace(plan, engine=base.engine, device=base.device, threads=base.threads)
    return plan


def lowest_latency(benchmarks: Sequence[ConfigBenchmark]) -> ConfigBenchmark:
    """Of plans that differ in how one inference is computed: the best lone p95, the first among those alike."""
    best = min(benchmark.p95_ms for benchmark in benchmarks)
    return next(benchmark for benchmark in benchmarks if benchmark.p95_ms <= best * NOISE_FACTOR)


def highest_throughput(benchmarks: Sequence[ConfigBenchmark]) -> ConfigBenchmark:
    """Of plans that differ in batches: the most images a second, first among those alike; waits must be worth it."""
    best_rps = max(benchmark.rps for benchmark in benchmarks)
    best_rps_without_wait = max(
        (benchmark.rps for benchmark in benchmarks if not benchmark.config.batch_wait_ms), default=0.0
    )
    if best_rps < best_rps_without_wait * MIN_WAIT_SPEEDUP:
        benchmarks, best_rps = (
            [benchmark for benchmark in benchmarks if not benchmark.config.batch_wait_ms],
            best_rps_without_wait,
        )
    return next(benchmark for benchmark in benchmarks if benchmark.rps >= best_rps / NOISE_FACTOR)


def is_improvement(before: ConfigBenchmark, after: ConfigBenchmark) -> bool:
    """Whether a plan is worth changing to: faster alone or under load, and not slower in the other beyond noise."""
    faster, busier = before.p95_ms / after.p95_ms, after.rps / max(before.rps, 1e-9)
    return max(faster, busier) > NOISE_FACTOR and min(faster, busier) > 1 / NOISE_FACTOR
