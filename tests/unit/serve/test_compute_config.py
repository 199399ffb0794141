"""A plan is chosen by what was measured, and what people set goes before what was found."""

from dataclasses import replace
from typing import Any

import pytest

from mlplatform.serve.tuning.compute_config import (
    ComputeConfig,
    ConfigBenchmark,
    config_from_settings,
    highest_throughput,
    is_improvement,
    lowest_latency,
    merge_with_settings,
)
from mlplatform.settings import Settings

PLAN = ComputeConfig("onnx", "cpu", 1, 1, 32, 0.0)


def settings(**values: Any) -> Settings:  # noqa: ANN401
    return Settings(_env_file=None, **values)


def measured(p95: float, rps: float = 1000.0, **changes: Any) -> ConfigBenchmark:  # noqa: ANN401
    return ConfigBenchmark(replace(PLAN, **changes), p95 / 2, p95, rps)


def test_settings_alone_make_a_plan() -> None:
    assert config_from_settings(settings()) == PLAN
    assert (
        config_from_settings(settings(engine="torch", device="cpu", serve_threads=2)).backend_config().engine == "torch"
    )
    assert config_from_settings(settings(batch_lanes=3, batch_max=8, batch_wait_ms=2)).to_dict()["lanes"] == 3


def test_what_was_found_holds_as_far_as_the_settings_leave_it_open() -> None:
    found = replace(PLAN, engine="torch", threads=4, lanes=2, batch_max=8)
    assert merge_with_settings(settings(), found.to_dict()) == found
    kept = merge_with_settings(settings(engine="onnx"), found.to_dict())
    assert kept == replace(found, engine="onnx", threads=1)
    on_gpu = replace(found, device="cuda")
    assert merge_with_settings(settings(device="cpu"), on_gpu.to_dict()).device == "cpu"


def test_a_plan_of_another_version_of_the_program_is_not_believed() -> None:
    assert merge_with_settings(settings(), {"engine": "onnx"}) == PLAN
    assert merge_with_settings(settings(), {**PLAN.to_dict(), "warp": 9}) == PLAN


def test_the_fastest_is_the_first_of_those_alike() -> None:
    now, alike, faster = measured(1.0), measured(0.97, threads=2), measured(0.5, engine="torch")
    assert lowest_latency([now, alike]) is now
    assert lowest_latency([now, alike, faster]) is faster


def test_the_busiest_is_the_first_of_those_alike_and_a_wait_must_be_worth_it() -> None:
    now, alike, more = measured(1.0), measured(1.0, 1040.0, lanes=2), measured(1.0, 2000.0, batch_max=128)
    assert highest_throughput([now, alike]) is now
    assert highest_throughput([now, alike, more]) is more
    assert highest_throughput([now, measured(1.0, 1080.0, batch_wait_ms=1.0)]) is now
    assert highest_throughput([now, patient := measured(1.0, 1200.0, batch_wait_ms=1.0)]) is patient


@pytest.mark.parametrize(
    ("p95", "rps", "worth"),
    [(1.0, 1000.0, False), (0.98, 1010.0, False), (0.5, 1000.0, True), (1.0, 1500.0, True), (0.5, 500.0, False)],
)
def test_a_plan_is_changed_for_a_gain_beyond_noise_that_costs_nothing(p95: float, rps: float, worth: bool) -> None:
    assert is_improvement(measured(1.0), measured(p95, rps)) is worth
