"""The edge server and the files it answers with."""

from __future__ import annotations

import base64
import io
import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.data import Examples, images_of
from pipelines.edge.edge_server import EdgeModel, RequestRejectedError, make_server
from pipelines.edge.export import SERVER_FILES, compare_export, copy_edge_server, export_file
from pipelines.engines.executorch_engine import load_executorch_engine
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.onnx_engine import export_onnx
from pipelines.engines.torch_engine import load_torch_engine
from pipelines.errors import DataError, ModelFormatError
from pipelines.training.network import build_network
from pipelines.training.training_loop import fit
from registry.model_package import MODEL_FILE, ONNX_FILE
from tests.support.bars import TINY, draw_bars

CLASSES = ("upright", "lying")
ROWS = draw_bars(60, 5)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A downloaded version's folder."""
    folder = tmp_path_factory.mktemp("version")
    made = build_network(TINY, 2, height=12, width=12, seed=1)
    network = fit(made, TINY, draw_bars(200, 1), draw_bars(40, 2), seed=1).network
    module = build_exportable(network, height=12, width=12, temperature=1.3)
    save_exportable(module, folder / MODEL_FILE)
    (folder / ONNX_FILE).write_bytes(export_onnx(module))
    return folder


def exported(version: Path, out: Path, form: str = "onnx", rows: Examples = ROWS) -> Path:
    export_file(version, CLASSES, "bars", 7, form, rows, out)  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="module")
def model(version: Path, tmp_path_factory: pytest.TempPathFactory) -> EdgeModel:
    return EdgeModel(exported(version, tmp_path_factory.mktemp("edge") / "bars.onnx"))


