"""Reads and writes the checkpoint from which a killed training goes on."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipelines.engines.atomic_write import atomic_write

MAX_CHECKPOINTS = 3
"""Checkpoints that a folder holds: of the training that runs, and of such as were killed and may go on."""


def checkpoint_path(folder: Path, key: str) -> Path:
    """Where a training's checkpoint lies; the oldest of others' beyond MAX_CHECKPOINTS are removed."""
    mine = folder / f"{key[:32]}.pt"
    others = [path for path in folder.glob("*.pt") if path != mine]
    for path in sorted(others, key=_age)[: max(0, len(others) - (MAX_CHECKPOINTS - 1))]:
        path.unlink(missing_ok=True)
    return mine


def write_checkpoint(path: Path, key: str, state: Mapping[str, Any]) -> None:
    """Keep the state under the identity of its training; a kill at any moment leaves the old file or the new one."""
    with atomic_write(path, durable=True) as file:
        torch.save({"identity": key, "state": dict(state)}, file)


def read_checkpoint(path: Path, key: str) -> dict[str, Any] | None:
    """The state kept for this training; None where there is none, or one of another training, or a broken file.

    Only tensors and plain values are read (`weights_only`): a file put there by others runs no code.
    """
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile):
        return None
    if not isinstance(kept, dict) or kept.get("identity") != key or not isinstance(kept.get("state"), dict):
        return None
    state: dict[str, Any] = kept["state"]
    return state


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # its own training ended this moment
        return 0.0
