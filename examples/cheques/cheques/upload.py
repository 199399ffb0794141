"""Decodes an uploaded picture as a person would see it, within bounds that a hostile file cannot pass."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cheques.errors import UploadError, UploadTooLargeError

FORMATS: Final = ("JPEG", "PNG", "TIFF")
WORK_SIDE: Final = 2_400
"""Pixels of the longer side with which cheques are sought; larger pictures are made smaller."""
MIN_SIDE: Final = 120


def decode_upload(content: bytes, max_bytes: int, max_pixels: int) -> NDArray[np.uint8]:
    """The picture, uint8 (height, width, 3), turned as its camera says; raises UploadError."""
    if not content:
        raise UploadError("the file is empty; send a photograph or a scan of a cheque")
    if len(content) > max_bytes:
        raise UploadTooLargeError(f"the file has {len(content)} bytes, and at most {max_bytes} are taken")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is bounded here
            return _decode(content, max_pixels)
    except UploadError:
        raise
    except UnidentifiedImageError as error:
        raise UploadError("the file is no picture; send JPEG, PNG or TIFF") from error
    except Exception as error:  # Pillow raises anything on a broken file; all mean one thing
        raise UploadError(
            f"the file cannot be read as a picture ({type(error).__name__}: {str(error)[:120]}); send JPEG, PNG or TIFF"
        ) from error


def _decode(content: bytes, max_pixels: int) -> NDArray[np.uint8]:
    with Image.open(BytesIO(content), formats=FORMATS) as opened:
        width, height = opened.size
        if width * height > max_pixels:  # the size stands in the file's head: nothing is decoded yet
            raise UploadTooLargeError(f"the picture has {width}x{height} pixels, and at most {max_pixels} are taken")
        if min(width, height) < MIN_SIDE:
            raise UploadError(f"the picture has {width}x{height} pixels; send one of at least {MIN_SIDE} on each side")
        if opened.format == "JPEG":
            opened.draft("RGB", (WORK_SIDE, WORK_SIDE))
        turned = ImageOps.exif_transpose(opened)
        flat = _on_paper(turned)
        flat.thumbnail((WORK_SIDE, WORK_SIDE), Image.Resampling.BOX)
        return np.asarray(flat, dtype=np.uint8)


def _on_paper(image: Image.Image) -> Image.Image:
    """The picture in RGB; what is transparent shows white, and deeper greys are brought to eight bits."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        deep = np.asarray(image, np.float32)
        top = 65_535.0 if float(deep.max(initial=0)) > 255 else 255.0
        return Image.fromarray(np.clip(np.nan_to_num(deep) * (255 / top), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        paper = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(paper, layered).convert("RGB")
    return image.convert("RGB")