@pytest.fixture(scope="module")
def address(model: EdgeModel) -> Iterator[str]:
    server = make_server(model, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def ask(address: str, path: str, body: bytes | None = None, kind: str = "application/json") -> tuple[int, Any]:
    request = urllib.request.Request(f"{address}{path}", data=body, headers={"content-type": kind})
    try:
        with urllib.request.urlopen(request, timeout=20) as answered:
            return answered.status, json.load(answered)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG")
    return out.getvalue()


def test_a_float_file_answers_as_pytorch_does_and_says_by_how_much(version: Path, tmp_path: Path) -> None:
    found = compare_export(exported(version, tmp_path / "a.onnx"), version, CLASSES, "onnx", ROWS)
    assert (found.rows, found.same_answers) == (60, 60)
    assert found.max_difference < 1e-5
    assert found.accuracy == found.accuracy_pytorch > 0.9
    assert 0 < found.p50_ms <= found.p95_ms
    assert found.size_bytes == (tmp_path / "a.onnx").stat().st_size


def test_an_int8_file_gives_nearly_the_same_answers_and_its_difference_is_told(version: Path, tmp_path: Path) -> None:
    out = exported(version, tmp_path / "b.onnx", "onnx-int8")
    found = compare_export(out, version, CLASSES, "onnx-int8", ROWS)
    assert found.same_answers >= 57
    assert 1e-6 < found.max_difference < 0.5
    probabilities = EdgeModel(out)(images_of(ROWS.batch))
    assert len(np.unique(probabilities)) > 60  # not in steps of 1/255
    assert probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert b"QuantizeLinear" in out.read_bytes()


def test_an_executorch_program_gives_the_same_answers(version: Path, tmp_path: Path) -> None:
    pytest.importorskip("executorch", reason="ExecuTorch is an extra: pip install 'mlplatform[executorch]'")
    out = exported(version, tmp_path / "a.pte", "executorch")
    found = compare_export(out, version, CLASSES, "executorch", ROWS)
    assert (found.rows, found.same_answers) == (60, 60)
    assert found.max_difference < 1e-4
    assert found.size_bytes == out.stat().st_size
    broken = tmp_path / "b.pte"
    broken.write_bytes(out.read_bytes()[:100])
    with pytest.raises(ModelFormatError, match="no program ExecuTorch can run"):
        load_executorch_engine(broken, CLASSES, 12, 12)


def test_without_executorch_its_format_says_how_to_get_it(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("executorch", "executorch.exir", "executorch.runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "executorch.backends.xnnpack.partition.xnnpack_partitioner", None)
    with pytest.raises(ModelFormatError, match=r"pip install 'mlplatform\[executorch\]'"):
        exported(version, tmp_path / "a.pte", "executorch")
    with pytest.raises(ModelFormatError, match="not installed"):
        load_executorch_engine(tmp_path / "a.pte", CLASSES, 12, 12)
    assert not (tmp_path / "a.pte").exists()


def test_what_cannot_be_exported_or_compared_is_refused(version: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="no ONNX graph"):
        exported(tmp_path, tmp_path / "c.onnx")
    with pytest.raises(DataError, match="int8 reads its ranges"):
        exported(version, tmp_path / "c.onnx", "onnx-int8", ROWS.take([]))
    with pytest.raises(DataError, match="no rows to compare"):
        compare_export(exported(version, tmp_path / "d.onnx"), version, CLASSES, "onnx", ROWS.take([]))
    assert not (tmp_path / "c.onnx").exists()


def test_json_of_pixels_and_base64_is_answered_in_the_platforms_form(address: str, version: Path) -> None:
    images = [images_of(ROWS.batch)[0].tolist(), base64.b64encode(png(images_of(ROWS.batch)[1])).decode()]
    status, made = ask(address, "/v1/predict", json.dumps({"images": images, "request_id": "mine"}).encode())
    assert status == 200
    assert made.keys() == {"request_id", "predictions", "latency_ms", "recorded"}
    assert (made["request_id"], made["recorded"]) == ("mine", False)
    wanted = load_torch_engine(version / MODEL_FILE, CLASSES)(ROWS.batch[:2])
    for answered, row in zip(made["predictions"], wanted, strict=True):
        assert answered.keys() == {"id", "label", "confidence", "probabilities", "model"}
        assert answered["label"] == CLASSES[int(row.argmax())]
        assert answered["confidence"] == pytest.approx(float(row.max()), abs=1e-5)
        assert answered["model"] == {"name": "bars", "version": 7}


def test_a_picture_and_multipart_files_are_answered_alike(address: str) -> None:
    picture = png(images_of(ROWS.batch)[3])
    _, alone = ask(address, "/v1/predict", picture, "image/png")
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        + picture
        + b"\r\n--edge--\r\n"
    )
    status, many = ask(address, "/v1/predict", body, "multipart/form-data; boundary=edge")
    assert status == 200
    assert many["predictions"][0]["probabilities"] == alone["predictions"][0]["probabilities"]


def test_a_picture_of_another_size_is_fitted_as_the_platform_does(model: EdgeModel) -> None:
    from mlplatform.serve.inference.request_decoder import ImageDecoder

    wide = np.random.default_rng(0).integers(0, 256, (30, 50), dtype=np.uint8)
    theirs = ImageDecoder(12, 12, 10, 1e6).decode_images([png(wide)])[0]
    assert (model.decode_image(png(wide), "it") == theirs).all()


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b"{", "application/json", 422, "not JSON"),
        (b"[]", "application/json", 422, "list"),
        (b'{"images": []}', "application/json", 422, "no image"),
        (b'{"images": [[1]]}', "application/json", 422, "12×12"),
        (b'{"images": ["%"]}', "application/json", 422, "base64"),
        (b'{"images": [], "x": 1}', "application/json", 422, "unknown field"),
        (b"no picture", "image/png", 422, "neither PNG nor JPEG"),
        (b"x", "text/plain", 422, "not understood"),
        (json.dumps({"images": [0] * 257}).encode(), "application/json", 413, "at most 256"),
    ],
)
def test_wrong_requests_get_words_and_the_server_lives_on(
    address: str, body: bytes, kind: str, status: int, words: str
) -> None:
    code, problem = ask(address, "/v1/predict", body, kind)
    assert (code, problem["status"]) == (status, status)
    assert words in problem["detail"]
    assert ask(address, "/readyz") == (200, {"status": "ready", "model": {"name": "bars", "version": 7}})


