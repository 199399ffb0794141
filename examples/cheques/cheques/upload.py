"""Decodes an uploaded picture as a person would see it, within bounds that a hostile file cannot pass."""

from __future__ import annotations

import math
import warnings
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from cheques.errors import UploadError, UploadTooLargeError

FORMATS: Final = ("JPEG", "PNG", "TIFF")
WORK_SIDE: Final = 2_400
"""Pixels of the longer side with which cheques are sought; larger pictures are made smaller."""
MIN_SIDE: Final = 120
STRIP_ROWS: Final = 64
"""Rows of the smaller picture that are made at once."""
START_OF_SCAN: Final = b"\xff\xda"
MAX_SCANS: Final = 64
"""A progressive photograph has about ten, its preview as many."""


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
        if isinstance(opened, JpegImageFile):
            _check_scans(content)
            opened.draft("RGB", (WORK_SIDE, WORK_SIDE))
        small = ImageOps.exif_transpose(_reduced(opened))
        small.thumbnail((WORK_SIDE, WORK_SIDE), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.uint8)


def _check_scans(content: bytes) -> None:
    """Refuse a JPEG that repeats its scans: each is a pass over all pixels, for a few bytes."""
    scans = content.count(START_OF_SCAN)  # these two bytes never stand within a scan's data
    if scans > MAX_SCANS:
        raise UploadError(f"the JPEG has {scans} scans, and at most {MAX_SCANS} are decoded; save it anew as a JPEG")


def _reduced(opened: Image.Image) -> Image.Image:
    """The picture in RGB, made smaller strip by strip where it is large: at no time are there two large pictures."""
    opened.load()
    width, height = opened.size
    factor = max(1, max(width, height) // WORK_SIDE)
    rows = STRIP_ROWS * factor
    tops = range(0, height, rows)
    deepest = max((_deepest(opened.crop((0, top, width, min(height, top + rows)))) for top in tops), default=0.0)
    reduced = Image.new("RGB", (math.ceil(width / factor), math.ceil(height / factor)))
    for top in tops:
        strip = _on_paper(opened.crop((0, top, width, min(height, top + rows))), deepest)
        reduced.paste(strip.reduce(factor), (0, top // factor))
    reduced.getexif()[ExifTags.Base.Orientation] = opened.getexif().get(ExifTags.Base.Orientation, 1)
    return reduced


def _is_deep(image: Image.Image) -> bool:
    """Whether its greys have more than eight bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def _deepest(image: Image.Image) -> float:
    """The brightest of deep greys; 0 of any other picture."""
    return float(np.nan_to_num(np.asarray(image, np.float32)).max(initial=0)) if _is_deep(image) else 0.0


def _on_paper(image: Image.Image, deepest: float) -> Image.Image:
    """The picture in RGB; what is transparent shows white, and deeper greys are brought to eight bits."""
    if _is_deep(image):
        top = 65_535.0 if deepest > 255 else 255.0
        deep = np.nan_to_num(np.asarray(image, np.float32)) * (255 / top)
        return Image.fromarray(np.clip(deep, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        paper = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(paper, layered).convert("RGB")
    return image.convert("RGB")
