"""Exports a network as an ONNX graph, and computes such graphs with ONNX Runtime once they are proved plain."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.answers import ClassReader
from pipelines.batch import Batch
from pipelines.data import images_of
from pipelines.engines.graph_check import (
    STANDARD_DOMAINS,
    declared_shape,
    graph_inputs,
    load_plain_graph,
    reject_graph_if,
)
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
from registry.model_contract import ImageInputs

if TYPE_CHECKING:
    import onnxruntime

    from pipelines.engines.exportable import Exportable

T = TypeVar("T")
log = logging.getLogger(__name__)
MAX_ABS_DIFFERENCE: Final = 1e-4
"""Largest difference of a probability between both engines that an export may have."""
INPUT_NAME, OUTPUT_NAME = "images", "probabilities"
GraphExport: TypeAlias = "Callable[[Exportable, Batch, NDArray[np.float32]], bytes | None]"
"""Makes a module's ONNX graph, given rows and their probabilities (n, classes); None where it is served without one."""


class OnnxEngine(InferenceEngine):
    """A model that ONNX Runtime answers, on the CPU."""

    name = "onnx"
    device = "cpu"

    def __init__(
        self, session: onnxruntime.InferenceSession, classes: tuple[str, ...], height: int, width: int
    ) -> None:
        super().__init__(ClassReader(classes), ImageInputs(height, width))
        self._session = session
        self._input_name, self._output_names = session.get_inputs()[0].name, [session.get_outputs()[0].name]

    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        [answer] = self._session.run(self._output_names, {self._input_name: to_network_input(images_of(batch))})
        probabilities: NDArray[np.float32] = answer
        return probabilities


def export_onnx(module: Exportable) -> bytes:
    """The module as an ONNX graph that takes any number of images; raises whatever PyTorch's exporter does."""
    import torch

    # They name every optional library that is not installed, and each node they fold.
    with suppress_logs("torch.onnx", "onnx_ir", "onnxscript"):
        made = torch.onnx.export(
            module.program,
            (module.example,),
            dynamo=True,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            verbose=False,
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
    return open_graph(path, lambda content: onnx_engine_from_bytes(content, classes, threads))


def open_graph(path: Path, open_bytes: Callable[[bytes], T]) -> T:
    """What `open_bytes` makes of a graph's file; its faults name the file, and those that pass say so."""
    content = read_model_bytes(path)
    try:
        return open_bytes(content)
    except ModelFormatError as error:
        raise ModelFormatError(f"{path}: {error}") from error
    except TRANSIENT_ERRORS as error:
        raise unreadable_error(path, error) from error


def onnx_engine_from_bytes(content: bytes, classes: tuple[str, ...], threads: int) -> OnnxEngine:
    """The graph in these bytes, ready to answer with so many intra-op threads."""
    answers, height, width = validate_graph(content)
    if answers != len(classes):
        raise ModelFormatError(f"the graph answers {answers} classes, not {len(classes)}; name the right classes")
    return OnnxEngine(open_session(content, threads), classes, height, width)


def open_session(content: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A graph that was checked, ready to be asked with so many intra-op threads."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except TRANSIENT_ERRORS:
        raise
    except Exception as error:  # ONNX Runtime raises anything on a broken graph; all mean one thing
        raise ModelFormatError(f"not a graph ONNX Runtime can answer with: {error}; export it again") from error


def validate_graph(content: bytes) -> tuple[int, int, int]:
    """Number of answers, height and width of a plain graph of pictures; ModelFormatError names what is not plain."""
    graph = load_plain_graph(content).graph
    for node in graph.node:
        reject_graph_if(node.domain not in STANDARD_DOMAINS, f"uses the operator {node.domain}.{node.op_type}")
    inputs = graph_inputs(graph)
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ModelFormatError(f"the graph has {len(inputs)} inputs and {len(graph.output)} outputs, not one of each")
    images, answers = declared_shape(inputs[0]), declared_shape(graph.output[0])
    if len(images) != 4 or images[0] or images[1] != 1 or not all(images[2:]) or len(answers) != 2 or answers[0]:
        raise ModelFormatError(
            f"the graph takes {images} and answers {answers} (0: any); "
            "export it with a free number of images and one channel"
        )
    return answers[1], images[2], images[3]
