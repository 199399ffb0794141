"""What is uploaded is decoded within bounds, turned as its camera says, or refused with the reason."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

pytest.importorskip("cv2", reason="examples/cheques needs OpenCV (pip install opencv-python-headless)")

from cheques.errors import UploadError, UploadTooLargeError
from cheques.upload import WORK_SIDE, decode_upload

BYTES, PIXELS = 5_000_000, 50_000_000


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def half_dark(width: int = 400, height: int = 200) -> Image.Image:
    """White above, black below."""
    pixels = np.full((height, width), 255, np.uint8)
    pixels[height // 2 :] = 0
    return Image.fromarray(pixels)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose head promises a size that its few bytes do not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_pictures_of_each_kind_come_as_colours(kind: str) -> None:
    pixels = decode_upload(encoded(half_dark(), kind), BYTES, PIXELS)
    assert pixels.shape == (200, 400, 3)
    assert pixels[10].min() > 250
    assert pixels[-10].max() < 5


@pytest.mark.parametrize(("orientation", "dark"), [(3, "top"), (6, "left"), (8, "right")])
def test_a_picture_is_turned_as_its_camera_says(orientation: int, dark: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode_upload(encoded(half_dark(), "JPEG", exif=exif, quality=95), BYTES, PIXELS)
    height, width = pixels.shape[:2]
    places = {"top": (5, width // 2), "left": (height // 2, 5), "right": (height // 2, width - 5)}
    assert (height > width) == (dark != "top")
    assert {name for name, place in places.items() if pixels[place].max() < 20} >= {dark}
    assert pixels[height - 5, width // 2 if dark == "top" else width - 5 if dark == "left" else 5].min() > 235


def test_a_large_picture_is_made_smaller() -> None:
    pixels = decode_upload(encoded(half_dark(6_000, 3_000), "JPEG"), BYTES, PIXELS)
    assert pixels.shape == (WORK_SIDE // 2, WORK_SIDE, 3)


def test_what_is_transparent_shows_paper_and_deep_greys_keep_their_light() -> None:
    clear = decode_upload(encoded(Image.new("RGBA", (200, 200), (0, 0, 0, 0)), "PNG"), BYTES, PIXELS)
    assert clear.min() == 255
    deep = Image.fromarray(np.full((200, 200), 40_000, np.uint16))
    assert decode_upload(encoded(deep, "PNG"), BYTES, PIXELS).mean() == pytest.approx(155, abs=1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"hello", "no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture"),
        (b"%PDF-1.7 " * 100, "no picture"),
        (encoded(half_dark(), "JPEG")[:400], "cannot be read"),
        (encoded(half_dark(), "PNG")[:-40], "cannot be read"),
        (png_of_size(300, 300_000), "300x300000 pixels"),
        (png_of_size(4_000_000_000 // 2, 2), "pixels"),
        (encoded(half_dark(100, 90), "PNG"), "at least 120"),
        (encoded(half_dark(), "GIF"), "no picture"),
    ],
)
def test_what_is_no_picture_or_too_large_is_refused_with_the_reason(content: bytes, said: str) -> None:
    with pytest.raises(UploadError, match=said):
        decode_upload(content, BYTES, PIXELS)


def test_a_file_of_too_many_bytes_is_not_opened() -> None:
    with pytest.raises(UploadTooLargeError, match="5000001 bytes"):
        decode_upload(bytes(BYTES + 1), BYTES, PIXELS)


def test_a_jpeg_that_repeats_its_scans_is_refused_before_it_is_decoded() -> None:
    usual = encoded(half_dark(), "JPEG", progressive=True)
    assert decode_upload(usual, BYTES, PIXELS).shape == (200, 400, 3)
    last = usual[usual.rfind(b"\xff\xda") : -2]
    with pytest.raises(UploadError, match="at most 64 are decoded"):
        decode_upload(usual[:-2] + last * 100 + usual[-2:], BYTES, PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_large_picture_is_reduced_strip_by_strip_to_what_the_whole_of_it_shows(kind: str, orientation: int) -> None:
    rows, columns = np.mgrid[0:4_804, 0:304]
    whole = Image.fromarray(((rows // 20 + columns // 10) % 256).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode_upload(encoded(whole, kind, exif=exif), BYTES * 3, PIXELS)
    with Image.open(BytesIO(encoded(whole, kind, exif=exif))) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    expected.thumbnail((WORK_SIDE, WORK_SIDE), Image.Resampling.BOX)
    assert np.abs(pixels.astype(int)[2:-2, 2:-2] - np.asarray(expected, int)[2:-2, 2:-2]).mean() < 3


def test_deep_greys_of_a_large_picture_keep_one_scale() -> None:
    """Strips whose brightest grey is dark are not taken for eight bits."""
    deep = np.full((5_000, 300), 40_000, np.uint16)
    deep[:2_500] = 200
    pixels = decode_upload(encoded(Image.fromarray(deep), "PNG"), BYTES, PIXELS)
    assert pixels[10].max() <= 1
    assert pixels[-10].mean() == pytest.approx(155, abs=1)
