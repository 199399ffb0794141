"""Promise: table rows recorded durably at three times the rate of MLflow, BentoML and LitServe that record nothing.

One machine, one run: the same scikit-learn pipeline on 20 columns (16 numbers, 4 categories), one row a request as
JSON, sent by wrk over loopback. Ours is its exported graph, recorded as `platform serve` does; the peers call the
pipeline itself, one worker each. All servers run all the time and are loaded in turn, round by round, each time in
another order; `rps` are medians over rounds. `rps_rows_batched` are rows a second in requests of 64 rows. `decode_us`
and `column_counts_us` are microseconds of processor time a row: of reading a request, in requests of 64 rows, and of
counting its columns, in batches of 64. The answer cache is off. `--quick` takes 3 rounds of 2 seconds.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pandas as pd

from benchmarks.peers import environment
from benchmarks.serving import PEERS, drained, load, start_all
from benchmarks.shim.stage import HERE, System
from benchmarks.shim.tables import classifier
from mlplatform.context import AppContext
from mlplatform.host.processes import ProcessGroup, exit_on_signals
from mlplatform.pipeline import Classification, TrainingContext, table
from mlplatform.serve.inference.row_decoder import RowDecoder
from mlplatform.settings import Settings
from pipelines.candidate.make_candidate import make_candidate
from pipelines.candidate.training_spec import TrainingSpec
from pipelines.inputs.column_counter import ColumnCounter
from pipelines.inputs.table_codec import TableCodec
from registry.catalog import CHAMPION
from registry.model_contract import Column, TableInputs

PINS: Final = ("bentoml==1.4.40", "litserve==0.2.19", "numpy>=2.2,<3", "pandas>=2.2,<3", "scikit-learn==1.9.1")
NAME: Final = "tabular"
TABLES: Final = HERE / "tables"
BODIES: Final = 256
BATCHED_ROWS: Final = 64
WARM_UP_SECONDS: Final = 2
MICRO_SECONDS: Final = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds of 2 seconds instead of 7 of 6")
    parser.add_argument("--connections", type=int, default=16)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed; install it (apt-get install wrk, brew install wrk) and run again")
    rounds, seconds = (3, 2) if arguments.quick else (7, 6)
    with tempfile.TemporaryDirectory() as name, exit_on_signals():
        folder = Path(name).resolve()
        columns = prepare(folder)
        told = measured(folder, rounds, seconds, arguments.connections) | micro(columns)
    for key, value in told.items():
        print(f"{key}: {value}")
    print(json.dumps(told))


def prepare(folder: Path) -> tuple[Column, ...]:
    """Register the pipeline's graph as champion of a platform in `folder`, and write the requests."""
    rows = classifier.make_rows()
    pipeline = table(
        name=NAME,
        columns=classifier.NUMBERS + classifier.NAMES,
        target="truth",
        task=Classification(classifier.CLASSES),
        rows=lambda _folder: rows,
        train=_train,
        about="A table to measure with.",
    ).with_rows(None)
    assert isinstance(pipeline.contract.inputs, TableInputs)
    context = AppContext(Settings(_env_file=None, home=folder, model=NAME, pipeline=NAME))
    spec = TrainingSpec(pipeline, pipeline.recipe(), pipeline.load(None), None, None, 0, "for a benchmark")
    made = make_candidate(spec, context.tracking, context.catalog)
    context.catalog.set_alias(NAME, CHAMPION, made.version)
    context.database.close()
    save_mlflow_model(folder / "mlflow_model", rows)
    asked = json.loads(rows[classifier.NUMBERS + classifier.NAMES][:BODIES].to_json(orient="records"))
    write_scripts(folder, asked)
    return pipeline.contract.inputs.columns


def _train(context: TrainingContext) -> object:
    return classifier.unfitted().fit(context.x, context.y)


