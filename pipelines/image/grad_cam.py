"""Grad-CAM: a heat map of which parts of an image speak for a class.

Grad-CAM (Selvaraju et al., ICCV 2017) on the last convolution block, by Captum. A map says which places moved the
class's logit, not that the model is right; `tests/` checks that it follows the weights (Adebayo et al., NeurIPS 2018).
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from pipelines.engines.graph_split import SplitModel, split_at_last_conv
from pipelines.engines.torch_engine import to_tensor
from pipelines.errors import DataError

OVERLAY_SIDE = 224
OVERLAY_OPACITY = 0.55


@dataclass(frozen=True, eq=False)
class HeatMap:
    """How much each place speaks for a class, (height, width) from 0 to 1; all 0 where nothing speaks for it."""

    heat: NDArray[np.float32]
    class_index: int


class GradCamExplainer:
    """A model cut for explanations; cut once, used often, the weights are shared. Threads may share it."""

    def __init__(self, module: nn.Module, classes: int) -> None:
        """Raise ModelFormatError where the model has no graph to cut, or no convolution."""
        self._split_model: SplitModel = split_at_last_conv(module)
        self._lock = threading.Lock()
        self._classes = classes

    def __call__(self, image: NDArray[np.uint8], class_index: int | None = None) -> HeatMap:
        """The map of a grey image (height, width) for a class, that of the answer unless another is asked for."""
        from captum.attr import LayerGradCam  # takes a moment to import, and few processes explain

        if image.ndim != 2 or image.dtype != np.uint8:
            raise DataError(f"an image of shape {image.shape} and type {image.dtype} has no map; give one grey image")
        batch = to_tensor(image[None])
        with self._lock:  # Captum hangs hooks into the weights: any other passage meanwhile would be taken for this one
            if class_index is None:
                with torch.inference_mode():
                    class_index = int(self._split_model(batch).argmax())
            if not 0 <= class_index < self._classes:
                raise DataError(f"class index {class_index} is not known; give one from 0 to {self._classes - 1}")
            camera = LayerGradCam(self._split_model, self._split_model.body)
            with torch.enable_grad():
                small = camera.attribute(batch.requires_grad_(True), target=class_index, relu_attributions=True)
        large = functional.interpolate(small.detach(), image.shape, mode="bilinear", align_corners=False)[0, 0]
        heat: NDArray[np.float32] = large.numpy().astype(np.float32)
        top = float(heat.max())
        return HeatMap(heat / top if top > 0 else heat, class_index)


def render_overlay(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> bytes:
    """The image under its heat map as a PNG, enlarged: black nothing, red to yellow the most."""
    strength = np.clip(heat, 0.0, 1.0)
    colour = np.stack(
        [np.clip(3 * strength, 0, 1), np.clip(3 * strength - 1, 0, 1), np.clip(3 * strength - 2, 0, 1)], -1
    )
    veil = (OVERLAY_OPACITY * strength)[..., None]
    mixed = (1 - veil) * (image[..., None] / 255.0) + veil * colour
    picture = Image.fromarray(np.rint(255 * mixed).astype(np.uint8))
    height, width = image.shape
    factor = max(1, OVERLAY_SIDE // max(height, width))
    out = io.BytesIO()
    picture.resize((width * factor, height * factor), Image.Resampling.NEAREST).save(out, format="PNG")
    return out.getvalue()
