"""How a server computes answers, as one frozen record, and the choice between measured ones; it measures nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from mlplatform.settings import Settings
from pipelines.engines.inference_engine import Choice, DeviceName, EngineName, device_of, engine_of

NOISE: Final = 1.05
"""Two measurements this close are alike: what is in force, or simpler, stays."""
WORTH_WAITING: Final = 1.10
"""A wait slows a lone request, so it must lift throughput by so much."""


@dataclass(frozen=True)
class Plan:
    """Library, device and intra-op threads of one inference; lanes, size and wait of batches."""

    engine: EngineName
    device: DeviceName
    threads: int
    lanes: int
    batch_max: int
    batch_wait_ms: float

    def choice(self) -> Choice:
        """What opens a model."""
        return Choice(self.engine, self.device, self.threads)

    def numbers(self) -> dict[str, Any]:
        """As stored."""
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """A plan with what it reached: lone calls in milliseconds, images a second under load."""

    plan: Plan
    p50_ms: float
    p95_ms: float
    rps: float = 0.0

    def numbers(self) -> dict[str, Any]:
        """As stored, and as shown."""
        figures = {"p50_ms": round(self.p50_ms, 4), "p95_ms": round(self.p95_ms, 4), "rps": round(self.rps, 1)}
        return {**self.plan.numbers(), **figures}


def plan_of(settings: Settings) -> Plan:
    """The plan that settings alone make."""
    choice = Choice(settings.engine, settings.device, settings.serve_threads)
    engine = engine_of(choice)
    device = device_of(choice) if engine == "torch" else "cpu"
    return Plan(
        engine, device, settings.serve_threads, settings.batch_lanes, settings.batch_max, settings.batch_wait_ms
    )


def within(settings: Settings, stored: Mapping[str, Any]) -> Plan:
    """A stored plan as far as the settings leave the choice open; what they name goes before."""
    base = plan_of(settings)
    try:
        plan = Plan(**stored)
    except TypeError:  # written by another version of this program
        return base
    if settings.engine not in ("auto", plan.engine) or settings.device not in ("auto", plan.device):
        return replace(plan, engine=base.engine, device=base.device, threads=base.threads)
    return plan


def fastest(found: Sequence[Measured]) -> Measured:
    """Of plans that differ in how one inference is computed: the best lone p95, the first among those alike."""
    best = min(each.p95_ms for each in found)
    return next(each for each in found if each.p95_ms <= best * NOISE)


def busiest(found: Sequence[Measured]) -> Measured:
    """Of plans that differ in batches: the most images a second, first among those alike; waits must be worth it."""
    patient = max(each.rps for each in found)
    prompt = max((each.rps for each in found if not each.plan.batch_wait_ms), default=0.0)
    if patient < prompt * WORTH_WAITING:
        found, patient = [each for each in found if not each.plan.batch_wait_ms], prompt
    return next(each for each in found if each.rps >= patient / NOISE)


def better(before: Measured, after: Measured) -> bool:
    """Whether a plan is worth changing to: faster alone or under load, and not slower in the other beyond noise."""
    faster, busier = before.p95_ms / after.p95_ms, after.rps / max(before.rps, 1e-9)
    return max(faster, busier) > NOISE and min(faster, busier) > 1 / NOISE
