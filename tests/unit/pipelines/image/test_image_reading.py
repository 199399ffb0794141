"""Pictures are read as a person sees them, and what they cost is known before they are unpacked."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.image.image_decoding import (
    MAX_CHUNKS,
    MAX_SCANS,
    MAX_SEGMENTS,
    ImageDecodeError,
    ImageHeader,
    Polarity,
    decode_image,
    image_from_array,
    parse_header,
)

HEIGHT, WIDTH = 28, 28


def drawn() -> np.ndarray:
    """A four, bright on dark, that looks like itself in no other position."""
    grey = np.zeros((HEIGHT, WIDTH), np.uint8)
    grey[5:16, 7:10] = 255
    grey[13:16, 7:20] = 255
    grey[5:24, 16:19] = 255
    grey[4, 17] = 130
    return grey


FOUR = drawn()


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:  # noqa: ANN401 - Pillow's own
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth: int, colour: int, lines: list[bytes], *between: bytes, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """A PNG written by hand, so that every depth and colour type can be had."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    data = zlib.compress(b"".join(b"\0" + line for line in lines))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(between) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    return data[:33] + b"".join(chunks) + data[33:]


def seen(data: bytes, polarity: Polarity = "auto") -> np.ndarray:
    return decode_image(parse_header(data), polarity, HEIGHT, WIDTH)


def rgba(ink: int, alpha: np.ndarray) -> Image.Image:
    level = Image.new("L", (WIDTH, HEIGHT), ink)
    return Image.merge("RGBA", (level, level, level, Image.fromarray(alpha)))


def packed(grey: np.ndarray, depth: int) -> list[bytes]:
    """The lines of a picture with so many bits for each pixel."""
    if depth == 16:
        return [line.astype(">u2").tobytes() for line in grey.astype(np.uint16) * 257]
    scaled = np.rint(grey / 255 * ((1 << depth) - 1)).astype(np.uint8)
    bits = scaled[:, :, None] >> np.arange(depth)[::-1] & 1
    return [np.packbits(line).tobytes() for line in bits.reshape(HEIGHT, -1)]


BINARY = np.where(FOUR > 127, 255, 0).astype(np.uint8)
PLAIN = Image.fromarray(FOUR)


def palette(ink: int, ground: int, **options: Any) -> bytes:  # noqa: ANN401
    image = Image.fromarray((BINARY > 0).astype(np.uint8), "P")
    image.putpalette([ground] * 3 + [ink] * 3)
    return encoded(image, **options)


def flag(value: int, order: str = "big") -> bytes:
    """An EXIF block that says nothing but an orientation."""
    signs = (b"MM\0*", ">") if order == "big" else (b"II*\0", "<")
    return signs[0] + struct.pack(f"{signs[1]}IHHHIHHI", 8, 1, 0x0112, 3, 1, value, 0, 0)


