"""Pictures from outside, read as a person sees them, by servers, devices and trainings alike; it knows no model.

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
Form = Literal["PNG", "JPEG"]

LEAST_SIDE: Final = 64
"""A shorter side counts as so many pixels: a line takes its time however short it is."""
MOST_CHUNKS: Final = 10_000
MOST_SEGMENTS: Final = 1_000
MOST_SCANS: Final = 32
SCANS_AT_ONCE: Final = 8
"""So many scans of a JPEG, as encoders write them, cost as much as its pixels."""
MOST_EXIF_ENTRIES: Final = 500
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_chunk_head = struct.Struct(">I4s").unpack_from
_ihdr = struct.Struct(">IIBBBBB").unpack_from
_IEND: Final = b"\0\0\0\0IEND\xaeB`\x82"
_FEW_IDATS: Final = 8
_ONCE: Final = frozenset({b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"eXIf"})
_LARGEST: Final = {b"PLTE": 768, b"tRNS": 256, b"gAMA": 4, b"sRGB": 1, b"eXIf": 64 * 1024}
_HUFFMAN_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
_OTHER_FRAMES: Final = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xDE})
_SCREEN_GAMMA: Final = 2.2
_DARK: Final = bytes(range(64))
_EVEN: Final = 48
_MOSTLY: Final = 2 / 3
_OUTLIERS: Final = 0.005
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureError(ValueError):
    """A file that is no whole PNG or JPEG, or one that is not read here; the text goes behind the picture's name."""


