"""Loads a downloaded version with the engine that is wanted."""

from __future__ import annotations

import logging
from pathlib import Path

from pipelines.engines.inference_engine import EngineConfig, InferenceEngine, resolve_device, resolve_engine
from registry.model_contract import ModelContract, TableInputs
from registry.model_package import MODEL_FILE, ONNX_FILE
from registry.prediction_task import Sequence

log = logging.getLogger(__name__)


def load_engine(folder: Path, contract: ModelContract, config: EngineConfig) -> InferenceEngine:
    """The model of a downloaded version, on the engine that is asked for.

    A model of a table, and one of texts, is its ONNX graph. For others `auto` is ONNX Runtime on the CPU where the
    version has an ONNX graph, else PyTorch. A version without one is answered by PyTorch also where ONNX Runtime was
    asked for: an older model must not stop a server.
    """
    if isinstance(contract.inputs, TableInputs):
        from pipelines.engines.table_engine import load_table_engine

        return load_table_engine(folder / ONNX_FILE, contract, config.threads)
    if isinstance(contract.task, Sequence):
        from pipelines.strings.amounts.amount_engine import load_amount_engine

        return load_amount_engine(folder / ONNX_FILE, contract, config.threads)
    wanted, classes = resolve_engine(config), contract.classes
    if wanted == "onnx" and not (folder / ONNX_FILE).is_file():
        log.warning("%s has no ONNX graph (its export was missing or failed): PyTorch answers", folder)
        wanted = "torch"
    if wanted == "onnx":
        from pipelines.engines.onnx_engine import load_onnx_engine

        return load_onnx_engine(folder / ONNX_FILE, classes, config.threads)
    from pipelines.engines.torch_engine import load_torch_engine

    return load_torch_engine(folder / MODEL_FILE, classes, device=resolve_device(config), threads=config.threads)


def load_reference_engine(folder: Path, contract: ModelContract) -> tuple[InferenceEngine, Path]:
    """The model of a downloaded version as candidates are compared with it, and its file.

    That is PyTorch's graph where the version has one, as it has where a network was trained; else its ONNX graph.
    """
    if (folder / MODEL_FILE).is_file():
        from pipelines.engines.torch_engine import load_torch_engine

        return load_torch_engine(folder / MODEL_FILE, contract.classes), folder / MODEL_FILE
    return load_engine(folder, contract, EngineConfig()), folder / ONNX_FILE
