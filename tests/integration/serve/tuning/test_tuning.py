"""The speed of a model is measured as it will serve, pinned once, and tuned when an alert or a person asks."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Never

import pytest
import torch

from mlplatform.alerting import evaluations
from mlplatform.context import AppContext
from mlplatform.predictions import compute_configs
from mlplatform.serve.api_server import build_server
from mlplatform.serve.host_class import host_class
from mlplatform.serve.inference.model_slot import LoadedModel, ModelSlot
from mlplatform.serve.inference.request_decoder import Decoders
from mlplatform.serve.tuning.compute_config import ComputeConfig
from mlplatform.serve.tuning.latency_benchmark import WARM_UP_CALLS, LatencySummary, measure_latency, measure_throughput
from mlplatform.serve.tuning.tuner import Tuner
from mlplatform.store import leases, tasks
from pipelines.engines.exportable import save_exportable
from pipelines.engines.inference_engine import EngineConfig, EngineName
from pipelines.engines.onnx_engine import export_onnx
from pipelines.loading import load_engine
from registry.errors import RegistryUnavailableError
from registry.model_package import MODEL_FILE, ONNX_FILE
from tests.support.api_server import NAME, Flaky, loaded, module
from tests.support.fake_registry import FakeTracking
from tests.support.platform_world import START
from tests.support.version_folder import DIGITS, write_contract

DECODERS = Decoders(20, 4e6)


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


@pytest.fixture
def tuner(lite: AppContext) -> Tuner:
    return Tuner(lite.replace(tracking=FakeTracking()), ModelSlot(), DECODERS, load_seconds=0.02)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version's files for both engines."""
    folder = tmp_path_factory.mktemp("version")
    made = module(1)
    save_exportable(made, folder / MODEL_FILE)
    (folder / ONNX_FILE).write_bytes(export_onnx(made))
    write_contract(folder)
    return folder


def on_disk(files: Path, engine: EngineName = "onnx") -> LoadedModel:
    return LoadedModel(NAME, 1, load_engine(files, DIGITS, EngineConfig(engine, "cpu")), START, files)


def baselines(context: AppContext, version: int) -> dict[str, dict[str, float]]:
    with context.database.read() as connection:
        return evaluations.load_baselines(connection, NAME, version).get("latency", {})


def test_a_host_class_names_machine_and_cores() -> None:
    assert host_class().endswith(f"-{os.cpu_count()}cpu")


def test_speed_is_taken_from_the_calls_after_the_warm_up() -> None:
    starts_and_ends = itertools.chain.from_iterable(
        (number, number + (1.0 if number < WARM_UP_CALLS else 0.001 * (number - WARM_UP_CALLS + 1)))
        for number in range(WARM_UP_CALLS + 100)
    )
    speed = measure_latency(loaded(1), DECODERS, calls=100, threads=2, clock=lambda: next(starts_and_ends))
    assert speed.p50_ms == pytest.approx(50.5)
    assert speed.p95_ms == pytest.approx(95.05)
    assert speed.to_dict() == {"p50_ms": 50.5, "p95_ms": 95.05, "calls": 100, "threads": 2}


def test_the_first_baseline_of_a_host_class_stays(tuner: Tuner) -> None:
    tuner.store_latency_baseline(loaded(1))
    first = baselines(tuner.context, 1)
    tuner.store_latency_baseline(loaded(1))
    assert baselines(tuner.context, 1) == first
    assert list(first) == [host_class()]


def test_an_open_tuning_task_is_carried_out_once_and_closed_with_its_result(tuner: Tuner) -> None:
    with tuner.context.database.write() as connection:
        mine = tasks.open_task(connection, "tune-serving", NAME, {}, START)
        tasks.open_task(connection, "label-audit", NAME, {}, START)
        tasks.open_task(connection, "tune-serving", "letters", {}, START)
    assert tuner.run_open_tasks() == 0
    tuner.model_slot.swap(loaded(1))
    assert [tuner.run_open_tasks(), tuner.run_open_tasks()] == [1, 0]
    with tuner.context.database.read() as connection:
        assert [task.kind for task in tasks.open_tasks(connection, NAME)] == ["label-audit"]
        assert tasks.open_tasks(connection, "letters")
        assert mine not in [task.id for task in tasks.open_tasks(connection, NAME)]


def test_a_task_survives_a_database_that_goes_away(tuner: Tuner, flaky: Flaky) -> None:
    with tuner.context.database.write() as connection:
        tasks.open_task(connection, "tune-serving", NAME, {}, START)
    tuner.model_slot.swap(loaded(1))
    flaky.away = True
    with pytest.raises(ConnectionError):
        tuner.run_open_tasks()
    flaky.away = False
    assert tuner.run_open_tasks() == 1


def timed(loaded: LoadedModel, decoders: Decoders, calls: int, threads: int) -> LatencySummary:
    """The engines called and measured as ever, by a stopwatch on which ONNX Runtime takes 1 ms and PyTorch 3 ms."""
    seconds = 0.001 if loaded.predictor.name == "onnx" else 0.003
    readings = itertools.count()
    return measure_latency(loaded, decoders, calls, threads, clock=lambda: next(readings) * seconds)