SAME = {
    "grey": encoded(PLAIN),
    "dark on light": encoded(ImageOps.invert(PLAIN)),
    "RGB": encoded(PLAIN.convert("RGB")),
    "RGB dark on light": encoded(ImageOps.invert(PLAIN).convert("RGB")),
    "16 bits": encoded(Image.fromarray(FOUR.astype(np.uint16) * 257)),
    "16 bits dark on light": encoded(Image.fromarray((255 - FOUR).astype(np.uint16) * 257)),
    "16 bits of RGB": png(16, 2, [np.repeat(line.astype(np.uint16) * 257, 3).astype(">u2").tobytes() for line in FOUR]),
    "16 bits with alpha": png(
        16, 4, [np.dstack([line * 0, line.astype(np.uint16) * 257]).astype(">u2").tobytes() for line in FOUR]
    ),
    "black ink on clear ground": encoded(rgba(0, FOUR)),
    "white ink on clear ground": encoded(rgba(255, FOUR)),
    "black ink on clear ground, LA": encoded(rgba(0, FOUR).convert("LA")),
    "white ink on clear ground, LA": encoded(rgba(255, FOUR).convert("LA")),
    "opaque RGBA, dark on light": encoded(ImageOps.invert(PLAIN).convert("RGBA")),
    "interlaced": encoded(PLAIN, interlace=1),
    "moving": encoded(PLAIN, save_all=True, append_images=[ImageOps.invert(PLAIN)] * 3),
    "gamma as usual": with_chunks(encoded(PLAIN), chunk(b"gAMA", struct.pack(">I", 45455))),
}
SAME_IN_TWO_LEVELS = {
    "1 bit": encoded(Image.fromarray(BINARY).convert("1")),
    "1 bit, dark on light": encoded(Image.fromarray(255 - BINARY).convert("1")),
    "1 bit, clear white": png(1, 0, packed(255 - BINARY, 1), chunk(b"tRNS", b"\0\1")),
    "2 bits, clear white": png(2, 0, packed(255 - BINARY, 2), chunk(b"tRNS", b"\0\3")),
    "4 bits, clear white": png(4, 0, packed(255 - BINARY, 4), chunk(b"tRNS", b"\0\x0f")),
    "8 bits, clear white": png(8, 0, packed(255 - BINARY, 8), chunk(b"tRNS", b"\0\xff")),
    "16 bits, clear white": png(16, 0, packed(255 - BINARY, 16), chunk(b"tRNS", b"\xff\xff")),
    "4 bits": png(4, 0, packed(BINARY, 4)),
    "RGB, clear black": encoded(Image.fromarray(BINARY).convert("RGB"), transparency=(0, 0, 0)),
    "RGB of 16 bits, clear white": png(
        16, 2, [np.repeat((255 - line).astype(np.uint16) * 257, 3).astype(">u2").tobytes() for line in BINARY],
        chunk(b"tRNS", b"\xff" * 6),
    ),
    "palette": palette(255, 0),
    "palette, dark on light": palette(0, 255),
    "palette, clear ground": palette(0, 0, transparency=0),
    "palette, clear ground, white ink": palette(255, 255, transparency=0),
    "palette with alpha of each": palette(0, 9, transparency=b"\0\xff"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_a_picture_of_every_kind_becomes_the_same_pixels(name: str) -> None:
    assert np.abs(seen(SAME[name]).astype(int) - FOUR).max() <= 1


@pytest.mark.parametrize("name", SAME_IN_TWO_LEVELS)
def test_a_picture_of_two_levels_of_every_kind_becomes_the_same_pixels(name: str) -> None:
    assert np.array_equal(seen(SAME_IN_TWO_LEVELS[name]), BINARY)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "progressive", "YCCK"])
def test_a_jpeg_of_every_kind_becomes_nearly_the_same_pixels(mode: str, dark: bool) -> None:
    large = (ImageOps.invert(PLAIN) if dark else PLAIN).resize((112, 112), Image.Resampling.NEAREST)
    shown = seen(encoded(large))
    if mode == "YCCK":
        half, none = Image.new("L", large.size, 127), Image.new("L", large.size, 0)
        data = encoded(Image.merge("CMYK", [large, half, half, none]), "JPEG", quality=98)
        transform = data.index(b"Adobe") + 11
        assert data[transform] == 0
        data = data[:transform] + b"\2" + data[transform + 1 :]  # what was written as CMYK is to be read as YCCK
    elif mode == "CMYK":
        inked = Image.merge("CMYK", [Image.new("L", large.size, 0)] * 3 + [ImageOps.invert(large)])
        data = encoded(inked, "JPEG", quality=98)
    else:
        data = encoded(large.convert("L" if mode == "L" else "RGB"), "JPEG", quality=98, progressive=mode != "RGB")
    assert np.abs(seen(data).astype(int) - shown).max() < 40
    assert np.abs(seen(data).astype(int) - shown).mean() < 2


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_stands_as_its_camera_was_held(kind: str, turn: int, order: str) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = PLAIN.transpose(undo[turn]) if turn in undo else PLAIN
    if kind == "PNG":
        data = with_chunks(encoded(stored), chunk(b"eXIf", flag(turn, order)))
        assert np.array_equal(seen(data), FOUR)
    else:
        data = encoded(stored, "JPEG", quality=98, exif=b"Exif\0\0" + flag(turn, order))
        assert np.abs(seen(data).astype(int) - FOUR).mean() < 4
        with Image.open(BytesIO(data)) as opened:
            theirs = np.asarray(ImageOps.exif_transpose(opened), dtype=np.uint8)
        assert np.array_equal(seen(data), theirs)