def test_an_unknown_path_is_not_found(address: str) -> None:
    assert ask(address, "/nothing")[0] == 404
    assert ask(address, "/v1/nothing", b"{}")[0] == 404


def test_a_file_without_classes_is_refused(version: Path) -> None:
    with pytest.raises(RequestRejectedError, match="platform export"):
        EdgeModel(version / ONNX_FILE)


def test_the_servers_files_run_alone_without_this_repository(version: Path, tmp_path: Path) -> None:
    copy_edge_server(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(SERVER_FILES)
    exported(version, tmp_path / "bars.onnx")
    probe = (
        "import sys, json; from pathlib import Path; import edge\n"
        "made = edge.predict_response(edge.EdgeModel(Path('bars.onnx')), 'application/json', sys.stdin.buffer.read())\n"
        "bad = {'torch', 'pipelines', 'registry', 'mlplatform', 'mlflow', 'onnx', 'fastapi'} & set(sys.modules)\n"
        "print(json.dumps([made['predictions'][0]['model'], sorted(bad)]))"
    )
    body = json.dumps({"images": [images_of(ROWS.batch)[0].tolist()]}).encode()
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, input=body, capture_output=True, check=True, env={}, timeout=60
    )
    assert json.loads(done.stdout) == [{"name": "bars", "version": 7}, []]
    beyond = [sys.executable, "edge.py", "bars.onnx", "--host", "0.0.0.0", "--port", "0"]
    refused = subprocess.run(beyond, cwd=tmp_path, capture_output=True, check=False, env={}, timeout=60, text=True)
    assert (refused.returncode, "EDGE_KEY" in refused.stderr) == (2, True)