def save_mlflow_model(folder: Path, rows: pd.DataFrame) -> None:
    """The fitted pipeline as MLflow keeps it; it is opened by MLflow's server, which runs what it saved."""
    import mlflow.sklearn

    inputs = rows[classifier.NUMBERS + classifier.NAMES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow about formats and types
        mlflow.sklearn.save_model(
            classifier.fitted(),
            str(folder),
            serialization_format="cloudpickle",
            signature=mlflow.models.infer_signature(inputs),
            pyfunc_predict_fn="predict_proba",
            pip_requirements=["scikit-learn"],
        )


def write_scripts(folder: Path, asked: Sequence[Mapping[str, Any]]) -> None:
    """The requests as Lua for wrk, one row each or many."""
    many = [[asked[(start + place) % len(asked)] for place in range(BATCHED_ROWS)] for start in range(16)]
    bodies = {
        "rows": [json.dumps({"rows": [row]}) for row in asked],
        "batched": [json.dumps({"rows": rows}) for rows in many],
        "mlflow": [json.dumps({"dataframe_records": [row]}) for row in asked],
    }
    common = (HERE / "load.lua").read_text(encoding="utf-8")
    for name, texts in bodies.items():
        listed = ",\n".join(f"[==[{text}]==]" for text in texts)
        script = f'local bodies = {{\n{listed}\n}}\nwrk.headers["content-type"] = "application/json"\n{common}'
        (folder / f"{name}.lua").write_text(script.replace("BODIES", "bodies"), encoding="utf-8")


def systems(folder: Path) -> list[System]:
    """Everything that can be started here, ours first; a peer that cannot be had is left out, in words."""
    python = sys.executable
    home = {"PLATFORM_HOME": str(folder), "PLATFORM_CACHE_ANSWERS": "0", "PLATFORM_MODEL": NAME}
    beside = {"PATH": f"{Path(python).parent}:{os.environ.get('PATH', '')}"}  # where MLflow looks for uvicorn
    mlflow = (python, "-m", "mlflow", "models", "serve", "--model-uri", str(folder / "mlflow_model"))
    local = ("--env-manager", "local", "--host", "127.0.0.1", "--port", "{port}")
    ours = (python, "-m", "benchmarks.shim.ours", "{port}")
    found = [
        System("ours", ours, "/v1/predict", "/readyz", "rows", home),
        System("mlflow", (*mlflow, *local), "/invocations", "/ping", "mlflow", beside),
    ]
    own = environment(NAME, PINS)
    if own is not None:
        peers = Path(own).parent.resolve()
        bento = (str(peers / "bentoml"), "serve", "bento_service:Table", "--host", "127.0.0.1", "--port", "{port}")
        lit = (str(peers / "python"), "lit_server.py", "{port}")
        plain = {"PYTHONPATH": str(TABLES.resolve())}
        found.append(System("bentoml", bento, "/predict", "/livez", "rows", plain, TABLES))
        found.append(System("litserve", lit, "/predict", "/health", "rows", plain, TABLES))
    return found


def measured(folder: Path, rounds: int, seconds: int, connections: int) -> dict[str, Any]:
    """Requests a second of each system, and rows a second of ours in large requests."""
    seen: dict[str, list[float]] = defaultdict(list)
    batched: list[float] = []
    with ProcessGroup(folder / "logs") as fleet:
        running = start_all(fleet, systems(folder))
        for system, _, address in running:
            load(folder, system, address, WARM_UP_SECONDS, connections, 0)
        for number in range(rounds):
            for system, _, address in random.Random(number).sample(running, len(running)):
                seen[system.name].append(load(folder, system, address, seconds, connections, 0)["rps"])
                if system.name == "ours":
                    large = replace(system, script="batched")
                    batched.append(BATCHED_ROWS * load(folder, large, address, seconds, connections, 0)["rps"])
        recorder = {system.name: drained(address) for system, _, address in running if system.name == "ours"}
    return figures(seen, batched, recorder["ours"])


def figures(
    seen: Mapping[str, Sequence[float]], batched: Sequence[float], recorder: Mapping[str, int]
) -> dict[str, Any]:
    """Medians over rounds."""
    rps = {name: round(statistics.median(values)) for name, values in seen.items()}
    peers = [rps[name] for name in PEERS if name in rps]
    return {
        "rps": rps,
        "rps_range": {name: [round(min(values)), round(max(values))] for name, values in seen.items()},
        "ratio_best_peer": round(rps["ours"] / max(peers), 2) if peers else None,
        "rps_rows_batched": round(statistics.median(batched)),
        "recorder": dict(recorder),
        "load": os.getloadavg()[0],
    }


def micro(columns: tuple[Column, ...]) -> dict[str, float]:
    """Microseconds of processor time a row."""
    codec = TableCodec(columns)
    decoder = RowDecoder(codec, BATCHED_ROWS)
    rows = classifier.make_rows(BATCHED_ROWS, seed=1)[classifier.NUMBERS + classifier.NAMES]
    body = json.dumps({"rows": json.loads(rows.to_json(orient="records"))}).encode()
    contents = [row.content for row in codec.rows(decoder.decode_json(body).batch)]
    counter = ColumnCounter(columns)
    return {
        "decode_us": _microseconds(lambda: decoder.decode_json(body)),
        "column_counts_us": _microseconds(lambda: counter.count(contents)),
    }


def _microseconds(work: Callable[[], object]) -> float:
    """Of one row of BATCHED_ROWS, the fastest of five stretches."""
    work()
    fastest = float("inf")
    for _ in range(5):
        begun, times = time.process_time(), 0
        while time.process_time() - begun < MICRO_SECONDS / 5:
            work()
            times += 1
        fastest = min(fastest, (time.process_time() - begun) / times)
    return round(1e6 * fastest / BATCHED_ROWS, 2)


if __name__ == "__main__":
    main()
