"""Packs grey pictures as the PNGs that the database keeps, and reads them again."""

import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from zlib_ng import zlib_ng

from pipelines.batch import Batch
from pipelines.data import image_batch
from pipelines.image.image_decoding import PNG_SIGNATURE
from pipelines.input_row import InputRow, image_size

Grey = NDArray[np.uint8]


def encode_png(image: Grey) -> bytes:
    """One grey image (height x width) as PNG. Written by hand: Pillow takes several times longer."""
    height, width = image.shape
    lines = np.zeros((height, width + 1), dtype=np.uint8)  # each line begins with its filter, none
    lines[:, 1:] = image
    return _png_header(height, width) + _png_chunk(b"IDAT", zlib_ng.compress(lines.tobytes(), 1)) + _PNG_END


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_PNG_END = _png_chunk(b"IEND", b"")


@lru_cache(16)
def _png_header(height: int, width: int) -> bytes:
    """The first bytes of a grey PNG; a model has one image size."""
    return PNG_SIGNATURE + _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


def decode_png(png: bytes) -> Grey:
    """The grey image (height x width) in a PNG."""
    with Image.open(BytesIO(png), formats=("PNG",)) as image:
        return np.asarray(image.convert("L"), dtype=np.uint8)


def pack_image(row: InputRow) -> bytes:
    """The picture of a row as PNG. Raises ValueError for what is no grey picture."""
    return encode_png(np.frombuffer(row.content, dtype=np.uint8).reshape(image_size(row.form)))


def unpack_images(kept: Sequence[bytes]) -> Batch:
    """The rows of these PNGs, all of one size, as a model takes them."""
    return image_batch(np.stack([decode_png(png) for png in kept]))
