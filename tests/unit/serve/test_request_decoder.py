"""Pictures from outside become greys of the model's size, or a typed error; nothing else ever comes out."""

import base64
import random
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from mlplatform.errors import InvalidInputError, TooLargeError
from mlplatform.serve.inference.request_decoder import ImageDecoder, is_small_png, occurs_in_images
from pipelines.data import images_of
from pipelines.image.grey_png import decode_png, encode_png
from tests.support.api_server import encoded
from tests.support.platform_world import picture

DECODER = ImageDecoder(28, 28, max_images=4, max_pixels=4e6)
GREY = picture(1)


def one(item: object) -> np.ndarray:
    return np.asarray(DECODER.decode_images([item])[0])


def pixels(value: object = 7) -> list[list[Any]]:
    """Zeros, with one other value in the middle."""
    rows: list[list[Any]] = [[0] * 28 for _ in range(28)]
    rows[13][14] = value
    return rows


def header(columns: int, rows: int) -> bytes:
    """A PNG that ends after its header, whatever size the header says."""
    return encoded(Image.new("L", (1, 1)))[:16] + _ihdr_rest(columns, rows)


def _ihdr_rest(columns: int, rows: int) -> bytes:
    fields = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return fields + struct.pack(">I", zlib.crc32(b"IHDR" + fields)) + struct.pack(">I", 0) + b"IDAT" + b"\0" * 4


def test_pixel_arrays_keep_their_values_and_fractions_are_rounded() -> None:
    assert np.array_equal(one(GREY.tolist()), GREY)
    assert one(pixels(254.6))[13, 14] == 255
    assert one(pixels(0)).dtype == np.uint8


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (pixels(-0.6), "outside 0 to 255"),
        (pixels(255.5), "outside 0 to 255"),
        (pixels(10**40), "neither base64 text nor"),
        (pixels(float("nan")), "outside 0 to 255"),
        (pixels(float("inf")), "outside 0 to 255"),
        (pixels(None), "neither base64 text nor a 28×28 array of numbers"),
        (pixels("12"), "neither base64 text nor"),
        (pixels([1]), "ragged"),
        (pixels()[:27], "has shape 27×28; this model takes 28×28"),
        ([pixels()], "has shape 1×28×28"),
        ([*pixels()[:27], [0]], "ragged"),
        ([], "has shape 0"),
        (5, "has shape a single value"),
        (None, "neither base64 text nor"),
        ({"pixels": []}, "neither base64 text nor"),
        ([[True] * 28] * 28, "neither base64 text nor"),
    ],
)
def test_pixels_that_are_no_picture_are_refused_by_name_and_reason(item: object, words: str) -> None:
    with pytest.raises(InvalidInputError, match=r"images\[1\]") as caught:
        DECODER.decode_images([GREY.tolist(), item])
    assert words in str(caught.value)


def test_a_list_nested_a_hundred_deep_is_refused() -> None:
    nested: list[Any] = []
    for _ in range(100):
        nested = [nested]
    with pytest.raises(InvalidInputError, match=r"images\[0\]"):
        one(nested)


@pytest.mark.parametrize("form", ["bytes", "base64", "data-url"])
def test_a_png_of_the_right_size_keeps_its_pixels_in_every_form(form: str) -> None:
    png = encode_png(GREY)
    text = base64.b64encode(png).decode()
    item = {"bytes": png, "base64": text, "data-url": f"data:image/png;base64,{text}"}[form]
    assert np.array_equal(one(item), GREY)


def test_a_jpeg_is_read() -> None:
    flat = np.full((28, 28), 200, np.uint8)
    assert np.abs(one(encoded(Image.fromarray(flat), "JPEG")).astype(int) - 200).max() <= 3
    colours = Image.merge("CMYK", [Image.fromarray(GREY)] * 4)
    assert one(encoded(colours, "JPEG")).shape == (28, 28)


