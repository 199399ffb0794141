"""Imports ONNX Runtime with its telemetry off.

Since 1.32 it looks up a host of its maker's and keeps a device id below the user's cache, from its import on.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any, Final

TELEMETRY_OFF: Final = {"ORT_DISABLE_TELEMETRY": "1"}
"""What must stand in the environment before the first import, unless somebody set it otherwise."""


def disable_telemetry(environ: MutableMapping[str, str]) -> None:
    """Set what keeps ONNX Runtime silent; a value that is there and not empty stays."""
    for name, value in TELEMETRY_OFF.items():
        environ[name] = environ.get(name) or value


def import_onnxruntime() -> Any:  # noqa: ANN401 - the library has no types
    """The library."""
    disable_telemetry(os.environ)
    import onnxruntime

    return onnxruntime
