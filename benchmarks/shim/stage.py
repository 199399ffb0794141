"""One network and one set of images, prepared for every system of the serving benchmark; it measures nothing."""

import json
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import environment
from mlplatform.context import AppContext
from mlplatform.settings import Settings
from pipelines.data import image_batch, images_of
from pipelines.discovery import find_pipeline
from pipelines.engines.exportable import build_exportable
from pipelines.engines.onnx_engine import export_if_equivalent
from pipelines.engines.torch_engine import TorchEngine
from pipelines.recipe import network_recipe
from pipelines.training.network import build_network
from registry.catalog import CHAMPION
from registry.model_contract import image_inputs
from registry.model_package import ONNX_FILE, TorchFiles

HERE: Final = Path(__file__).parent
PINS: Final = ("bentoml==1.4.40", "litserve==0.2.19", "onnxruntime==1.32.0", "numpy>=2.2,<3")
IMAGES: Final = 256
QUIET: Final = {
    "OMP_NUM_THREADS": "1",
    "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PLATFORM_LOG_LEVEL": "warning",
}


@dataclass(frozen=True)
class System:
    """One server: how it is started (`{port}` is filled in), where it is asked, and by which script of wrk."""

    name: str
    command: tuple[str, ...]
    path: str
    alive: str
    script: str = "images"
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


def prepare(folder: Path) -> Path:
    """Register the network as champion of a platform in `folder` and write the requests; returns its ONNX file."""
    pipeline = find_pipeline("digits")
    images = images_of(pipeline.load(None).stream.batch)[:IMAGES]
    module = build_exportable(build_network(network_recipe(pipeline.recipe()), len(pipeline.classes), seed=1))
    answers = TorchEngine(module, pipeline.classes, *image_inputs(pipeline.contract).size)(image_batch(images))
    graph = export_if_equivalent(module, image_batch(images), answers)
    if graph is None:
        raise SystemExit("the network has no ONNX graph; nothing can be compared")
    context = AppContext(Settings(_env_file=None, home=folder))
    with context.tracking.start_run(pipeline.name, "for a benchmark") as run:
        example = images[:2, None].astype(np.float32) / 255.0
        uri = run.log_model(TorchFiles(module, example, answers[:2], graph), ["numpy"], pipeline.contract)
    version = context.catalog.register(pipeline.name, uri, run.id)
    context.catalog.set_alias(pipeline.name, CHAMPION, version)
    file = context.catalog.download(pipeline.name, version, context.model_cache) / ONNX_FILE
    context.database.close()
    _mlflow_model(folder / "mlflow_model", images)
    _scripts(folder, images)
    return file


def systems(folder: Path, model: Path, database: str) -> list[System]:
    """Everything that can be started here, ours first; a peer that cannot be had is left out, in words."""
    python = sys.executable
    home = {"PLATFORM_HOME": str(folder), "PLATFORM_CACHE_ANSWERS": "0", "PLATFORM_DATABASE_URL": database}
    ours = (python, "-m", "benchmarks.shim.ours", "{port}")
    network = {"MODEL_FILE": str(model), "PYTHONPATH": str(HERE.resolve())}
    beside = {"PATH": f"{Path(python).parent}:{os.environ.get('PATH', '')}"}  # where MLflow looks for uvicorn
    mlflow = (python, "-m", "mlflow", "models", "serve", "--model-uri", str(folder / "mlflow_model"))
    local = ("--env-manager", "local", "--host", "127.0.0.1", "--port", "{port}")
    found = [
        System("ours", ours, "/v1/predict", "/readyz", environment=home),
        System("ours_raw", ours, "/v1/predict", "/readyz", "raw", home),
        System("ours_unrecorded", (*ours, "--unrecorded"), "/v1/predict", "/readyz", environment=home),
        System("constant", (python, str(HERE / "constant.py"), "{port}"), "/predict", "/openapi.json"),
        System("mlflow", (*mlflow, *local), "/invocations", "/ping", "mlflow", network | beside),
    ]
    own = environment("serving", PINS)
    if own is not None:
        peers = Path(own).parent.resolve()
        bento = (str(peers / "bentoml"), "serve", "bento_service:Digits", "--host", "127.0.0.1", "--port", "{port}")
        lit = (str(peers / "python"), "lit_server.py", "{port}")
        found.append(System("bentoml", bento, "/predict", "/livez", environment=network, folder=HERE))
        found.append(System("litserve", lit, "/predict", "/health", environment=network, folder=HERE))
    return found


def _mlflow_model(folder: Path, images: NDArray[np.uint8]) -> None:
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    given = Schema([TensorSpec(np.dtype("uint8"), (-1, *images.shape[1:]))])
    answered = Schema([TensorSpec(np.dtype("float32"), (-1, 10))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow about type hints, which its own signature overrules
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(HERE / "mlflow_model.py"),
            signature=ModelSignature(given, answered),
            pip_requirements=["numpy"],
        )


def _scripts(folder: Path, images: NDArray[np.uint8]) -> None:
    """The requests as Lua for wrk: each picture in turn, as JSON or raw; RATE in the environment holds a rate."""
    ours = [json.dumps({"images": [image.tolist()]}) for image in images]
    mlflow = [json.dumps({"inputs": [image.tolist()]}) for image in images]
    tables = {
        "images": ("application/json", [f"[==[{body}]==]" for body in ours]),
        "mlflow": ("application/json", [f"[==[{body}]==]" for body in mlflow]),
        "raw": ("application/octet-stream", ['"' + _escaped(image.tobytes()) + '"' for image in images]),
    }
    common = (HERE / "load.lua").read_text(encoding="utf-8")
    for name, (kind, bodies) in tables.items():
        listed = ",\n".join(bodies)
        text = f'local bodies = {{\n{listed}\n}}\nwrk.headers["content-type"] = "{kind}"\n{common}'
        (folder / f"{name}.lua").write_text(text.replace("BODIES", "bodies"), encoding="utf-8")


def _escaped(data: bytes) -> str:
    return "".join(f"\\{byte:03d}" for byte in data)
