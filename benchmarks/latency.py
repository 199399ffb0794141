"""Promise: one image at a time takes at most 4 ms on a CPU; size, latency and throughput of every file of a model.

The network of a recipe (`--recipe`, all of them unless told) with drawn weights, which take as long as trained ones,
as pt2, ONNX and ONNX in int8, each on one thread. `--quick` makes 100 calls and three batches, otherwise 1 000 and all.
The last line is one JSON object: recipe, then format.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from pipelines.builtin.digits import PIPELINE, load_split
from pipelines.data import image_batch
from pipelines.edge.export import export_file
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.inference_engine import InferenceEngine
from pipelines.engines.latency import measure_latency
from pipelines.engines.onnx_engine import export_onnx, load_onnx_engine
from pipelines.engines.torch_engine import load_torch_engine as load_pt2
from pipelines.recipe import network_recipe
from pipelines.training.network import network_for, parameter_count
from registry.model_contract import image_inputs
from registry.model_package import MODEL_FILE, ONNX_FILE

BATCHES = (1, 8, 32, 64, 128, 256)
PROMISED_MS = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--recipe", choices=sorted(PIPELINE.recipes))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, object] = {"load_before": round(os.getloadavg()[0], 2), "promised_ms": PROMISED_MS}
    for name in [asked.recipe] if asked.recipe else sorted(PIPELINE.recipes):
        figures[name] = _recipe(name, asked.quick)
        print(name, json.dumps(figures[name]), flush=True)
    print(json.dumps(figures))


def _recipe(name: str, quick: bool) -> dict[str, object]:
    network = network_for(PIPELINE.contract, network_recipe(PIPELINE.recipe(name)))
    module = build_exportable(
        network,
        height=image_inputs(PIPELINE.contract).height,
        width=image_inputs(PIPELINE.contract).width,
        temperature=1.1,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_exportable(module, folder / MODEL_FILE)
        (folder / ONNX_FILE).write_bytes(export_onnx(module))
        int8 = folder / "int8.onnx"
        export_file(folder, PIPELINE.classes, PIPELINE.name, 1, "onnx-int8", load_split(None).validation, int8)
        files = {"pt2": folder / MODEL_FILE, "onnx": folder / ONNX_FILE, "onnx-int8": int8}
        found: dict[str, object] = {"parameters": parameter_count(network)}
        for form, path in files.items():
            reader = load_pt2 if form == "pt2" else load_onnx_engine
            found[form] = {
                "size_bytes": path.stat().st_size,
                **_timed(reader(path, PIPELINE.classes, threads=1), quick),
            }
    return found


def _timed(model: InferenceEngine, quick: bool) -> dict[str, float]:
    spent = measure_latency(model, 100 if quick else 1000)
    p50, p95 = np.percentile(spent, [50, 95])
    rates = {
        batch: _images_per_second(model, batch, 3 if quick else 10) for batch in (BATCHES[::2] if quick else BATCHES)
    }
    best = max(rates, key=lambda batch: rates[batch])
    return {
        "p50_ms": round(float(p50), 3),
        "p95_ms": round(float(p95), 3),
        "best_batch": best,
        "images_per_s": round(rates[best]),
    }


def _images_per_second(model: InferenceEngine, batch: int, calls: int) -> float:
    images = np.random.default_rng(0).integers(0, 256, (batch, *model.image_size), dtype=np.uint8)
    rows = image_batch(images)
    model(rows)
    fastest = float("inf")
    for _ in range(calls):
        begun = time.perf_counter()
        model(rows)
        fastest = min(fastest, time.perf_counter() - begun)
    return batch / fastest


if __name__ == "__main__":
    main()