class Outline(NamedTuple):
    """What a file says of its picture, and the part of the file that the pixels need."""

    form: Form
    columns: int
    rows: int
    data: bytes
    scans: int = 1
    orientation: int = 1
    gamma: float = 0.0
    """Of a PNG that names one and no colour space of its own, else 0."""
    clear: tuple[int, ...] = ()
    """The grey level or the colour that counts as transparent, as the file has it."""
    depth: int = 8

    @property
    def work(self) -> int:
        """What decoding costs, in pixels."""
        area = max(self.columns, LEAST_SIDE) * max(self.rows, LEAST_SIDE)
        return area * max(1, -(-self.scans // SCANS_AT_ONCE))


def outline(data: bytes) -> Outline:
    """Look a file over in time that grows with its length only; raises PictureError for what is no PNG or JPEG."""
    if data[:8] == PNG_SIGNATURE:
        return _png(data)
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg(data)
    raise PictureError(f"is neither PNG nor JPEG ({len(data)} bytes)")


def _png(data: bytes) -> Outline:
    if len(data) < 33 or data[8:16] != b"\0\0\0\rIHDR":
        raise PictureError(f"is neither PNG nor JPEG ({len(data)} bytes)")
    columns, rows, depth, colour, *_ = _ihdr(data, 16)
    once: dict[bytes, tuple[int, int]] = {}
    pixels: list[tuple[int, int]] = []
    place, chunks, end = 33, 1, len(data)
    while place + 12 <= end:
        size, kind = _chunk_head(data, place)
        chunks, after = chunks + 1, place + 12 + size
        if chunks > MOST_CHUNKS:
            raise PictureError(f"has more than {MOST_CHUNKS} chunks; save it again")
        if kind == b"IEND":
            break
        if after > end:
            raise PictureError("is broken or truncated (a chunk is longer than the file)")
        if kind == b"IDAT":
            if size:
                pixels.append((place, after))
        elif kind in _ONCE and kind not in once and size <= _LARGEST[kind]:
            once[kind] = (place, after)
        place = after
    lean = len(pixels) == 1 and chunks == 3 and place + 12 == end  # header, pixels, end: nothing to leave out
    if lean:
        return Outline("PNG", columns, rows, data, depth=depth)
    found = {kind: data[first + 8 : last - 4] for kind, (first, last) in once.items()}
    clear = found.get(b"tRNS", b"")
    levels = struct.unpack(f">{len(clear) // 2}H", clear) if (colour, len(clear)) in ((0, 2), (2, 6)) else ()
    kept = [once[kind] for kind in (b"PLTE", b"tRNS") if kind in once and (kind == b"PLTE" or colour == 3)]
    return Outline(
        "PNG",
        columns,
        rows,
        _rebuilt(data, kept, pixels),
        orientation=_orientation(found[b"eXIf"]) if b"eXIf" in found else 1,
        gamma=_gamma(found),
        clear=levels,
        depth=depth,
    )


def _rebuilt(data: bytes, kept: list[tuple[int, int]], pixels: list[tuple[int, int]]) -> bytes:
    """The file with the chunks that are kept alone, and not cut into very many pieces."""
    parts = [data[:33], *(data[first:last] for first, last in kept)]
    if len(pixels) <= _FEW_IDATS:
        parts += [data[first:last] for first, last in pixels]
    else:
        whole = b"IDAT" + b"".join([data[first + 8 : last - 4] for first, last in pixels])
        parts += [struct.pack(">I", len(whole) - 4), whole, struct.pack(">I", zlib.crc32(whole))]
    return b"".join([*parts, _IEND])


def _gamma(found: dict[bytes, bytes]) -> float:
    if b"sRGB" in found or len(found.get(b"gAMA", b"")) != 4:
        return 0.0
    value: float = int.from_bytes(found[b"gAMA"], "big") / 100_000
    return value if 0.1 <= value <= 10 else 0.0


def _jpeg(data: bytes) -> Outline:
    kept, frame, orientation, seen = [b"\xff\xd8"], None, 0, set[int]()
    place, end = 2, len(data)
    for _ in range(MOST_SEGMENTS):
        if place + 4 > end or data[place] != 0xFF:
            raise PictureError("is broken or truncated (its segments end too early)")
        marker = data[place + 1]
        if marker == 0xFF:  # filling
            place += 1
            continue
        if marker == 0xDA:
            break
        after = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        segment = data[place:after]
        if marker == 0x01 or 0xD0 <= marker <= 0xD9 or after > end or after < place + 4:
            raise PictureError("is broken or truncated (a segment is not where it should be)")
        if marker in _OTHER_FRAMES or (marker in _HUFFMAN_FRAMES and (frame is not None or len(segment) < 10)):
            raise PictureError("is a JPEG of a kind that is not read here; save it as a usual JPEG or PNG")
        if marker in _HUFFMAN_FRAMES:
            frame = segment
        if marker == 0xE1 and segment[4:10] == b"Exif\0\0" and not orientation:
            orientation = _orientation(segment[10:])
        named = (marker == 0xE0 and segment[4:9] == b"JFIF\0") or (marker == 0xEE and segment[4:9] == b"Adobe")
        if marker < 0xE0 or (named and marker not in seen):
            kept.append(segment)
            seen.add(marker)
        place = after
    else:
        raise PictureError(f"has more than {MOST_SEGMENTS} segments before its pixels; save it again")
    if frame is None:
        raise PictureError("is broken or truncated (it does not say its size)")
    scans = data.count(b"\xff\xda", place)
    if scans > MOST_SCANS:
        raise PictureError(f"is a JPEG of {scans} scans; at most {MOST_SCANS} are read: save it again")
    rows, columns = struct.unpack(">HH", frame[5:9])
    lean = b"".join([*kept, data[place:]])
    return Outline("JPEG", columns, rows, lean, scans=scans, orientation=orientation or 1)


def _orientation(exif: bytes) -> int:
    """Which way up a camera says a picture is: 1 to 8, and 1 where it says nothing that can be understood."""
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"

    def number(place: int, size: int) -> int:
        return int.from_bytes(exif[place : place + size], order)

    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    first = number(4, 4)
    for entry in range(min(number(first, 2), MOST_EXIF_ENTRIES)):
        place = first + 2 + 12 * entry
        if place + 12 > len(exif):
            return 1
        if number(place, 2) == 0x0112:
            value = number(place + 8, 2)
            return value if number(place + 2, 2) == 3 and 1 <= value <= 8 else 1
    return 1


def pixels(item: object, height: int, width: int) -> NDArray[np.uint8]:
    """A nested list of height × width numbers from 0 to 255 as greys; raises PictureError."""
    wanted = f"a {height}×{width} array of numbers"
    try:
        array = np.asarray(item)
    except ValueError as error:
        raise PictureError(f"is ragged or nested too deep; send {wanted}") from error
    if array.dtype.kind not in "iuf" and array.size:  # NumPy would read "12", true and null as numbers, too
        raise PictureError(f"is neither base64 text nor {wanted}")
    if array.shape != (height, width):
        shape = "×".join(str(side) for side in array.shape) or "a single value"
        raise PictureError(f"has shape {shape}; this model takes {height}×{width}")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
        raise PictureError("has pixels outside 0 to 255 (or not a number)")
    return np.asarray(np.rint(array), dtype=np.uint8)


def read(found: Outline, polarity: Polarity, height: int, width: int) -> NDArray[np.uint8]:
    """The greys of a picture, ink bright on dark, fitted into height × width; raises PictureError."""
    try:
        with Image.open(BytesIO(found.data), formats=(found.form,)) as opened:
            if opened.size != (found.columns, found.rows):
                raise PictureError("is broken or truncated (it has two sizes)")
            opened.load()
            grey = _grey(opened, found, polarity)
    except (PictureError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise PictureError(f"is neither PNG nor JPEG ({len(found.data)} bytes that can be read)") from error
    except Exception as error:  # Pillow raises anything on a broken file; all mean one thing
        raise PictureError(f"is broken or truncated ({str(error)[:200]})") from error
    if found.orientation in _TURNS:
        grey = grey.transpose(_TURNS[found.orientation])
    raw = grey.tobytes()
    if polarity == "dark-on-light" or (polarity == "auto" and _is_dark_ink(grey, raw)):
        grey = ImageChops.invert(grey)
        raw = grey.tobytes()
    if grey.size != (width, height):
        return _fitted(grey, height, width)
    return np.frombuffer(raw, np.uint8).reshape(height, width)


def _grey(picture: Image.Image, found: Outline, polarity: Polarity) -> Image.Image:
    """A picture as greys, what is transparent in it shown on a ground from which its ink stands out."""
    alpha: Image.Image | None = None
    if picture.mode.startswith("I"):
        values = np.asarray(picture)
        grey = Image.fromarray((values // 256).clip(0, 255).astype(np.uint8))
        alpha = _seen(values != found.clear[0]) if found.clear else None
    elif picture.mode == "LA":
        grey, alpha = picture.split()
    elif picture.mode in ("PA", "RGBA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        grey, alpha = layer.convert("L"), layer.getchannel("A")
    else:
        grey = picture if picture.mode == "L" else picture.convert("L")
        alpha = _unlike(picture, grey, found)
    if found.gamma and abs(found.gamma * _SCREEN_GAMMA - 1) > 0.05:
        power = 1 / (found.gamma * _SCREEN_GAMMA)
        grey = grey.point([round(255 * (level / 255) ** power) for level in range(256)])
    return grey if alpha is None else _on_ground(grey, alpha, polarity)


def _unlike(picture: Image.Image, grey: Image.Image, found: Outline) -> Image.Image | None:
    """Where a picture is not of the one level or colour that its file calls transparent."""
    if not found.clear:
        return None
    if picture.mode == "RGB":
        shown = [level >> 8 if found.depth == 16 else level & 255 for level in found.clear]  # as Pillow reads them
        return _seen((np.asarray(picture) != np.array(shown, np.uint8)).any(axis=2))
    level = (found.clear[0] & ((1 << found.depth) - 1)) * (255 // ((1 << found.depth) - 1))
    return _seen(np.asarray(grey) != level)


def _seen(where: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(where.astype(np.uint8) * np.uint8(255))


def _on_ground(grey: Image.Image, alpha: Image.Image, polarity: Polarity) -> Image.Image:
    """On black or white: what the polarity says, else the one that the visible ink is further from."""
    black = ImageChops.multiply(grey, alpha)
    white = polarity == "dark-on-light"
    if polarity == "auto":
        ink, cover = (sum(level * count for level, count in enumerate(each.histogram())) for each in (black, alpha))
        white = cover > 0 and ink / cover < 0.5
    return ImageChops.add(black, ImageChops.invert(alpha)) if white else black


def _is_dark_ink(grey: Image.Image, raw: bytes) -> bool:
    """Whether what differs most from the border is darker than it: ink on paper."""
    columns = grey.width
    border = raw[:columns] + raw[-columns:] + raw[::columns] + raw[columns - 1 :: columns]
    if not border.translate(None, _DARK):
        return False  # a dark border all around, as in MNIST
    ordered = sorted(border)
    ground = ordered[(len(ordered) - 1) // 2]
    if bisect_right(ordered, ground + _EVEN) - bisect_left(ordered, ground - _EVEN) < len(ordered) * _MOSTLY:
        return False  # no ground that could be told from ink
    levels, few = grey.histogram(), len(raw) * _OUTLIERS
    return ground - _level(levels, few) > 255 - _level(levels[::-1], few) - ground


def _level(counts: list[int], few: float) -> int:
    """The first level with more than a few pixels up to it."""
    seen = 0
    for level, count in enumerate(counts):
        seen += count
        if seen > few:
            return level
    return len(counts) - 1


def _fitted(grey: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    """As large as height × width allows, in the middle, its proportions kept, dark around it."""
    scale = min(width / grey.width, height / grey.height)
    size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
    sheet = Image.new("L", (width, height))
    sheet.paste(grey.resize(size, Image.Resampling.LANCZOS), ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.asarray(sheet, dtype=np.uint8)