@pytest.mark.parametrize(
    "exif", [b"", b"MM\0*", b"II*\0\xff\xff\xff\xff", flag(0), flag(9), flag(6)[:-6], b"x" * 60_000]
)
def test_an_orientation_that_cannot_be_understood_is_none(exif: bytes) -> None:
    assert np.array_equal(seen(with_chunks(encoded(PLAIN), chunk(b"eXIf", exif))), FOUR)


def test_a_polarity_that_is_set_is_believed() -> None:
    light, dark = encoded(PLAIN), encoded(ImageOps.invert(PLAIN))
    assert np.array_equal(seen(light, "light-on-dark"), FOUR)
    assert np.array_equal(seen(dark, "light-on-dark"), 255 - FOUR)
    assert np.array_equal(seen(dark, "dark-on-light"), FOUR)
    assert np.array_equal(seen(light, "dark-on-light"), 255 - FOUR)
    assert seen(encoded(rgba(0, FOUR)), "light-on-dark").max() == 0
    assert np.abs(seen(encoded(rgba(0, FOUR)), "dark-on-light").astype(int) - FOUR).max() <= 1


def test_ink_is_told_from_ground_by_the_border_on_grey_paper_too() -> None:
    for ground, ink, kept in ((110, 30, False), (110, 200, True), (230, 90, False), (20, 90, True), (160, 250, True)):
        grey = np.where(FOUR > 127, ink, ground).astype(np.uint8)
        assert np.array_equal(seen(encoded(Image.fromarray(grey))), grey if kept else 255 - grey), (ground, ink)
    blank = np.full((HEIGHT, WIDTH), 255, np.uint8)
    assert np.array_equal(seen(encoded(Image.fromarray(blank))), blank)  # no ink, nothing to turn round


def test_pictures_as_models_here_are_trained_on_keep_every_pixel() -> None:
    digits = load_optdigits()
    for image in images_of(digits.batch)[:400]:
        size = image.shape
        assert np.array_equal(decode_image(parse_header(encoded(Image.fromarray(image))), "auto", *size), image)


def test_a_gamma_of_its_own_is_brought_to_the_screens() -> None:
    grey = np.where(FOUR > 127, 128, 0).astype(np.uint8)
    linear = with_chunks(encoded(Image.fromarray(grey)), chunk(b"gAMA", struct.pack(">I", 100_000)))
    assert seen(linear).max() == round(255 * (128 / 255) ** (1 / 2.2))
    named = with_chunks(linear, chunk(b"sRGB", b"\0"))
    assert np.array_equal(seen(named), grey)
    for nonsense in (0, 1, 2**32 - 1):
        data = with_chunks(encoded(Image.fromarray(grey)), chunk(b"gAMA", struct.pack(">I", nonsense)))
        assert np.array_equal(seen(data), grey)


SWELLING = zlib.compress(b"x" * 2**20)


@pytest.mark.parametrize(
    "unread",
    [
        chunk(b"zTXt", b"Comment\0\0" + SWELLING) * 90,
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + SWELLING) * 90,
        chunk(b"iCCP", b"profile\0\0" + SWELLING) * 90,
        chunk(b"tEXt", b"Comment\0" + b"x" * 2**20),
        chunk(b"eXIf", b"x" * 2**20),
        chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) + chunk(b"fcTL", b"\0" * 26) + chunk(b"fdAT", SWELLING),
        chunk(b"gAMA", b"") + chunk(b"tRNS", b"x" * 9000),
        chunk(b"IDAT", b"") * 5000,
    ],
    ids=["zTXt", "iTXt", "iCCP", "tEXt", "eXIf", "APNG", "odd sizes", "empty IDAT"],
)
def test_chunks_that_no_pixel_needs_are_passed_over_unread(unread: bytes) -> None:
    data = with_chunks(encoded(PLAIN), unread) + b"and what trails"
    found = parse_header(data)
    assert len(found.data) < 2000
    tracemalloc.start()
    assert np.array_equal(decode_image(found, "auto", HEIGHT, WIDTH), FOUR)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_pixels_in_very_many_pieces_are_put_together() -> None:
    whole = encoded(PLAIN)
    begin = whole.index(b"IDAT") - 4
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in FOUR))
    pieces = b"".join(chunk(b"IDAT", data[place : place + 1]) for place in range(len(data)))
    found = parse_header(whole[:begin] + pieces + chunk(b"IEND", b""))
    assert found.data.count(b"IDAT") == 1
    assert np.array_equal(decode_image(found, "auto", HEIGHT, WIDTH), FOUR)


