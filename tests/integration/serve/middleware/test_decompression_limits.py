"""Small requests that would become large work are refused by what they say of themselves, before they are unpacked."""

import base64
import gzip
import struct
import tracemalloc
import zlib
from io import BytesIO

import httpx
import numpy as np
import pytest
from PIL import Image

from mlplatform.errors import TooLargeError
from mlplatform.serve.inference.request_decoder import ImageDecoder
from tests.support.api_server import encoded
from tests.support.platform_world import picture

JSON = {"content-type": "application/json"}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_text_bomb(megabytes: int) -> bytes:
    """A PNG whose packed comment is a thousand times its size."""
    png, packed = encoded(Image.fromarray(picture(1))), zlib.compress(b"x" * megabytes * 2**20)
    return png[:33] + chunk(b"zTXt", b"Comment\0\0" + packed) + png[33:]


@pytest.mark.parametrize("packing", ["gzip", "deflate", "br", "zstd", "gzip, identity"])
def test_a_packed_body_is_refused_unread(client: httpx.Client, packing: str) -> None:
    body = gzip.compress(b"0" * 2**20)
    for path in ("/v1/predict", "/v1/feedback"):
        answer = client.post(path, content=body, headers=JSON | {"content-encoding": packing})
        assert answer.status_code == 415
        assert "send the body as it is" in answer.json()["detail"]
    assert client.get("/healthz", headers={"content-encoding": "identity"}).status_code == 200


def test_pictures_together_are_limited_by_their_headers() -> None:
    decoder = ImageDecoder(28, 28, max_images=300, max_pixels=4e6, max_request_pixels=2.5e6)
    large = encoded(Image.new("L", (1000, 1000)))
    assert len(large) < 5000
    assert decoder.decode_images([large, large, picture(1).tolist()]).shape == (3, 28, 28)
    tracemalloc.start()
    with pytest.raises(TooLargeError, match=r"images\[2\].*over 2.5 megapixels together"):
        decoder.decode_images([large] * 300)
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


def test_a_packed_comment_in_a_picture_is_not_unpacked(client: httpx.Client) -> None:
    bomb = with_text_bomb(100)
    assert len(bomb) < 2**18
    answer = client.post("/v1/predict", content=bomb, headers={"content-type": "image/png"})
    assert answer.status_code in (200, 422)


@pytest.mark.parametrize("opened", [b"[", b'{"a":', b'{"images":['])
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/feedback", "/v1/retrain"])
def test_json_nested_very_deep_is_refused(client: httpx.Client, path: str, opened: bytes) -> None:
    answer = client.post(path, content=opened * 50_000, headers=JSON)
    assert answer.status_code in (400, 422)
    closed = opened * 5000 + b"1" + (b"]" if opened == b"[" else b"}") * 5000
    assert client.post(path, content=closed, headers=JSON).status_code in (400, 422)


def test_numbers_without_end_are_refused(client: httpx.Client) -> None:
    digits = b"9" * 500_000
    for body in (b'{"images": [[[%b]]]}' % digits, b'{"reason": %b}' % digits, b'{"prediction_id": %b}' % digits):
        for path in ("/v1/predict", "/v1/feedback", "/v1/retrain"):
            assert client.post(path, content=body, headers=JSON).status_code in (400, 422)


def test_a_picture_in_a_picture_list_may_not_be_a_bomb_either(client: httpx.Client) -> None:
    large = base64.b64encode(encoded(Image.new("L", (2500, 2500)))).decode()
    answer = client.post("/v1/predict", json={"images": [large]})
    assert (answer.status_code, "PLATFORM_MAX_MEGAPIXELS" in answer.json()["detail"]) == (413, True)


@pytest.mark.parametrize(
    "body",
    [
        b"--x\r\n" * 20_000,
        b"--x\r\ncontent-disposition: form-data; name=a\r\n\r\n1\r\n" * 5000 + b"--x--",
        b"--x\r\n" + b"x-header: y\r\n" * 20_000 + b"\r\n1\r\n--x--",
        b"--x\r\ncontent-disposition: form-data; name=" + b"a" * 300_000 + b"\r\n\r\n1\r\n--x--",
        b"--x\r\ncontent-disposition: form-data; name=a; filename=b\r\n\r\n" + b"1" * 300_000,
    ],
    ids=["boundaries", "fields", "headers", "name", "unfinished"],
)
@pytest.mark.filterwarnings("ignore:Exception ignored in.*SpooledTemporaryFile")  # Starlette leaves it to the collector
def test_a_form_of_too_many_parts_is_refused(client: httpx.Client, body: bytes) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/v1/predict", content=body, headers=headers).status_code in (400, 413, 422)


def test_only_the_first_frame_of_a_moving_picture_is_looked_at(client: httpx.Client) -> None:
    out = BytesIO()
    frames = [Image.fromarray(np.full((28, 28), shade, np.uint8)) for shade in range(200)]
    frames[0].save(out, format="PNG", save_all=True, append_images=frames[1:])
    answer = client.post("/v1/predict", content=out.getvalue(), headers={"content-type": "image/png"})
    assert len(answer.json()["predictions"]) == 1