@pytest.mark.slow
def test_tuning_measures_every_engine_and_keeps_the_best_for_the_host_class(tuner: Tuner, files: Path) -> None:
    loads: list[ComputeConfig] = []

    def steady(loaded: LoadedModel, plan: ComputeConfig, seconds: float) -> float:
        """The load is put on as ever; by the count, two lanes answer twice as many."""
        assert measure_throughput(loaded, plan, seconds) > 0
        loads.append(plan)
        return 100.0 * min(plan.lanes, 2)

    tuner.measure_latency, tuner.measure_throughput = timed, steady
    result = tuner.tune(on_disk(files, "torch"))
    assert result["before"]["engine"] == "torch"
    assert (result["after"]["engine"], result["after"]["lanes"]) == ("onnx", min(2, os.cpu_count() or 1))
    assert (result["before"]["p95_ms"], result["after"]["p95_ms"]) == (3.0, 1.0)
    assert {plan.engine for plan in loads} == {"onnx", "torch"}
    tried = result["tried"]
    assert {each["engine"] for each in tried} == {"onnx", "torch"}
    assert {each["batch_max"] for each in tried} >= {1, 8, 32, 128}
    with tuner.context.database.read() as connection:
        kept = compute_configs.find(connection, NAME, host_class())
    assert kept is not None
    assert kept.plan == {key: result["after"][key] for key in kept.plan}
    assert kept.run_id == result["run_id"] == "run-1"
    tracking = tuner.context.tracking
    assert isinstance(tracking, FakeTracking)
    [run] = tracking.runs
    assert run.metrics["before_p95_ms"] == pytest.approx([3.0])
    assert run.metrics["after_p95_ms"] == pytest.approx([1.0])
    assert run.params["host_class"] == host_class()


def test_what_the_settings_name_is_not_searched(tuner: Tuner, files: Path) -> None:
    context = tuner.context.replace(settings=tuner.context.settings.model_copy(update={"engine": "onnx"}))
    tried = Tuner(context, ModelSlot(), DECODERS, load_seconds=0.02).tune(on_disk(files))["tried"]
    assert {each["engine"] for each in tried} == {"onnx"}


def test_a_registry_that_is_away_costs_the_run_and_not_the_result(tuner: Tuner, files: Path) -> None:
    class Away(FakeTracking):
        def start_run(self, *_args: object, **_named: object) -> Never:
            raise RegistryUnavailableError("the registry is away")

    tuner = replace(tuner, context=tuner.context.replace(tracking=Away()))
    assert tuner.tune(on_disk(files))["run_id"] == ""
    with tuner.context.database.read() as connection:
        assert compute_configs.find(connection, NAME, host_class()) is not None


def stored(context: AppContext, plan: ComputeConfig) -> None:
    with context.database.write() as connection:
        compute_configs.save(
            connection, compute_configs.TunedConfig(NAME, host_class(), START, plan.to_dict(), {}, "another server")
        )


def test_every_server_of_the_class_follows_and_a_restart_changes_nothing(lite: AppContext, files: Path) -> None:
    server = build_server(lite)
    server.model_slot.swap(on_disk(files))
    stored(lite, ComputeConfig("torch", "cpu", 1, 2, 8, 0.5))
    assert server.tuner.apply_stored()
    assert server.model_slot.get().predictor.name == "torch"
    assert (server.batcher.workers, server.batcher.max_batch, server.batcher.max_wait_ms) == (2, 8, 0.5)
    assert not server.tuner.apply_stored()
    again = build_server(lite)
    assert again.tuner.backend_config() == EngineConfig("torch", "cpu", 1)
    assert again.batcher.workers == 2
    with lite.database.write() as connection:
        assert compute_configs.delete_config(connection, NAME, host_class())
    assert server.tuner.apply_stored()
    assert (server.model_slot.get().predictor.name, server.batcher.workers) == ("onnx", 1)
    for each in (server, again):
        each.batcher.close()


def test_a_store_that_is_away_leaves_the_plan_as_it_is(lite: AppContext, flaky: Flaky) -> None:
    server = build_server(lite)
    stored(lite, ComputeConfig("onnx", "cpu", 1, 3, 8, 0.0))
    assert server.tuner.apply_stored()
    flaky.away = True
    assert not server.tuner.apply_stored()
    assert server.batcher.workers == 3
    server.batcher.close()


def test_one_server_of_a_model_tunes_at_a_time(tuner: Tuner) -> None:
    tuner.model_slot.swap(loaded(1))
    with tuner.context.database.write() as connection:
        tasks.open_task(connection, "tune-serving", NAME, {}, START)
        name = f"tune-serving/{NAME}"
        lease = leases.acquire(connection, name, "another server", timedelta(minutes=1), tuner.context.clock())
    assert lease is not None
    assert tuner.run_open_tasks() == 0
    with tuner.context.database.write() as connection:
        leases.release(connection, lease)
    assert tuner.run_open_tasks() == 1


def test_under_load_every_caller_is_answered() -> None:
    assert measure_throughput(loaded(1), ComputeConfig("torch", "cpu", 1, 1, 8, 0.0), 0.05, callers=4) > 0


def test_a_caller_that_a_busy_machine_starts_after_the_time_is_over_counts_too() -> None:
    assert measure_throughput(loaded(1), ComputeConfig("torch", "cpu", 1, 1, 8, 0.0), 0.0, callers=4) > 0
