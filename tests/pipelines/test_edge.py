"""The edge server and the files it answers with."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pipelines.edge
from pipelines.data import ImageSet
from pipelines.edge import EdgeModel, Refused, make_server
from pipelines.edge_files import compare_file, export_file
from pipelines.errors import DataError, ModelFormatError
from pipelines.model import build_network
from pipelines.onnx_graph import export_onnx
from pipelines.predict import exportable, load, save
from pipelines.pte import load_pte
from pipelines.train import fit
from registry.package import MODEL_FILE, ONNX_FILE
from tests.pipelines.conftest import TINY, draw_bars

CLASSES = ("upright", "lying")
ROWS = draw_bars(60, 5)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A downloaded version's folder."""
    folder = tmp_path_factory.mktemp("version")
    made = build_network(TINY, 2, height=12, width=12, seed=1)
    network = fit(made, TINY, draw_bars(200, 1), draw_bars(40, 2), seed=1).network
    module = exportable(network, height=12, width=12, temperature=1.3)
    save(module, folder / MODEL_FILE)
    (folder / ONNX_FILE).write_bytes(export_onnx(module))
    return folder


def exported(version: Path, out: Path, form: str = "onnx", rows: ImageSet = ROWS) -> Path:
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
    found = compare_file(exported(version, tmp_path / "a.onnx"), version, CLASSES, "onnx", ROWS)
    assert (found.rows, found.same_answers) == (60, 60)
    assert found.max_difference < 1e-5
    assert found.accuracy == found.accuracy_pytorch > 0.9
    assert 0 < found.p50_ms <= found.p95_ms
    assert found.size_bytes == (tmp_path / "a.onnx").stat().st_size


def test_an_int8_file_gives_nearly_the_same_answers_and_its_difference_is_told(version: Path, tmp_path: Path) -> None:
    out = exported(version, tmp_path / "b.onnx", "onnx-int8")
    found = compare_file(out, version, CLASSES, "onnx-int8", ROWS)
    assert found.same_answers >= 57
    assert 1e-6 < found.max_difference < 0.5
    probabilities = EdgeModel(out)(ROWS.images)
    assert len(np.unique(probabilities)) > 60  # not in steps of 1/255
    assert probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert b"QuantizeLinear" in out.read_bytes()


def test_an_executorch_program_gives_the_same_answers(version: Path, tmp_path: Path) -> None:
    pytest.importorskip("executorch", reason="ExecuTorch is an extra: pip install 'mlplatform[executorch]'")
    out = exported(version, tmp_path / "a.pte", "executorch")
    found = compare_file(out, version, CLASSES, "executorch", ROWS)
    assert (found.rows, found.same_answers) == (60, 60)
    assert found.max_difference < 1e-4
    assert found.size_bytes == out.stat().st_size
    broken = tmp_path / "b.pte"
    broken.write_bytes(out.read_bytes()[:100])
    with pytest.raises(ModelFormatError, match="no program ExecuTorch can run"):
        load_pte(broken, CLASSES, 12, 12)


def test_without_executorch_its_format_says_how_to_get_it(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("executorch", "executorch.exir", "executorch.runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "executorch.backends.xnnpack.partition.xnnpack_partitioner", None)
    with pytest.raises(ModelFormatError, match=r"pip install 'mlplatform\[executorch\]'"):
        exported(version, tmp_path / "a.pte", "executorch")
    with pytest.raises(ModelFormatError, match="not installed"):
        load_pte(tmp_path / "a.pte", CLASSES, 12, 12)
    assert not (tmp_path / "a.pte").exists()


def test_what_cannot_be_exported_or_compared_is_refused(version: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="no ONNX graph"):
        exported(tmp_path, tmp_path / "c.onnx")
    with pytest.raises(DataError, match="int8 reads its ranges"):
        exported(version, tmp_path / "c.onnx", "onnx-int8", ROWS.take([]))
    with pytest.raises(DataError, match="no rows to compare"):
        compare_file(exported(version, tmp_path / "d.onnx"), version, CLASSES, "onnx", ROWS.take([]))
    assert not (tmp_path / "c.onnx").exists()


def test_json_of_pixels_and_base64_is_answered_in_the_platforms_form(address: str, version: Path) -> None:
    images = [ROWS.images[0].tolist(), base64.b64encode(png(ROWS.images[1])).decode()]
    status, made = ask(address, "/v1/predict", json.dumps({"images": images, "request_id": "mine"}).encode())
    assert status == 200
    assert made.keys() == {"request_id", "predictions", "latency_ms", "recorded"}
    assert (made["request_id"], made["recorded"]) == ("mine", False)
    wanted = load(version / MODEL_FILE, CLASSES)(ROWS.images[:2])
    for answered, row in zip(made["predictions"], wanted, strict=True):
        assert answered.keys() == {"id", "label", "confidence", "probabilities", "model"}
        assert answered["label"] == CLASSES[int(row.argmax())]
        assert answered["confidence"] == pytest.approx(float(row.max()), abs=1e-5)
        assert answered["model"] == {"name": "bars", "version": 7}


def test_a_picture_and_multipart_files_are_answered_alike(address: str) -> None:
    picture = png(ROWS.images[3])
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
    from mlplatform.serve.decode import Decoder

    wide = np.random.default_rng(0).integers(0, 256, (30, 50), dtype=np.uint8)
    theirs = Decoder(12, 12, 10, 1e6).images([png(wide)])[0]
    assert (model.decode(png(wide), "it") == theirs).all()


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b"{", "application/json", 422, "not JSON"),
        (b"[]", "application/json", 422, "list"),
        (b'{"images": []}', "application/json", 422, "no image"),
        (b'{"images": [[1]]}', "application/json", 422, "12x12"),
        (b'{"images": ["%"]}', "application/json", 422, "base64"),
        (b'{"images": [], "x": 1}', "application/json", 422, "unknown field"),
        (b"no picture", "image/png", 422, "no whole PNG"),
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
    with pytest.raises(Refused, match="platform export"):
        EdgeModel(version / ONNX_FILE)


def test_the_one_file_runs_alone_without_this_repository(version: Path, tmp_path: Path) -> None:
    code = Path(pipelines.edge.__file__).read_text(encoding="utf-8")
    (tmp_path / "edge.py").write_text(code, encoding="utf-8")
    exported(version, tmp_path / "bars.onnx")
    probe = (
        "import sys, json; from pathlib import Path; import edge\n"
        "made = edge.answer(edge.EdgeModel(Path('bars.onnx')), 'application/json', sys.stdin.buffer.read())\n"
        "bad = {'torch', 'pipelines', 'registry', 'mlplatform', 'mlflow', 'onnx', 'fastapi'} & set(sys.modules)\n"
        "print(json.dumps([made['predictions'][0]['model'], sorted(bad)]))"
    )
    body = json.dumps({"images": [ROWS.images[0].tolist()]}).encode()
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, input=body, capture_output=True, check=True, env={}, timeout=60
    )
    assert json.loads(done.stdout) == [{"name": "bars", "version": 7}, []]
