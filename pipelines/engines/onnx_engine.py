"""The ONNX graph of an exported network: made, proved plain, and answered by ONNX Runtime; refuses to know registries.

A graph is read only when it is one list of standard operators with its numbers inside: no custom operators, no
functions or branches, and no file beside it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.engines.inference_engine import Engine
from pipelines.engines.log_suppression import quietly
from pipelines.engines.model_file import PASSING, model_bytes, unreadable
from pipelines.engines.onnxruntime_import import onnx_runtime
from pipelines.errors import ModelFormatError

if TYPE_CHECKING:
    import onnx
    import onnxruntime

    from pipelines.engines.torch_engine import Exportable

log = logging.getLogger(__name__)
MAX_BYTES: Final = 256 * 1024 * 1024
MOST_APART: Final = 1e-4
"""Largest difference of a probability between both engines that an export may have."""
INPUT, OUTPUT = "images", "probabilities"


class OnnxPredictor(Engine):
    """A model that ONNX Runtime answers, on the CPU."""

    name = "onnx"
    device = "cpu"

    def __init__(
        self, session: onnxruntime.InferenceSession, classes: tuple[str, ...], height: int, width: int
    ) -> None:
        super().__init__(classes, height, width)
        self._session = session
        self._given, self._answered = session.get_inputs()[0].name, [session.get_outputs()[0].name]

    def _chunk(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        [answer] = self._session.run(self._answered, {self._given: as_floats(images)})
        made: NDArray[np.float32] = answer
        return made


def as_floats(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images (n, height, width) as the network takes them: float32 (n, 1, height, width) from 0 to 1."""
    floats = images.astype(np.float32)
    floats /= np.float32(255.0)
    return floats[:, None]


def export_onnx(module: Exportable) -> bytes:
    """The module as an ONNX graph that takes any number of images; raises whatever PyTorch's exporter does."""
    import torch

    example = torch.zeros((2, 1, module.height, module.width))
    # They name every optional library that is not installed, and each node they fold.
    with quietly("torch.onnx", "onnx_ir", "onnxscript"):
        program = torch.export.export(module, (example,), dynamic_shapes=[{0: torch.export.Dim.AUTO}])
        made = torch.onnx.export(
            program, (example,), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False
        )
    if made is None:
        raise ModelFormatError("PyTorch's exporter made no ONNX graph")
    content: bytes = made.model_proto.SerializeToString()
    return content


def portable(module: Exportable, images: NDArray[np.uint8], answers: NDArray[np.float32]) -> bytes | None:
    """The module's ONNX graph, if ONNX Runtime answers these images as PyTorch did; None, with the reason logged.

    A model without one is served by PyTorch, so a family with operators that cannot be exported is no failure.
    """
    classes = tuple(str(number) for number in range(answers.shape[1]))
    try:
        content = export_onnx(module)
        theirs = predictor_of(content, classes, threads=1)(images)
    except Exception as error:  # noqa: BLE001 - the exporter raises anything; all mean one thing
        log.warning("no ONNX graph of this model (%s: %s): PyTorch will serve it", type(error).__name__, error)
        return None
    apart = float(np.abs(theirs - answers).max(initial=0.0))
    if not apart <= MOST_APART:
        log.warning("ONNX Runtime answers up to %.2g away from PyTorch: the graph is not kept", apart)
        return None
    log.info("the ONNX graph answers within %.1e of PyTorch on %d images", apart, len(images))
    return content


def load_onnx(path: Path, classes: tuple[str, ...], threads: int = 1) -> OnnxPredictor:
    """Read an ONNX graph that is proved plain; raises ModelFormatError, or ModelUnreadableError for what passes."""
    content = model_bytes(path)
    try:
        return predictor_of(content, classes, threads)
    except ModelFormatError as error:
        raise ModelFormatError(f"{path}: {error}") from error
    except PASSING as error:
        raise unreadable(path, error) from error


def predictor_of(content: bytes, classes: tuple[str, ...], threads: int) -> OnnxPredictor:
    """The graph in these bytes, ready to answer with so many intra-op threads."""
    answers, height, width = checked_graph(content)
    if answers != len(classes):
        raise ModelFormatError(f"the graph answers {answers} classes, not {len(classes)}; name the right classes")
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except PASSING:
        raise
    except Exception as error:  # ONNX Runtime raises anything on a broken graph; all mean one thing
        raise ModelFormatError(f"not a graph ONNX Runtime can answer with: {error}; export it again") from error
    return OnnxPredictor(session, classes, height, width)


def checked_graph(content: bytes) -> tuple[int, int, int]:
    """Number of answers, height and width of a plain graph; ModelFormatError names what is not plain."""
    if len(content) > MAX_BYTES:
        raise ModelFormatError(f"the ONNX graph has {len(content)} bytes; the limit is {MAX_BYTES}")
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except PASSING:
        raise
    except Exception as error:  # protobuf's own errors differ between its implementations
        raise ModelFormatError(f"not an ONNX graph ({len(content)} bytes: {error}); export it again") from error
    graph = model.graph
    _refuse(bool(model.functions or model.training_info), "holds functions or training code")
    _refuse(bool(graph.sparse_initializer), "holds sparse weights")
    for tensor in graph.initializer:
        _refuse_outside(tensor)
    for node in graph.node:
        _refuse(node.domain not in ("", "ai.onnx"), f"uses the operator {node.domain}.{node.op_type}")
        for attribute in node.attribute:
            nested = attribute.HasField("g") or attribute.graphs or attribute.HasField("sparse_tensor")
            _refuse(bool(nested), f"has a graph inside the operator {node.op_type}")
            for tensor in (attribute.t, *attribute.tensors):
                _refuse_outside(tensor)
    weights = {tensor.name for tensor in graph.initializer}
    given = [value for value in graph.input if value.name not in weights]
    if len(given) != 1 or len(graph.output) != 1:
        raise ModelFormatError(f"the graph has {len(given)} inputs and {len(graph.output)} outputs, not one of each")
    images, answers = _sides(given[0]), _sides(graph.output[0])
    if len(images) != 4 or images[0] or images[1] != 1 or not all(images[2:]) or len(answers) != 2 or answers[0]:
        raise ModelFormatError(
            f"the graph takes {images} and answers {answers} (0: any); "
            "export it with a free number of images and one channel"
        )
    return answers[1], images[2], images[3]


def _sides(value: onnx.ValueInfoProto) -> list[int]:
    """The declared shape; 0 where any size fits."""
    return [side.dim_value for side in value.type.tensor_type.shape.dim]


def _refuse_outside(tensor: onnx.TensorProto) -> None:
    outside = bool(tensor.external_data) or tensor.data_location == tensor.EXTERNAL
    _refuse(outside, f"keeps the tensor {tensor.name[:60]!r} in another file")


def _refuse(bad: bool, what: str) -> None:
    if bad:
        raise ModelFormatError(
            f"refused to load the ONNX graph: it {what}; load only models that this platform exported"
        )