@pytest.mark.parametrize(
    "text", ["not base64!", "QUJD\n", "QUJ", "ÄÖÜ", "data:image/png;base64,ÄÖÜ", "✓" * 50, ""], ids=repr
)
def test_text_that_is_not_base64_of_a_picture_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"images\[0\] is (not base64|neither PNG nor JPEG)"):
        one(text)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"<svg/>", b"\x89PNG", encoded(Image.new("L", (28, 28)), "GIF")], ids=len
)
def test_other_formats_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="neither PNG nor JPEG"):
        one(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_picture_is_refused(kind: str, share: float) -> None:
    whole = encoded(Image.fromarray(picture(2)).resize((80, 80)), kind)
    with pytest.raises(InvalidInputError, match=r"broken or truncated|neither PNG nor JPEG"):
        one(whole[: int(len(whole) * share)])


def test_a_picture_over_the_limit_is_refused_by_its_header_without_decoding() -> None:
    fifty = encoded(Image.new("1", (7100, 7100)))
    assert len(fifty) < 100_000
    with pytest.raises(TooLargeError, match=r"7100×7100 pixels; at most 4 megapixels \(PLATFORM_MAX_MEGAPIXELS\)"):
        one(fifty)
    with pytest.raises(TooLargeError, match="7100×7100"):
        one(base64.b64encode(fifty).decode())


@pytest.mark.parametrize("side", [9_500, 20_000, 2**31 - 1], ids=["warning", "bomb", "largest"])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(TooLargeError, match="4 megapixels"):
        one(header(side, side))


def test_compressed_text_that_swells_in_a_png_is_passed_over() -> None:
    bomb = b"zTXt" + b"Comment\0\0" + zlib.compress(b"\0" * 50_000_000)
    chunk = struct.pack(">I", len(bomb) - 4) + bomb + struct.pack(">I", zlib.crc32(bomb))
    png = encode_png(GREY)
    assert np.array_equal(one(png[:33] + chunk + png[33:]), GREY)


def test_sixteen_bits_are_scaled_to_eight() -> None:
    assert np.array_equal(one(encoded(Image.fromarray(GREY.astype(np.uint16) * 257))), GREY)


def test_one_bit_is_black_or_white() -> None:
    bits = Image.fromarray(GREY).point(lambda value: 255 * (value > 127), "1")
    assert np.array_equal(one(encoded(bits)), np.where(GREY > 127, 255, 0))


def test_transparency_shows_the_black_ground() -> None:
    ink = Image.fromarray(np.full((28, 28), 255, np.uint8))
    alpha = Image.fromarray(GREY)
    half = Image.merge("RGBA", (ink, ink, ink, alpha))
    assert np.abs(one(encoded(half)).astype(int) - GREY).max() <= 1
    assert np.abs(one(encoded(Image.merge("LA", (ink, alpha)))).astype(int) - GREY).max() <= 1


def test_a_palette_is_looked_up_and_its_transparent_colour_is_black() -> None:
    drawn = Image.new("P", (28, 28), 0)
    drawn.putpalette([255, 255, 255, 0, 255, 0])
    drawn.paste(1, (0, 0, 28, 14))
    grey = one(encoded(drawn))
    assert (grey[0, 0], grey[27, 0]) == (150, 255)
    grey = one(encoded(drawn, transparency=0))
    assert (grey[0, 0], grey[27, 0]) == (150, 0)


def test_a_grey_level_declared_transparent_is_black() -> None:
    bright = Image.new("L", (28, 28), 255)
    bright.paste(90, (0, 0, 28, 14))
    grey = replace(DECODER, polarity="light-on-dark").decode_images([encoded(bright, transparency=255)])[0]
    assert (grey[0, 0], grey[27, 0]) == (90, 0)


@pytest.mark.parametrize(
    ("size", "inked"),
    [((56, 56), (28, 28)), ((14, 14), (28, 28)), ((56, 28), (14, 28)), ((10, 20), (28, 14)), ((1, 1), (28, 28))],
)
def test_another_size_is_scaled_to_fit_and_centred_on_black(size: tuple[int, int], inked: tuple[int, int]) -> None:
    grey = one(encoded(Image.new("L", size, 255)))
    rows, columns = np.flatnonzero(grey.any(axis=1)), np.flatnonzero(grey.any(axis=0))
    assert (len(rows), len(columns)) == inked
    assert abs(rows[0] - (27 - rows[-1])) <= 1
    assert abs(columns[0] - (27 - columns[-1])) <= 1


@pytest.mark.parametrize("size", [(62_500, 1), (1, 62_500)])
def test_a_line_of_a_picture_does_not_vanish(size: tuple[int, int]) -> None:
    assert one(encoded(Image.new("L", size, 255))).max() == 255


@pytest.mark.parametrize("size", [(62_501, 1), (1, 62_501), (4_000_000, 1), (1, 4_000_000)])
def test_a_side_is_limited_as_well_as_the_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(TooLargeError, match="no side may be longer than 62500"):
        one(encoded(Image.new("L", size, 255)))


def test_thin_pictures_together_are_limited_by_what_they_cost() -> None:
    tall = encoded(Image.new("L", (1, 60_000), 255))
    decoder = replace(DECODER, max_images=20, max_request_pixels=64e6)
    assert decoder.decode_images([tall] * 16).shape == (16, 28, 28)
    with pytest.raises(TooLargeError, match=r"images\[16\].*64 megapixels together"):
        decoder.decode_images([tall] * 17)


def test_only_what_takes_no_time_is_decoded_on_the_event_loop() -> None:
    text = struct.pack(">I", 1000) + b"zTXt" + b"x" * 1000 + b"\0" * 4
    small = encoded(Image.fromarray(GREY))
    assert is_small_png(small)
    assert is_small_png(small[:33] + text * 13 + small[33:])  # passed over unread
    assert not is_small_png(small[:33] + text * 20 + small[33:])
    for size in ((1, 16_000), (16_000, 1), (129, 128)):
        assert not is_small_png(encoded(Image.new("L", size)))
    assert not is_small_png(encoded(Image.fromarray(GREY), "JPEG"))


def test_a_json_body_gives_images_and_texts() -> None:
    tags = {"scanner": "b", "writer_group": "students"}
    body = orjson.dumps({"images": [GREY.tolist()], "client_id": "till 7", "request_id": "r-1", "tags": tags})
    sent = DECODER.decode_json(body)
    assert images_of(sent.batch).shape == (1, 28, 28)
    assert (sent.fields, sent.tags) == ({"client_id": "till 7", "request_id": "r-1"}, tags)
    assert DECODER.decode_json(orjson.dumps({"images": [GREY.tolist()]})).tags == {}


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ([], "an object of at most 10"),
        ({str(n): "x" for n in range(11)}, "an object of at most 10"),
        ({"Scanner": "b"}, "tag 'Scanner' is no name; use a-z"),
        ({"": "b"}, "tag '' is no name"),
        ({"a" * 33: "b"}, "is no name"),
        ({"scanner": 5}, "tag scanner must be a printable text"),
        ({"scanner": "a\nb"}, "tag scanner must be a printable text"),
        ({"scanner": "x" * 65}, "tag scanner is longer than 64"),
    ],
)
def test_tags_that_no_rule_could_slice_by_are_refused(tags: object, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        DECODER.decode_json(orjson.dumps({"images": [GREY.tolist()], "tags": tags}))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"images": [[NaN]]}', "NaN and Infinity are not JSON"),
        (b'{"images": [[-Infinity]]}', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b"[]", 'an object with a list "images"'),
        (b'{"images": "abc"}', 'an object with a list "images"'),
        (b'{"pixels": []}', 'an object with a list "images"'),
        (
            b'{"images": [], "image": 1}',
            "unknown field 'image'; allowed: client_id, images, references, request_id, tags",
        ),
        (b'{"images": [[]], "client_id": 5}', "client_id must be a printable text"),
        (b'{"images": [[]], "request_id": null}', "request_id must be a printable text"),
        (b'{"images": [[]], "client_id": "a\\u0000b"}', "client_id must be a printable text"),
        (b'{"images": [[]], "client_id": "\\ud800"}', "not JSON"),
        (b'{"images": [[]], "client_id": "' + b"x" * 201 + b'"}', "at most 200 characters"),
    ],
)
def test_a_json_body_that_is_not_understood_is_refused_with_the_reason(body: bytes, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        DECODER.decode_json(body)
    assert words in str(caught.value)


def test_a_kept_png_gives_back_exactly_its_pixels() -> None:
    assert np.array_equal(decode_png(encode_png(GREY)), GREY)


@pytest.mark.filterwarnings("ignore:.*(EXIF|Tag data|APNG|Truncated File):UserWarning")
def test_broken_pictures_give_a_picture_or_a_typed_error_and_nothing_else() -> None:
    colours = Image.merge("RGB", [Image.fromarray(picture(seed)) for seed in (1, 2, 3)])
    whole = [
        encode_png(GREY),
        encoded(colours, "JPEG"),
        encoded(colours.quantize(7), transparency=3),
        encoded(Image.fromarray(GREY.astype(np.uint16) * 257)),
    ]
    chance = random.Random(0)
    for number in range(600):
        data = bytearray(whole[number % len(whole)])
        for _ in range(chance.choice((1, 3))):
            data[chance.randrange(min(len(data), 150))] = chance.randrange(256)
        with suppress(InvalidInputError, TooLargeError):
            assert one(bytes(data)).shape == (28, 28)


@pytest.mark.parametrize(
    ("body", "texts", "words"),
    [
        (b'{"images": [[[0, 255]]]}', False, False),
        (b'{"images": [[[0, 255]]], "client_id": "true"}', False, False),
        (b'{"images": ["aVZC"]}', True, False),
        (b'{"client_id": "[]", "images": ["eQ=="]}', True, True),
        (b'{"images": [[[true, 255]]]}', False, True),
        (b'{"images": [[[1e1, 255]]], "tags": {}}', False, True),
    ],
)
def test_a_glance_at_a_body_misses_no_text_and_no_word_among_its_images(body: bytes, texts: bool, words: bool) -> None:
    assert (occurs_in_images(body, b'"'), occurs_in_images(body, b"e")) == (texts, words)


def test_large_pictures_are_decoded_one_at_a_time_and_small_ones_wait_for_none() -> None:
    decoder = ImageDecoder(28, 28, 4, 4e6)
    large, small = (encoded(Image.new("L", (side, side), 9)) for side in (1100, 200))
    with ThreadPoolExecutor(2) as pool:
        with decoder.large_image_lock:
            waiting = pool.submit(decoder.decode_image, large, "it")
            assert pool.submit(decoder.decode_image, small, "it").result(5)[1] == 200 * 200
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        assert waiting.result(5)[1] == 1100 * 1100
