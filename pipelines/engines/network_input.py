"""Turns images into the numbers a network takes, the same for every engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_network_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images (n, height, width) as the network takes them: float32 (n, 1, height, width) from 0 to 1."""
    floats = images.astype(np.float32)
    floats /= np.float32(255.0)
    # Not `[:, None]`: the axis' stride would be 0, which PyTorch takes for another memory layout, with other last bits.
    return floats.reshape(len(images), 1, *images.shape[1:])
