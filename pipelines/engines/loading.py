"""Loads a downloaded version with the engine that is wanted."""

from __future__ import annotations

import logging
from pathlib import Path

from pipelines.engines.inference_engine import EngineConfig, InferenceEngine, resolve_device, resolve_engine
from registry.model_package import MODEL_FILE, ONNX_FILE

log = logging.getLogger(__name__)


def load_engine(folder: Path, classes: tuple[str, ...], config: EngineConfig) -> InferenceEngine:
    """The model of a downloaded version, on the engine that is asked for.

    `auto` is ONNX Runtime on the CPU where the version has an ONNX graph, else PyTorch. A version without one is
    answered by PyTorch also where ONNX Runtime was asked for: an older model must not stop a server.
    """
    wanted = resolve_engine(config)
    if wanted == "onnx" and not (folder / ONNX_FILE).is_file():
        log.warning("%s has no ONNX graph (its export was missing or failed): PyTorch answers", folder)
        wanted = "torch"
    if wanted == "onnx":
        from pipelines.engines.onnx_engine import load_onnx_engine

        return load_onnx_engine(folder / ONNX_FILE, classes, config.threads)
    from pipelines.engines.torch_engine import load_torch_engine

    return load_torch_engine(folder / MODEL_FILE, classes, device=resolve_device(config), threads=config.threads)