def raw(address: str, sent: bytes) -> bytes:
    """What the server says to these bytes until it hangs up."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        with suppress(ConnectionError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        parts = []
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                parts.append(part)
    return b"".join(parts)


POST = b"POST /v1/predict HTTP/1.1\r\n"
BODY = json.dumps({"images": [images_of(ROWS.batch)[0].tolist()]}).encode()
LENGTH = b"content-length: %d\r\n" % len(BODY)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (POST + b"\r\n", 411),
        (POST + b"content-length: \xb2\r\n\r\n", 411),
        (POST + b"content-length: -1\r\n\r\n", 411),
        (POST + b"content-length: +5\r\n\r\n12345", 411),
        (POST + b"content-length: 1_0\r\n\r\n", 411),
        (POST + b"content-length: 5, 5\r\n\r\n12345", 411),
        (POST + b"content-length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (POST + b"content-length: 99999999999\r\n\r\n", 413),
        (POST + LENGTH * 2 + b"\r\n" + BODY, 411),
        (POST + LENGTH + b"transfer-encoding: chunked\r\n\r\n" + BODY, 411),
        (POST + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (POST + LENGTH + b"transfer-encoding : chunked\r\n\r\n" + BODY, 400),
        (POST + LENGTH + b"\x00: y\r\n\r\n" + BODY, 400),
        (POST + LENGTH + b"no colon\r\n\r\n" + BODY, 400),
        (POST + b"content-length: 100\r\n\r\n{}", 400),
        (b"GET /readyz HTTP/1.1\r\ncontent-length: 5\r\n\r\n12345", 400),
        (b"GET /readyz HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"x: y\r\n" * 500 + LENGTH + b"\r\n" + BODY, 431),
        (POST + b"x: " + b"y" * 70_000 + b"\r\n" + LENGTH + b"\r\n" + BODY, 431),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"PUT /v1/predict HTTP/1.1\r\n\r\n", 501),
        (POST + LENGTH + b"\r\n" + BODY, 200),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_lengths_and_headers_that_could_be_read_in_two_ways_are_refused_with_an_answer(
    address: str, sent: bytes, status: int
) -> None:
    assert raw(address, sent).split(b" ", 2)[1] == b"%d" % status
    assert raw(address, sent + b"GET /readyz HTTP/1.1\r\n\r\n").count(b"HTTP/1.1 ") == (2 if status == 200 else 1)
    assert ask(address, "/healthz")[0] == 200


def nested_parts(depth: int) -> bytes:
    opened = b"".join(
        b"--b%d\r\nContent-Disposition: form-data; name=a; filename=b\r\n"
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (level, level + 1)
        for level in range(depth)
    )
    return opened + b"\r\n--b0--"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[" * 200_000, "application/json"),
        (b'{"images":' * 100_000, "application/json"),
        (b'{"images": [' + b"[" * 900 + b"]" * 900 + b"]}", "application/json"),
        (b'{"images": [' + b"[" * 9000 + b"]" * 9000 + b"]}", "application/json"),
        (b'{"images": [' + b"9" * 5000 + b"]}", "application/json"),
        (b'{"images": [1e999999, NaN]}', "application/json"),
        (b'{"images": [], "' + b"x" * 10**6 + b'": 1}', "application/json"),
        (b'{"images": [[]], "request_id": "\\ud800"}', "application/json"),
        (b'{"images": [[]], "\\ud800": 1}', "application/json"),
        ("{}".encode("utf-16"), "application/json"),
        (b'{"images": ["' + b"," * 10**6 + b'"]}', "application/json"),
        (b'{"images": [' + b"{}," * 10**6 + b"1]}", "application/json; charset=punycode"),
        (nested_parts(3000), "multipart/form-data; boundary=b0"),
        (nested_parts(3000), "multipart/form-data; boundary=b0; charset=punycode"),
        (b"--x\r\n" * 100_000, "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data"),
        (b"", "text/plain; charset=undefined"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_bodies_that_would_end_a_thread_are_answered_shortly(address: str, body: bytes, kind: str) -> None:
    status, problem = ask(address, "/v1/predict", body, kind)
    assert status in (413, 422)
    assert len(problem["detail"]) < 400
    assert ask(address, "/healthz")[0] == 200


def test_pictures_together_are_limited_by_what_they_say(model: EdgeModel) -> None:
    large = png(np.zeros((4000, 4000), np.uint8))
    with pytest.raises(RequestRejectedError, match="over 64 megapixels") as caught:
        model.decode_images([large] * 5)
    assert caught.value.status == 413
    for size in ((6000, 6000), (1, 500_000), (500_000, 1)):
        with pytest.raises(RequestRejectedError, match="megapixels"):
            model.decode_images([png(np.zeros(size, np.uint8))])


def test_a_model_on_a_device_may_be_told_the_polarity(model: EdgeModel) -> None:
    bright = np.where(images_of(ROWS.batch)[0] > 127, 255, 0).astype(np.uint8)
    assert np.array_equal(model.decode_image(png(bright), "it"), model.decode_image(png(255 - bright), "it"))


def test_beyond_loopback_a_key_is_needed_and_asked_for(model: EdgeModel) -> None:
    for host in ("0.0.0.0", "::", "", "192.0.2.1"):
        with pytest.raises(RequestRejectedError, match="EDGE_KEY"):
            make_server(model, host, 0)
    server = make_server(model, "0.0.0.0", 0, key="a key")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        assert ask(address, "/healthz")[0] == 200
        assert ask(address, "/v1/predict", BODY)[0] == 401
        for header, status in (
            (b"x-api-key: a key", 200),
            (b"authorization: bearer a key", 200),
            (b"x-api-key: b", 401),
        ):
            assert b" %d " % status in raw(address, POST + header + b"\r\n" + LENGTH + b"\r\n" + BODY)[:20]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
