"""Promise: a shadow slows no answer: the 99th percentile of latency is the same with and without one.

A server process with two versions of the pipeline's network is asked at a steady rate, in turns with and without a
shadow. `--quick` takes 4 turns of 10 s, otherwise 40 turns of 4 s: short ones, because what else the host does comes
and goes, and the median of the turns' percentiles counts. `--rate` is in requests per second.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path

import httpx
import numpy as np

from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.host.processes import ProcessGroup, free_port, http_ok
from mlplatform.ids import uuid7
from mlplatform.promotion import rollouts
from mlplatform.promotion.rollouts import Rollout
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from monitors.decisions.version_comparison import VersionComparison
from pipelines.discovery import find_pipeline
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.torch_engine import load_torch_engine, set_threads
from pipelines.image.grey_png import encode_png
from pipelines.recipe import network_recipe
from pipelines.training.network import network_for
from registry.catalog import Catalog
from registry.model_contract import ModelContract, image_inputs
from registry.model_package import read_contract
from tests.support.version_folder import write_contract

ROOT = Path(__file__).parent.parent
NAME = "digits"


class Shelf(Catalog):
    """A registry that names version 1 as champion and holds the files of both versions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def alias(self, name: str, alias: str) -> int | None:
        return 1 if name == NAME and alias == "champion" else None

    def download(self, name: str, version: int, target: Path) -> Path:  # noqa: ARG002
        return self._folder

    def contract(self, name: str, version: int) -> ModelContract:  # noqa: ARG002
        return read_contract(self._folder)


def serve_here(home: Path, port: int) -> None:
    """The server process."""
    from mlplatform.serve.api_server import build_server
    from mlplatform.serve.inference.model_slot import LoadedModel
    from mlplatform.serve.run_server import serve

    set_threads(1)
    settings = Settings(_env_file=None, home=home, poll_seconds=0.2, baseline_calls=20)
    context = AppContext(settings, catalog=Shelf(home / "model"))
    server = build_server(context)
    server.model_slot.swap(
        LoadedModel(
            NAME, 1, load_torch_engine(home / "model" / "data" / "model.pt2", find_pipeline(NAME).classes), utc_now()
        )
    )
    serve(server, "127.0.0.1", port)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve_here(Path(given.serve[0]), int(given.serve[1]))
        return
    turns, seconds = (4, 10.0) if given.quick else (40, 4.0)
    with tempfile.TemporaryDirectory() as folder:
        figures = _measured(Path(folder), turns, seconds, given.rate)
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(json.dumps(figures))


def _measured(home: Path, turns: int, seconds: float, rate: float) -> dict[str, object]:
    pipeline = find_pipeline(NAME)
    network = network_for(pipeline.contract, network_recipe(pipeline.recipe()))
    save_exportable(
        build_exportable(
            network, height=image_inputs(pipeline.contract).height, width=image_inputs(pipeline.contract).width
        ),
        home / "model" / "data" / "model.pt2",
    )
    write_contract(home / "model", pipeline.contract)
    database = Database(f"sqlite:///{home / 'platform.db'}")
    database.upgrade()
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.shadowing", "--serve", str(home), str(port)]
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")])}
    spent: dict[str, list[list[float]]] = {"without": [], "with": []}
    local = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
    with ProcessGroup(home / "logs") as fleet, local as client:
        fleet.wait_healthy(fleet.start("api", command, paths), http_ok(f"http://127.0.0.1:{port}/readyz"), 120)
        _ask(client, 5.0, rate)
        for turn in range(turns):
            trial = _begin(database) if turn % 2 else None
            time.sleep(1.0)
            spent["with" if trial else "without"].append(_ask(client, seconds, rate))
            if trial is not None:
                with database.write() as connection:
                    rollouts.end_rollout(connection, trial, "stopped", "benchmark", "", utc_now())
                time.sleep(1.0)
        shadow = dict(re.findall(r'mlplatform_shadow\{state="(\w+)"\} ([\d.]+)', client.get("/metrics").text))
    database.close()
    figures: dict[str, object] = {"requests_per_second": rate, "turns": turns, "seconds_of_a_turn": seconds}
    for name, blocks in spent.items():
        pooled = [value for block in blocks for value in block]
        for quantile in (50, 95, 99):
            figures[f"{name}_p{quantile}_ms"] = _quantile(pooled, quantile)
        for quantile in (50, 95, 99):
            middle = float(np.median([_quantile(block, quantile) for block in blocks]))
            figures[f"{name}_p{quantile}_ms_median_of_turns"] = round(middle, 2)
        figures[f"{name}_requests"] = len(pooled)
    return figures | {f"shadow_{name}": int(float(count)) for name, count in shadow.items()}


def _quantile(values: list[float], quantile: int) -> float:
    return round(float(np.percentile(values, quantile)), 2)


def _begin(database: Database) -> Rollout:
    trial = Rollout(
        uuid7(), NAME, 2, 1, "shadow", 0.0, "running", utc_now(), "benchmark", "", 0, VersionComparison().to_json()
    )
    with database.write() as connection:
        rollouts.start(connection, trial)
    return trial


def _ask(client: httpx.Client, seconds: float, rate: float) -> list[float]:
    """Milliseconds of each request at a steady rate; what was due while another was under way counts its wait."""
    generator = np.random.default_rng(0)
    bodies = [
        {"images": [b64encode(encode_png(generator.integers(0, 256, (28, 28), dtype=np.uint8))).decode()]}
        for _ in range(50)
    ]
    begun, spent = time.perf_counter(), []
    for number in range(int(seconds * rate)):
        due = begun + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        client.post("/v1/predict", json=bodies[number % len(bodies)]).raise_for_status()
        spent.append((time.perf_counter() - due) * 1000)
    return spent


if __name__ == "__main__":
    main()
