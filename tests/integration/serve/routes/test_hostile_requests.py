"""Whatever bytes a client sends to whichever endpoint: an answer of 4xx that is short, and never 5xx."""

import base64
import json
import struct
import zlib
from dataclasses import replace
from typing import Final

import httpx
import pytest
from fastapi.routing import APIRoute

from mlplatform.serve.api_server import ApiServer
from mlplatform.serve.app import create_app
from tests.support.api_server import running
from tests.support.platform_world import picture

JSON: Final = "application/json"
GREY: Final = picture(1)
MUCH: Final = 900_000
"""A little less than the largest body of these tests' server."""

BODIES: Final[dict[str, bytes]] = {
    "nothing": b"",
    "open lists": b"[" * 100_000,
    "open objects": b'{"a":' * 100_000,
    "open lists in each field": b'{"images":[' * 9000,
    "lists nested within limits": b'{"images":[' + b"[" * 900 + b"]" * 900 + b"]}",
    "lists of lists": b'{"images":[' + b"[[1]]," * (MUCH // 6) + b"[[1]]]}",
    "one picture of lists": b'{"image":[' + b"[1]," * (MUCH // 4) + b"[1]]}",
    "empty objects": b'{"feedback":[' + b"{}," * (MUCH // 3) + b"{}]}",
    "unknown keys": b'{"feedback":[{' + b",".join(b'"k%d":1' % n for n in range(60_000)) + b"}]}",
    "unknown keys above": b"{" + b",".join(b'"k%d":1' % n for n in range(60_000)) + b"}",
    "one long key": b'{"images":[[1]],"' + b"k" * MUCH + b'":1}',
    "one long text": b'{"reason":"' + b"x" * MUCH + b'","images":["' + b"x" * 100 + b'"]}',
    "a picture of commas": b'{"images":["' + b"," * 200_000 + b'"],"image":"x"}',
    "long numbers": b'{"prediction_id":%b,"share":%b,"images":[%b]}' % ((b"9" * 5000,) * 3),
    "large exponents": b'{"share":1e999999,"images":[[[1e999999]]],"image":[[1e999999]],"label":-1e999999}',
    "keys twice": b'{"images":[],"images":[[1]],"prediction_id":"a","prediction_id":5,"reason":1,"reason":"x"}',
    "half characters": b'{"prediction_id":"\\ud800","label":"\\udfff","reason":"\\ud800","client_id":"\\ud800"}',
    "NUL": b'{"prediction_id":"\\u0000","label":"\\u0000","reason":"\\u0000","images":["\\u0000"]}',
    "not a number": b'{"images":[[NaN]],"share":NaN,"image":[[Infinity]],"prediction_id":NaN}',
    "BOM": b"\xef\xbb\xbf" + b'{"images":[[[0]]]}',
    "UTF-16": '{"images":[[[0]]],"prediction_id":"a","label":"4"}'.encode("utf-16"),
    "UTF-32": '{"images":[[[0]]]}'.encode("utf-32"),
    "half a character of UTF-8": b'{"prediction_id":"\xc3","label":"4","images":["\xc3"]}',
    "other kinds": b'{"feedback":{"a":[1]},"images":{"a":1},"image":{"a":1},"reason":[[]],"inputs":"x","params":[1]}',
    "nulls": b'{"feedback":null,"images":null,"image":null,"reason":null,"inputs":null,"prediction_id":null}',
    "a list of everything": json.dumps([{"feedback": [], "images": [], "inputs": []}]).encode(),
    "a text": b'"images"',
    "a number": b"7",
    "columns": b'{"dataframe_split":{"columns":[' + b'"a",' * 200_000 + b'"a"],"data":[[1]]}}',
    "records": b'{"dataframe_records":[' + b"{}," * 200_000 + b"{}]}",
    "deep params": b'{"instances":[[1]],"params":{"tags":' + b"[" * 900 + b"]" * 900 + b"}}",
    "deep tensor": b'{"inputs":[{"name":' + b"[" * 900 + b"]" * 900 + b"}]}",
    "deep datatype": b'{"inputs":[{"name":"images","datatype":' + b"[" * 900 + b"]" * 900 + b"}]}",
    "deep size": b'{"inputs":[{"name":"images","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":'
    + b"[" * 900 + b"]" * 900 + b"}}]}",
    "deep output": b'{"inputs":[{"name":"images","datatype":"FP32","shape":[0],"data":[]}],"outputs":[{"name":'
    + b"[" * 900 + b"]" * 900 + b"}]}",
    "deep text of tags": b'{"inputs":[{"name":"images","datatype":"FP32","shape":[0],"data":[]}],"parameters":{"tags":"'
    + b"[" * 100_000 + b'"}}',
    "a form": b"--x\r\nContent-Disposition: form-data; name=tags\r\n\r\n" + b"[" * 10_000 + b"\r\n"
    b"--x\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n1\r\n--x--",
    "a form of a long text": b"--x\r\nContent-Disposition: form-data; name=tags\r\n\r\n" + b"a-" * 9**6 + b"\r\n--x--",
}  # fmt: skip
KINDS: Final = (
    JSON,
    "application/json; charset=punycode",
    "application/merge-patch+json",
    "multipart/form-data; boundary=x; charset=punycode",
    "multipart/form-data; boundary=x; charset=undefined",
    "multipart/form-data; boundary=" + "x" * 5000,
    "application/x-www-form-urlencoded; charset=utf-7",
    "image/png",
    "image/jpeg; charset=idna",
    "application/octet-stream",
    "text/plain; charset=utf-16",
    "",
    "\xff" * 3000,
)
HEADERS: Final = (
    ("inference-header-content-length", "9" * 5000),
    ("inference-header-content-length", "\xb2"),
    ("inference-header-content-length", "-0"),
    ("x-tensor-shape", "9" * 5000),
    ("x-tensor-shape", ",".join(["9" * 30] * 3)),
    ("x-tensor-dtype", "x" * 5000),
    ("x-tags", "[" * 100_000),
    ("x-tags", "9" * 5000),
    ("idempotency-key", "\xff" * 9000),
    ("x-request-id", "\x80" * 300),
    ("traceparent", "0" * 9000),
    ("origin", "http://["),
    ("origin", "http://[::1]:x"),
    ("content-length", "9" * 5000),
    ("accept", "x" * 9000),
)


def endpoints(server: ApiServer) -> list[APIRoute]:
    return [route for route in create_app(server).routes if isinstance(route, APIRoute)]


@pytest.fixture(scope="module")
def posts(shared_client: httpx.Client) -> list[str]:
    """Every path that takes a body, filled in with what exists or could."""
    schema = shared_client.get("/openapi.json").json()
    paths = [path for path, verbs in schema["paths"].items() if "post" in verbs]
    filled = {"{name}": "digits", "{version}": "1", "{alert_id}": "none"}
    for name, value in filled.items():
        paths = [path.replace(name, value) for path in paths]
    return [path for path in paths if "{" not in path] + ["/v1/nothing", "/alerts/none/acknowledge"]


def check(answer: httpx.Response, about: str) -> None:
    assert answer.status_code < 500, f"{about}: {answer.status_code} {answer.text[:300]}"
    if answer.status_code >= 400:
        assert len(answer.content) < 4000, about


@pytest.mark.parametrize("name", BODIES)
def test_no_body_makes_any_endpoint_fail_or_answer_at_length(
    shared_client: httpx.Client, posts: list[str], name: str
) -> None:
    for path in posts:
        for kind in (JSON, "multipart/form-data; boundary=x; charset=punycode"):
            check(shared_client.post(path, content=BODIES[name], headers={"content-type": kind}), f"{path} {kind}")
    assert shared_client.get("/healthz").status_code == 200


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[:40] or "none")
def test_no_content_type_chooses_what_reads_a_body(shared_client: httpx.Client, posts: list[str], kind: str) -> None:
    bodies = [BODIES[name] for name in ("open lists", "a form", "a form of a long text", "UTF-16", "nothing")]
    for path in posts:
        for body in bodies:
            check(
                shared_client.post(path, content=body, headers={b"content-type": kind.encode("latin-1")}),
                f"{path} {kind}",
            )


@pytest.mark.parametrize(("header", "value"), HEADERS, ids=lambda text: text[:20])
def test_no_header_makes_any_endpoint_fail(
    shared_client: httpx.Client, posts: list[str], header: str, value: str
) -> None:
    raw = json.dumps({"images": [GREY.tolist()]}).encode()
    for path in posts:
        for kind, body in ((JSON, raw), ("application/octet-stream", GREY.tobytes())):
            sent = {b"content-type": kind.encode(), header.encode(): value.encode("latin-1")}
            check(shared_client.post(path, content=body, headers=sent), f"{path} {kind}")


def test_no_host_makes_a_server_fail_that_answers_to_any_name(server: ApiServer) -> None:
    open_to_all = server.context.settings.model_copy(update={"allowed_hosts": ("*",)})
    with running(replace(server, context=server.context.replace(settings=open_to_all))) as client:
        for host in ("[", "[::1", "a]b", "http://[", "a:b:c", "\xff", "x" * 5000, "a@b", "?", "#"):
            for path in ("/v1/predict", "/v2/models/digits/infer", "/invocations"):
                check(client.post(path, content=b"{", headers={b"host": host.encode("latin-1")}), host)


def test_no_endpoint_lets_fastapi_read_its_body(server: ApiServer) -> None:
    """It parses and validates on the event loop, without bounds; `reading.JsonBody` is for that."""
    assert [route.path for route in endpoints(server) if route.body_field is not None] == []


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("sent_as", ["picture", "base64", "form", "explain", "invocations"])
def test_pictures_that_cost_more_than_they_show_are_refused_or_read_cheaply(
    shared_client: httpx.Client, sent_as: str
) -> None:
    header = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 4_000_000, 8, 0, 0, 0, 0))
    tall = header + chunk(b"IDAT", zlib.compress(b"\0" * 8_000_000)) + chunk(b"IEND", b"")
    text = base64.b64encode(tall).decode()
    form = b"--x\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n" + tall + b"\r\n--x--"
    path, body, kind = {
        "picture": ("/v1/predict", tall, "image/png"),
        "base64": ("/v1/predict", json.dumps({"images": [text]}).encode(), JSON),
        "form": ("/v1/predict", form, "multipart/form-data; boundary=x"),
        "explain": ("/v1/explain", json.dumps({"image": text}).encode(), JSON),
        "invocations": ("/invocations", json.dumps({"inputs": [text]}).encode(), JSON),
    }[sent_as]
    answer = shared_client.post(path, content=body, headers={"content-type": kind})
    assert answer.status_code == 413
    assert "1×4000000 pixels; no side may be longer than 62500" in answer.text
