"""Checks a raw tensor sent as a request's body and makes it the model's input.

`application/octet-stream` with the values row by row, little-endian: greys from 0 (ground) to 255 (ink), as in JSON.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mlplatform.errors import InvalidInputError, TooLargeError
from mlplatform.serve.inference.request_decoder import ImageDecoder
from pipelines.batch import Batch
from pipelines.data import image_batch

DTYPES: Final[dict[str, np.dtype[Any]]] = {"uint8": np.dtype("u1"), "float32": np.dtype("<f4")}


@dataclass(frozen=True)
class RawTensor:
    """The bytes, and what the headers say of them; an empty shape means as many images as there are bytes for."""

    data: bytes
    dtype: str = "uint8"
    shape: str = ""

    def to_model_input(self, decoder: ImageDecoder) -> Batch:
        """The images as rows of the model; raises InvalidInputError and TooLargeError."""
        if self.dtype not in DTYPES:
            raise InvalidInputError(f"x-tensor-dtype {self.dtype[:40]!r} is not understood; send uint8 or float32")
        size = DTYPES[self.dtype].itemsize
        count = self._image_count(decoder, size)
        if count > decoder.max_images:
            raise TooLargeError(f"{count} images in one request; at most {decoder.max_images} (PLATFORM_MAX_IMAGES)")
        wanted = count * decoder.height * decoder.width * size
        if count < 1 or len(self.data) != wanted:
            raise InvalidInputError(
                f"the tensor has {len(self.data)} bytes; {max(count, 1)} × {decoder.height} × {decoder.width} of "
                f"{self.dtype} have {wanted or decoder.height * decoder.width * size}"
            )
        values = np.frombuffer(self.data, DTYPES[self.dtype]).reshape(count, decoder.height, decoder.width)
        if self.dtype == "uint8":
            return image_batch(np.asarray(values, dtype=np.uint8))
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise InvalidInputError("the tensor has values outside 0 to 255 (or not a number)")
        return image_batch(np.asarray(np.rint(values), dtype=np.uint8))

    def _image_count(self, decoder: ImageDecoder, size: int) -> int:
        image_shape = (decoder.height, decoder.width)
        if not self.shape:
            return len(self.data) // (math.prod(image_shape) * size)
        parts = self.shape.split(",")
        if len(self.shape) > 100 or not all(part.strip().isdecimal() for part in parts):
            raise InvalidInputError(
                f"x-tensor-shape {self.shape[:40]!r} is no list of sizes; send it as n,height,width"
            )
        sides = tuple(int(part) for part in parts)
        if sides == image_shape:
            return 1
        if len(sides) not in (3, 4) or sides[-2:] != image_shape or (len(sides) == 4 and sides[1] != 1):
            sent_shape, model_shape = "×".join(map(str, sides)), "×".join(map(str, image_shape))
            raise InvalidInputError(
                f"the tensor has shape {sent_shape}; this model takes n×{model_shape} or n×1×{model_shape}"
            )
        return sides[0]
