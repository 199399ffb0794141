"""Exports a model for other machines (ONNX, ExecuTorch) and compares the file with PyTorch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from pipelines.data import Examples, images_of
from pipelines.engines.atomic_write import write_atomically
from pipelines.engines.executorch_engine import load_executorch_engine, to_executorch
from pipelines.engines.inference_engine import InferenceEngine, to_network_input
from pipelines.engines.latency import measure_latency
from pipelines.engines.log_suppression import suppress_logs
from pipelines.engines.onnx_engine import load_onnx_engine, validate_graph
from pipelines.engines.onnxruntime_import import import_onnxruntime
from pipelines.engines.torch_engine import load_torch_engine
from pipelines.errors import DataError, ModelFormatError
from registry.model_package import MODEL_FILE, ONNX_FILE

EdgeFormat = Literal["onnx", "onnx-int8", "executorch"]
SERVER_FILES = {
    "edge.py": "edge/edge_server.py",
    "bounded_server.py": "edge/bounded_server.py",
    "request_payloads.py": "edge/request_payloads.py",
    "image_decoding.py": "image/image_decoding.py",
}
"""What answers with an ONNX file on a device, by its name there, and where it lies here; it needs nothing else."""
CALIBRATION_ROWS = 256
LATENCY_CALLS = 200


@dataclass(frozen=True)
class Parity:
    """An exported file beside PyTorch on the same rows."""

    format: str
    rows: int
    max_difference: float
    """The largest of any probability."""
    same_answers: int
    accuracy: float
    accuracy_pytorch: float
    size_bytes: int
    size_bytes_pytorch: int
    p50_ms: float
    p95_ms: float
    p50_ms_pytorch: float
    p95_ms_pytorch: float


def export_formats() -> tuple[str, ...]:
    """The formats that can be exported."""
    return get_args(EdgeFormat)


def export_file(
    folder: Path, classes: tuple[str, ...], name: str, version: int, form: EdgeFormat, rows: Examples, out: Path
) -> None:
    """Write a downloaded version as one file, of ONNX with its classes and name inside; `rows` calibrate int8.

    Raises ModelFormatError for a version without an ONNX graph and where ExecuTorch is missing or cannot lower it,
    DataError where int8 has no rows to learn its range.
    """
    if form == "executorch":
        write_atomically(out, to_executorch(folder / MODEL_FILE, classes))
        return
    if not (folder / ONNX_FILE).is_file():
        raise ModelFormatError(f"version {version} of {name} has no ONNX graph; train a new version, which gets one")
    content = (folder / ONNX_FILE).read_bytes()
    validate_graph(content)
    if form == "onnx-int8":
        content = _quantize_static(content, rows)
    write_atomically(out, _with_model_metadata(content, classes, name, version))


def copy_edge_server(folder: Path) -> None:
    """Write the edge server's files into a folder, beside a model."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in SERVER_FILES.items():
        write_atomically(folder / name, (Path(__file__).parent.parent / source).read_bytes())


def compare_export(out: Path, folder: Path, classes: tuple[str, ...], form: str, rows: Examples) -> Parity:
    """The written file beside the version's PyTorch graph: answers on rows with truth, size and time per image."""
    if not len(rows):
        raise DataError("there are no rows to compare answers on; give at least one labelled row")
    original = load_torch_engine(folder / MODEL_FILE, classes, threads=1)
    if form == "executorch":
        exported: InferenceEngine = load_executorch_engine(out, classes, *original.image_size)
    else:
        exported = load_onnx_engine(out, classes, threads=1)
    reference, predictions = original(rows.batch), exported(rows.batch)
    times = {engine: _latency_percentiles(engine) for engine in (original, exported)}
    return Parity(
        format=form,
        rows=len(rows),
        max_difference=float(np.abs(predictions - reference).max()),
        same_answers=int((predictions.argmax(axis=1) == reference.argmax(axis=1)).sum()),
        accuracy=float((predictions.argmax(axis=1) == rows.labels).mean()),
        accuracy_pytorch=float((reference.argmax(axis=1) == rows.labels).mean()),
        size_bytes=out.stat().st_size,
        size_bytes_pytorch=(folder / MODEL_FILE).stat().st_size,
        p50_ms=times[exported][0],
        p95_ms=times[exported][1],
        p50_ms_pytorch=times[original][0],
        p95_ms_pytorch=times[original][1],
    )


def _latency_percentiles(model: InferenceEngine) -> tuple[float, float]:
    latencies_ms = measure_latency(model, LATENCY_CALLS)
    return round(float(np.percentile(latencies_ms, 50)), 3), round(float(np.percentile(latencies_ms, 95)), 3)


def _with_model_metadata(content: bytes, classes: tuple[str, ...], name: str, version: int) -> bytes:
    import onnx

    model = onnx.load_model_from_string(content)
    onnx.helper.set_model_props(model, {"classes": json.dumps(classes), "name": name, "version": str(version)})
    serialized: bytes = model.SerializeToString()
    return serialized


def _quantize_static(content: bytes, rows: Examples) -> bytes:
    """Weights and activations in int8, their ranges read from rows that are not judged on."""
    if not len(rows):
        raise DataError("int8 reads its ranges from pictures, and there are none; give some validation rows")
    import onnx

    import_onnxruntime()  # whose parts these are
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    floats = to_network_input(images_of(rows.batch)[:CALIBRATION_ROWS])
    name = onnx.load_model_from_string(content).graph.input[0].name

    class Pictures(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[np.ndarray] = iter(np.array_split(floats, max(1, len(floats) // 32)))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._left, None)
            return None if batch is None else {name: batch}

    with tempfile.TemporaryDirectory() as folder, suppress_logs(""):  # the quantiser advises, and warns of its own code
        original, prepared, quantized = (Path(folder, f"{stage}.onnx") for stage in ("given", "ready", "made"))
        original.write_bytes(content)
        quant_pre_process(str(original), str(prepared), skip_symbolic_shape=True)
        layers = [node for node in onnx.load(str(prepared)).graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
        quantization.quantize_static(
            str(prepared),
            str(quantized),
            Pictures(),
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "MaxPool"],
            nodes_to_exclude=[layers[-1].name],  # logits and probabilities stay as fine as they are
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return quantized.read_bytes()