def test_pixels_that_go_on_behind_the_picture_are_not_unpacked() -> None:
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in FOUR) + b"\0" * 50_000_000, 1)
    found = parse_header(png(8, 0, [])[:33] + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    tracemalloc.start()
    assert np.array_equal(decode_image(found, "auto", HEIGHT, WIDTH), FOUR)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encoded(PLAIN)[:33] + chunk(b"IDAT", b"") * (MAX_CHUNKS + 1), "chunks"),
        (b"\xff\xd8" + b"\xff\xe5\0\2" * (MAX_SEGMENTS + 1), "segments"),
        (b"\xff\xd8" + b"\xff" * 500_000, "segments"),
        (b"\xff\xd8\xff\xe5\0\1", "not where it should be"),
        (b"\xff\xd8\xff\xe5\xff\xff", "not where it should be"),
        (b"\xff\xd8\xff\xda\0\2" + b"\0" * 99, "does not say its size"),
        (b"\xff\xd8\xff\xc9\0\x0b\x08\0\x1c\0\x1c\1\1\x11\0", "of a kind"),
        (b"\xff\xd8" + b"\xff\xc0\0\x0b\x08\0\x1c\0\x1c\1\1\x11\0" * 2, "of a kind"),
    ],
)
def test_files_of_too_many_pieces_or_of_strange_kinds_are_refused_by_looking_at_them(data: bytes, words: str) -> None:
    with pytest.raises(ImageDecodeError, match=words):
        parse_header(data)


def test_scans_of_a_jpeg_are_counted_and_cost() -> None:
    data = encoded(PLAIN.convert("RGB"), "JPEG", progressive=True)
    scans, last = parse_header(data).scans, data.rindex(b"\xff\xda")
    assert 2 < scans < 16
    more = data[:-2] + data[last:-2] * (MAX_SCANS - scans) + b"\xff\xd9"
    assert parse_header(more).decode_cost == 4 * 64 * 64
    with pytest.raises(ImageDecodeError, match="scans"):
        parse_header(more[:-2] + data[last:])


def test_a_jpeg_with_much_beside_its_pixels_loses_that_and_keeps_its_colours() -> None:
    plain = encoded(PLAIN.convert("CMYK"), "JPEG")
    extras = b"".join(
        b"\xff" + bytes([marker]) + struct.pack(">H", len(text) + 2) + text
        for marker in (0xE1, 0xE2, 0xED, 0xFE)
        for text in (b"Exif\0\0" + b"x" * 60_000, b"MPF\0" + b"y" * 60_000, b"ICC_PROFILE\0" + b"z" * 60_000)
    )
    data = plain[:2] + extras + plain[2:]
    assert len(parse_header(data).data) == len(plain)
    assert np.array_equal(seen(data), seen(plain))


@pytest.mark.parametrize(
    ("size", "work"),
    [((28, 28), 64 * 64), ((1, 4_000_000), 64 * 4_000_000), ((300, 10), 300 * 64), ((200, 100), 20_000)],
)
def test_a_line_costs_more_than_its_pixels(size: tuple[int, int], work: int) -> None:
    assert ImageHeader("PNG", *size, b"").decode_cost == work


def test_arrays_of_numbers_are_taken_as_they_are() -> None:
    inverted = (255 - FOUR).tolist()
    assert np.array_equal(image_from_array(inverted, HEIGHT, WIDTH), 255 - FOUR)
