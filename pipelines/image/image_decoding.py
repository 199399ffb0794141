"""Decodes images from outside as a person sees them, alike for servers, devices and trainings.

A file is looked over before anything is unpacked: its chunks or segments are counted, its size and what it costs are
read, and only what the pixels need is handed to Pillow. Needs NumPy and Pillow alone, so that a device can have it.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_left, bisect_right
from io import BytesIO
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, UnidentifiedImageError

Polarity = Literal["auto", "light-on-dark", "dark-on-light"]
POLARITIES: Final[tuple[str, ...]] = get_args(Polarity)
ImageFormat = Literal["PNG", "JPEG"]

MIN_COUNTED_SIDE: Final = 64
"""A shorter side counts as so many pixels: a line takes its time however short it is."""
MAX_CHUNKS: Final = 10_000
MAX_SEGMENTS: Final = 1_000
MAX_SCANS: Final = 32
SCANS_PER_DECODE: Final = 8
"""So many scans of a JPEG, as encoders write them, cost as much as its pixels."""
MAX_EXIF_ENTRIES: Final = 500
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_chunk_head = struct.Struct(">I4s").unpack_from
_ihdr = struct.Struct(">IIBBBBB").unpack_from
_IEND: Final = b"\0\0\0\0IEND\xaeB`\x82"
_MAX_SEPARATE_IDATS: Final = 8
_SINGLE_CHUNKS: Final = frozenset({b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"eXIf"})
_MAX_CHUNK_BYTES: Final = {b"PLTE": 768, b"tRNS": 256, b"gAMA": 4, b"sRGB": 1, b"eXIf": 64 * 1024}
_HUFFMAN_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
_OTHER_FRAMES: Final = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xDE})
_SCREEN_GAMMA: Final = 2.2
_DARK_LEVELS: Final = bytes(range(64))
_GROUND_TOLERANCE: Final = 48
_MIN_GROUND_SHARE: Final = 2 / 3
_OUTLIER_SHARE: Final = 0.005
_EXIF_TRANSPOSES: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageDecodeError(ValueError):
    """A file that is no whole PNG or JPEG, or one that is not read here; the text goes behind the image's name."""


