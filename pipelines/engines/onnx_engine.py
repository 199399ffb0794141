"""Exports a network as an ONNX graph, validates such graphs, and computes them with ONNX Runtime.

A graph is read only when it is one list of standard operators with its numbers inside: no custom operators, no
functions or branches, and no file beside it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.data import images_of
from pipelines.engines.inference_engine import (
    TRANSIENT_ERRORS,
    InferenceEngine,
    read_model_bytes,
    to_network_input,
    unreadable_error,
)
from pipelines.engines.log_suppression import suppress_logs
from pipelines.engines.onnxruntime_import import import_onnxruntime
from pipelines.errors import ModelFormatError

if TYPE_CHECKING:
    import onnx
    import onnxruntime

    from pipelines.engines.exportable import Exportable

log = logging.getLogger(__name__)
MAX_BYTES: Final = 256 * 1024 * 1024
MAX_ABS_DIFFERENCE: Final = 1e-4
"""Largest difference of a probability between both engines that an export may have."""
INPUT_NAME, OUTPUT_NAME = "images", "probabilities"


class OnnxEngine(InferenceEngine):
    """A model that ONNX Runtime answers, on the CPU."""

    name = "onnx"
    device = "cpu"

    def __init__(
        self, session: onnxruntime.InferenceSession, classes: tuple[str, ...], height: int, width: int
    ) -> None:
        super().__init__(classes, height, width)
        self._session = session
        self._input_name, self._output_names = session.get_inputs()[0].name, [session.get_outputs()[0].name]

    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        [answer] = self._session.run(self._output_names, {self._input_name: to_network_input(images_of(batch))})
        probabilities: NDArray[np.float32] = answer
        return probabilities


def export_onnx(module: Exportable) -> bytes:
    """The module as an ONNX graph that takes any number of images; raises whatever PyTorch's exporter does."""
    import torch

    example = torch.zeros((2, 1, module.height, module.width))
    # They name every optional library that is not installed, and each node they fold.
    with suppress_logs("torch.onnx", "onnx_ir", "onnxscript"):
        program = torch.export.export(module, (example,), dynamic_shapes=[{0: torch.export.Dim.AUTO}])
        made = torch.onnx.export(
            program, (example,), dynamo=True, input_names=[INPUT_NAME], output_names=[OUTPUT_NAME], verbose=False
        )
    if made is None:
        raise ModelFormatError("PyTorch's exporter made no ONNX graph")
    content: bytes = made.model_proto.SerializeToString()
    return content


def export_if_equivalent(module: Exportable, batch: Batch, expected: NDArray[np.float32]) -> bytes | None:
    """The module's ONNX graph, if ONNX Runtime answers these rows as PyTorch did; None, with the reason logged.

    A model without one is served by PyTorch, so a pipeline with operators that cannot be exported is no failure.
    """
    classes = tuple(str(number) for number in range(expected.shape[1]))
    try:
        content = export_onnx(module)
        probabilities = onnx_engine_from_bytes(content, classes, threads=1)(batch)
    except Exception as error:  # noqa: BLE001 - the exporter raises anything; all mean one thing
        log.warning("no ONNX graph of this model (%s: %s): PyTorch will serve it", type(error).__name__, error)
        return None
    difference = float(np.abs(probabilities - expected).max(initial=0.0))
    if not difference <= MAX_ABS_DIFFERENCE:
        log.warning("ONNX Runtime answers up to %.2g away from PyTorch: the graph is not kept", difference)
        return None
    log.info("the ONNX graph answers within %.1e of PyTorch on %d rows", difference, len(batch))
    return content


def load_onnx_engine(path: Path, classes: tuple[str, ...], threads: int = 1) -> OnnxEngine:
    """Read an ONNX graph that is proved plain; raises ModelFormatError, or ModelUnreadableError for what passes."""
    content = read_model_bytes(path)
    try:
        return onnx_engine_from_bytes(content, classes, threads)
    except ModelFormatError as error:
        raise ModelFormatError(f"{path}: {error}") from error
    except TRANSIENT_ERRORS as error:
        raise unreadable_error(path, error) from error


def onnx_engine_from_bytes(content: bytes, classes: tuple[str, ...], threads: int) -> OnnxEngine:
    """The graph in these bytes, ready to answer with so many intra-op threads."""
    answers, height, width = validate_graph(content)
    if answers != len(classes):
        raise ModelFormatError(f"the graph answers {answers} classes, not {len(classes)}; name the right classes")
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except TRANSIENT_ERRORS:
        raise
    except Exception as error:  # ONNX Runtime raises anything on a broken graph; all mean one thing
        raise ModelFormatError(f"not a graph ONNX Runtime can answer with: {error}; export it again") from error
    return OnnxEngine(session, classes, height, width)


def validate_graph(content: bytes) -> tuple[int, int, int]:
    """Number of answers, height and width of a plain graph; ModelFormatError names what is not plain."""
    if len(content) > MAX_BYTES:
        raise ModelFormatError(f"the ONNX graph has {len(content)} bytes; the limit is {MAX_BYTES}")
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except TRANSIENT_ERRORS:
        raise
    except Exception as error:  # protobuf's own errors differ between its implementations
        raise ModelFormatError(f"not an ONNX graph ({len(content)} bytes: {error}); export it again") from error
    graph = model.graph
    _reject_if(bool(model.functions or model.training_info), "holds functions or training code")
    _reject_if(bool(graph.sparse_initializer), "holds sparse weights")
    for tensor in graph.initializer:
        _reject_external_data(tensor)
    for node in graph.node:
        _reject_if(node.domain not in ("", "ai.onnx"), f"uses the operator {node.domain}.{node.op_type}")
        for attribute in node.attribute:
            nested = attribute.HasField("g") or attribute.graphs or attribute.HasField("sparse_tensor")
            _reject_if(bool(nested), f"has a graph inside the operator {node.op_type}")
            for tensor in (attribute.t, *attribute.tensors):
                _reject_external_data(tensor)
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ModelFormatError(f"the graph has {len(inputs)} inputs and {len(graph.output)} outputs, not one of each")
    images, answers = _declared_shape(inputs[0]), _declared_shape(graph.output[0])
    if len(images) != 4 or images[0] or images[1] != 1 or not all(images[2:]) or len(answers) != 2 or answers[0]:
        raise ModelFormatError(
            f"the graph takes {images} and answers {answers} (0: any); "
            "export it with a free number of images and one channel"
        )
    return answers[1], images[2], images[3]


def _declared_shape(value: onnx.ValueInfoProto) -> list[int]:
    """The declared shape; 0 where any size fits."""
    return [side.dim_value for side in value.type.tensor_type.shape.dim]


def _reject_external_data(tensor: onnx.TensorProto) -> None:
    outside = bool(tensor.external_data) or tensor.data_location == tensor.EXTERNAL
    _reject_if(outside, f"keeps the tensor {tensor.name[:60]!r} in another file")


def _reject_if(bad: bool, what: str) -> None:
    if bad:
        raise ModelFormatError(
            f"refused to load the ONNX graph: it {what}; load only models that this platform exported"
        )