class ImageHeader(NamedTuple):
    """What a file says of its image, and the part of the file that the pixels need."""

    file_format: ImageFormat
    width: int
    height: int
    data: bytes
    scans: int = 1
    orientation: int = 1
    gamma: float = 0.0
    """Of a PNG that names one and no colour space of its own, else 0."""
    transparent_value: tuple[int, ...] = ()
    """The grey level or the colour that counts as transparent, as the file has it."""
    bit_depth: int = 8

    @property
    def decode_cost(self) -> int:
        """What decoding costs, in pixels."""
        area = max(self.width, MIN_COUNTED_SIDE) * max(self.height, MIN_COUNTED_SIDE)
        return area * max(1, -(-self.scans // SCANS_PER_DECODE))


def parse_header(data: bytes) -> ImageHeader:
    """Look a file over in time that grows with its length only; raises ImageDecodeError for what is no PNG or JPEG."""
    if data[:8] == PNG_SIGNATURE:
        return _parse_png(data)
    if data[:3] == b"\xff\xd8\xff":
        return _parse_jpeg(data)
    raise ImageDecodeError(f"is neither PNG nor JPEG ({len(data)} bytes)")


def _parse_png(data: bytes) -> ImageHeader:
    if len(data) < 33 or data[8:16] != b"\0\0\0\rIHDR":
        raise ImageDecodeError(f"is neither PNG nor JPEG ({len(data)} bytes)")
    columns, rows, depth, colour, *_ = _ihdr(data, 16)
    span_by_kind: dict[bytes, tuple[int, int]] = {}
    pixel_chunks: list[tuple[int, int]] = []
    offset, chunks, end = 33, 1, len(data)
    while offset + 12 <= end:
        length, kind = _chunk_head(data, offset)
        chunks, next_offset = chunks + 1, offset + 12 + length
        if chunks > MAX_CHUNKS:
            raise ImageDecodeError(f"has more than {MAX_CHUNKS} chunks; save it again")
        if kind == b"IEND":
            break
        if next_offset > end:
            raise ImageDecodeError("is broken or truncated (a chunk is longer than the file)")
        if kind == b"IDAT":
            if length:
                pixel_chunks.append((offset, next_offset))
        elif kind in _SINGLE_CHUNKS and kind not in span_by_kind and length <= _MAX_CHUNK_BYTES[kind]:
            span_by_kind[kind] = (offset, next_offset)
        offset = next_offset
    is_minimal = (
        len(pixel_chunks) == 1 and chunks == 3 and offset + 12 == end
    )  # header, pixels, end: nothing to leave out
    if is_minimal:
        return ImageHeader("PNG", columns, rows, data, bit_depth=depth)
    contents = {kind: data[first + 8 : last - 4] for kind, (first, last) in span_by_kind.items()}
    transparent = contents.get(b"tRNS", b"")
    levels = (
        struct.unpack(f">{len(transparent) // 2}H", transparent)
        if (colour, len(transparent)) in ((0, 2), (2, 6))
        else ()
    )
    needed_chunks = [
        span_by_kind[kind] for kind in (b"PLTE", b"tRNS") if kind in span_by_kind and (kind == b"PLTE" or colour == 3)
    ]
    return ImageHeader(
        "PNG",
        columns,
        rows,
        _minimal_png(data, needed_chunks, pixel_chunks),
        orientation=_orientation(contents[b"eXIf"]) if b"eXIf" in contents else 1,
        gamma=_gamma(contents),
        transparent_value=levels,
        bit_depth=depth,
    )


def _minimal_png(data: bytes, needed_chunks: list[tuple[int, int]], pixel_chunks: list[tuple[int, int]]) -> bytes:
    """The file with the chunks that are kept alone, and not cut into very many pieces."""
    parts = [data[:33], *(data[first:last] for first, last in needed_chunks)]
    if len(pixel_chunks) <= _MAX_SEPARATE_IDATS:
        parts += [data[first:last] for first, last in pixel_chunks]
    else:
        merged_chunk = b"IDAT" + b"".join([data[first + 8 : last - 4] for first, last in pixel_chunks])
        parts += [struct.pack(">I", len(merged_chunk) - 4), merged_chunk, struct.pack(">I", zlib.crc32(merged_chunk))]
    return b"".join([*parts, _IEND])


def _gamma(chunks: dict[bytes, bytes]) -> float:
    if b"sRGB" in chunks or len(chunks.get(b"gAMA", b"")) != 4:
        return 0.0
    value: float = int.from_bytes(chunks[b"gAMA"], "big") / 100_000
    return value if 0.1 <= value <= 10 else 0.0


def _parse_jpeg(data: bytes) -> ImageHeader:
    needed_segments, frame, orientation, seen_markers = [b"\xff\xd8"], None, 0, set[int]()
    offset, end = 2, len(data)
    for _ in range(MAX_SEGMENTS):
        if offset + 4 > end or data[offset] != 0xFF:
            raise ImageDecodeError("is broken or truncated (its segments end too early)")
        marker = data[offset + 1]
        if marker == 0xFF:  # filling
            offset += 1
            continue
        if marker == 0xDA:
            break
        next_offset = offset + 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
        segment = data[offset:next_offset]
        if marker == 0x01 or 0xD0 <= marker <= 0xD9 or next_offset > end or next_offset < offset + 4:
            raise ImageDecodeError("is broken or truncated (a segment is not where it should be)")
        if marker in _OTHER_FRAMES or (marker in _HUFFMAN_FRAMES and (frame is not None or len(segment) < 10)):
            raise ImageDecodeError("is a JPEG of a kind that is not read here; save it as a usual JPEG or PNG")
        if marker in _HUFFMAN_FRAMES:
            frame = segment
        if marker == 0xE1 and segment[4:10] == b"Exif\0\0" and not orientation:
            orientation = _orientation(segment[10:])
        is_known_header = (marker == 0xE0 and segment[4:9] == b"JFIF\0") or (
            marker == 0xEE and segment[4:9] == b"Adobe"
        )
        if marker < 0xE0 or (is_known_header and marker not in seen_markers):
            needed_segments.append(segment)
            seen_markers.add(marker)
        offset = next_offset
    else:
        raise ImageDecodeError(f"has more than {MAX_SEGMENTS} segments before its pixels; save it again")
    if frame is None:
        raise ImageDecodeError("is broken or truncated (it does not say its size)")
    scans = data.count(b"\xff\xda", offset)
    if scans > MAX_SCANS:
        raise ImageDecodeError(f"is a JPEG of {scans} scans; at most {MAX_SCANS} are read: save it again")
    rows, columns = struct.unpack(">HH", frame[5:9])
    minimal = b"".join([*needed_segments, data[offset:]])
    return ImageHeader("JPEG", columns, rows, minimal, scans=scans, orientation=orientation or 1)


def _orientation(exif: bytes) -> int:
    """Which way up a camera says an image is: 1 to 8, and 1 where it says nothing that can be understood."""
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"

    def number(offset: int, size: int) -> int:
        return int.from_bytes(exif[offset : offset + size], order)

    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    first = number(4, 4)
    for entry in range(min(number(first, 2), MAX_EXIF_ENTRIES)):
        offset = first + 2 + 12 * entry
        if offset + 12 > len(exif):
            return 1
        if number(offset, 2) == 0x0112:
            value = number(offset + 8, 2)
            return value if number(offset + 2, 2) == 3 and 1 <= value <= 8 else 1
    return 1


def image_from_array(item: object, height: int, width: int) -> NDArray[np.uint8]:
    """A nested list of height × width numbers from 0 to 255 as greys; raises ImageDecodeError."""
    expected_text = f"a {height}×{width} array of numbers"
    try:
        array = np.asarray(item)
    except ValueError as error:
        raise ImageDecodeError(f"is ragged or nested too deep; send {expected_text}") from error
    if array.dtype.kind not in "iuf" and array.size:  # NumPy would read "12", true and null as numbers, too
        raise ImageDecodeError(f"is neither base64 text nor {expected_text}")
    if array.shape != (height, width):
        shape = "×".join(str(side) for side in array.shape) or "a single value"
        raise ImageDecodeError(f"has shape {shape}; this model takes {height}×{width}")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise ImageDecodeError("has pixels outside 0 to 255 (or not a number)")
    return np.asarray(np.rint(array), dtype=np.uint8)


def decode_image(header: ImageHeader, polarity: Polarity, height: int, width: int) -> NDArray[np.uint8]:
    """The greys of an image, ink bright on dark, fitted into height × width; raises ImageDecodeError."""
    try:
        with Image.open(BytesIO(header.data), formats=(header.file_format,)) as opened:
            if opened.size != (header.width, header.height):
                raise ImageDecodeError("is broken or truncated (it has two sizes)")
            opened.load()
            grey = _to_grey(opened, header, polarity)
    except (ImageDecodeError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ImageDecodeError(f"is neither PNG nor JPEG ({len(header.data)} bytes that can be read)") from error
    except Exception as error:  # Pillow raises anything on a broken file; all mean one thing
        raise ImageDecodeError(f"is broken or truncated ({str(error)[:200]})") from error
    if header.orientation in _EXIF_TRANSPOSES:
        grey = grey.transpose(_EXIF_TRANSPOSES[header.orientation])
    return ink_on_dark(grey, polarity, height, width)


def ink_on_dark(grey: Image.Image, polarity: Polarity, height: int, width: int) -> NDArray[np.uint8]:
    """The greys of a grey image, ink bright on dark, fitted into height × width."""
    raw = grey.tobytes()
    if polarity == "dark-on-light" or (polarity == "auto" and _is_dark_on_light(grey, raw)):
        grey = ImageChops.invert(grey)
        raw = grey.tobytes()
    if grey.size != (width, height):
        return fit_to_canvas(grey, height, width)
    return np.frombuffer(raw, np.uint8).reshape(height, width)


def _to_grey(image: Image.Image, header: ImageHeader, polarity: Polarity) -> Image.Image:
    """An image as greys, what is transparent in it shown on a ground from which its ink stands out."""
    alpha: Image.Image | None = None
    if image.mode.startswith("I"):
        values = np.asarray(image)
        grey = Image.fromarray((values // 256).clip(0, 255).astype(np.uint8))
        alpha = _mask_image(values != header.transparent_value[0]) if header.transparent_value else None
    elif image.mode == "LA":
        grey, alpha = image.split()
    elif image.mode in ("PA", "RGBA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        grey, alpha = layer.convert("L"), layer.getchannel("A")
    else:
        grey = image if image.mode == "L" else image.convert("L")
        alpha = _colour_key_mask(image, grey, header)
    if header.gamma and abs(header.gamma * _SCREEN_GAMMA - 1) > 0.05:
        power = 1 / (header.gamma * _SCREEN_GAMMA)
        grey = grey.point([round(255 * (level / 255) ** power) for level in range(256)])
    return grey if alpha is None else _composite_on_ground(grey, alpha, polarity)


def _colour_key_mask(image: Image.Image, grey: Image.Image, header: ImageHeader) -> Image.Image | None:
    """Where an image is not of the one level or colour that its file calls transparent."""
    if not header.transparent_value:
        return None
    if image.mode == "RGB":
        transparent_colour = [
            level >> 8 if header.bit_depth == 16 else level & 255 for level in header.transparent_value
        ]  # as Pillow reads them
        return _mask_image((np.asarray(image) != np.array(transparent_colour, np.uint8)).any(axis=2))
    level = (header.transparent_value[0] & ((1 << header.bit_depth) - 1)) * (255 // ((1 << header.bit_depth) - 1))
    return _mask_image(np.asarray(grey) != level)


def _mask_image(where: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(where.astype(np.uint8) * np.uint8(255))


def _composite_on_ground(grey: Image.Image, alpha: Image.Image, polarity: Polarity) -> Image.Image:
    """On black or white: what the polarity says, else the one that the visible ink is further from."""
    black = ImageChops.multiply(grey, alpha)
    is_on_white = polarity == "dark-on-light"
    if polarity == "auto":
        ink, cover = (sum(level * count for level, count in enumerate(layer.histogram())) for layer in (black, alpha))
        is_on_white = cover > 0 and ink / cover < 0.5
    return ImageChops.add(black, ImageChops.invert(alpha)) if is_on_white else black


def _is_dark_on_light(grey: Image.Image, raw: bytes) -> bool:
    """Whether what differs most from the border is darker than it: ink on paper."""
    columns = grey.width
    border = raw[:columns] + raw[-columns:] + raw[::columns] + raw[columns - 1 :: columns]
    if not border.translate(None, _DARK_LEVELS):
        return False  # a dark border all around, as in MNIST
    ordered = sorted(border)
    ground = ordered[(len(ordered) - 1) // 2]
    if (
        bisect_right(ordered, ground + _GROUND_TOLERANCE) - bisect_left(ordered, ground - _GROUND_TOLERANCE)
        < len(ordered) * _MIN_GROUND_SHARE
    ):
        return False  # no ground that could be told from ink
    levels, few = grey.histogram(), len(raw) * _OUTLIER_SHARE
    return ground - _first_level_above(levels, few) > 255 - _first_level_above(levels[::-1], few) - ground


def _first_level_above(counts: list[int], few: float) -> int:
    """The first level with more than a few pixels up to it."""
    total = 0
    for level, count in enumerate(counts):
        total += count
        if total > few:
            return level
    return len(counts) - 1


def fit_to_canvas(grey: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    """As large as height × width allows, in the middle, its proportions kept, dark around it."""
    scale = min(width / grey.width, height / grey.height)
    size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
    sheet = Image.new("L", (width, height))
    sheet.paste(grey.resize(size, Image.Resampling.LANCZOS), ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.asarray(sheet, dtype=np.uint8)
