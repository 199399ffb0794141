"""An edge server, one exported model behind the platform's /v1/predict, in one file; it records nothing.

It needs Python, NumPy, Pillow and ONNX Runtime, and nothing of this repository: copy this file and the model to a
device and run `python edge.py MODEL.onnx`. Requests and answers are those of the platform's API server.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import signal
import threading
import time
import uuid
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

MAX_BODY: Final = 16 * 2**20
MAX_IMAGES: Final = 256
MAX_PIXELS: Final = 25_000_000
IDLE_SECONDS: Final = 15
LONGEST_TEXT: Final = 200
Grey = NDArray[np.uint8]


class Refused(ValueError):  # noqa: N818 - what the client reads, not a fault of the server
    """A request that cannot be answered, with its HTTP status."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class EdgeModel:
    """One ONNX graph ready to answer; its classes and name are read from its metadata."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Raise Refused where the file is no model that this platform exported."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        try:
            content = path.read_bytes()
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            noted = self._session.get_modelmeta().custom_metadata_map
            self.classes: tuple[str, ...] = tuple(json.loads(noted["classes"]))
            self.name, self.version = noted["name"], int(noted["version"])
        except Exception as error:  # ONNX Runtime raises anything on a broken graph; all mean one thing
            raise Refused(422, f"{path} is not a model of `platform export` ({error}); export it again") from error
        given = self._session.get_inputs()[0]
        self._given, (self.height, self.width) = given.name, given.shape[2:]

    def __call__(self, images: Grey) -> NDArray[np.float32]:
        """Probabilities (n, classes) of uint8 images (n, height, width)."""
        floats = images.astype(np.float32)[:, None] / np.float32(255.0)
        answer: NDArray[np.float32] = self._session.run(None, {self._given: floats})[0]
        return answer

    def decode(self, item: object, name: str) -> Grey:
        """One image as picture bytes, base64 text or an array of numbers from 0 to 255."""
        if isinstance(item, str):
            try:
                item = base64.b64decode(item.split(",")[-1], validate=True)
            except ValueError as error:
                raise Refused(422, f"{name} is not base64 ({error})") from error
        return self._picture(item, name) if isinstance(item, bytes) else self._pixels(item, name)

    def _pixels(self, item: object, name: str) -> Grey:
        try:
            array = np.asarray(item)
        except ValueError as error:
            raise Refused(422, f"{name} is ragged; send {self.height}x{self.width} numbers") from error
        if array.dtype.kind not in "iuf" or array.shape != (self.height, self.width):
            raise Refused(422, f"{name} is no {self.height}x{self.width} array of numbers")
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 255:
            raise Refused(422, f"{name} has pixels outside 0 to 255")
        return np.asarray(np.rint(array), dtype=np.uint8)

    def _picture(self, data: bytes, name: str) -> Grey:
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise Refused(413, f"{name} is over {MAX_PIXELS / 1e6:g} megapixels")
                opened.load()
                return self._fit(_on_black(opened))
        except Refused:
            raise
        except Exception as error:  # Pillow raises anything on a broken file; all mean one thing
            raise Refused(422, f"{name} is no whole PNG or JPEG ({error})") from error

    def _fit(self, grey: Image.Image) -> Grey:
        if grey.size == (self.width, self.height):
            return np.asarray(grey, dtype=np.uint8)
        scale = min(self.width / grey.width, self.height / grey.height)
        size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
        sheet = Image.new("L", (self.width, self.height))
        corner = ((self.width - size[0]) // 2, (self.height - size[1]) // 2)
        sheet.paste(grey.resize(size, Image.Resampling.LANCZOS), corner)
        return np.asarray(sheet, dtype=np.uint8)


def _on_black(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode == "I":
        values = np.asarray(picture, dtype=np.uint32) // 256
        return Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if "transparency" in picture.info or picture.mode in ("LA", "PA", "RGBA"):
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer).convert("L")
    return picture.convert("L")


def answer(model: EdgeModel, kind: str, body: bytes, request_id: str = "") -> dict[str, Any]:
    """The answer to one request, in the form of the platform's /v1/predict; raises Refused."""
    begun = time.perf_counter()
    items, texts = _asked(kind, body)
    if not items:
        raise Refused(422, "no image was sent; send at least one")
    if len(items) > MAX_IMAGES:
        raise Refused(413, f"{len(items)} images in one request; at most {MAX_IMAGES}")
    images = np.stack([model.decode(item, f"images[{index}]") for index, item in enumerate(items)])
    probabilities = model(images)
    made = {"name": model.name, "version": model.version}
    predictions = [
        {
            "id": str(uuid.uuid4()),
            "label": model.classes[int(row.argmax())],
            "confidence": min(1.0, float(row.max())),
            "probabilities": {name: round(float(p), 6) for name, p in zip(model.classes, row, strict=True)},
            "model": made,
        }
        for row in probabilities
    ]
    spent = round((time.perf_counter() - begun) * 1000, 3)
    told = texts.get("request_id") or request_id or str(uuid.uuid4())
    return {"request_id": told, "predictions": predictions, "latency_ms": spent, "recorded": False}


def _asked(kind: str, body: bytes) -> tuple[list[object], dict[str, str]]:
    plain = kind.partition(";")[0].strip().lower()
    if plain in ("image/png", "image/jpeg"):
        return [body], {}
    if plain == "multipart/form-data":
        whole = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode("latin-1") + body)
        parts = whole.get_payload() if whole.is_multipart() else []
        files = [part.get_payload(decode=True) for part in parts if part.get_filename()]  # type: ignore[union-attr]
        return list(files), {}
    if plain not in ("application/json", ""):
        raise Refused(422, f"content type {plain!r} is not understood; send JSON, multipart/form-data, PNG or JPEG")
    try:
        document = json.loads(body)
    except ValueError as error:
        raise Refused(422, f"the body is not JSON ({error})") from error
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        raise Refused(422, 'the body must be an object with a list "images"')
    unknown = set(document) - {"images", "client_id", "request_id", "tags"}
    if unknown:
        raise Refused(422, f"unknown field {min(unknown)!r}; allowed: images, client_id, request_id, tags")
    texts = {key: document[key] for key in ("client_id", "request_id") if key in document}
    if any(not isinstance(text, str) or len(text) > LONGEST_TEXT for text in texts.values()):
        raise Refused(422, f"client_id and request_id must be texts of at most {LONGEST_TEXT} characters")
    return document["images"], texts


def make_server(model: EdgeModel, host: str, port: int) -> ThreadingHTTPServer:
    """A server bound to an address, not yet serving; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = IDLE_SECONDS  # of a connection that says nothing

        def do_GET(self) -> None:
            """Whether the process lives and answers."""
            if self.path == "/healthz":
                self._send(200, {"status": "alive"})
            elif self.path == "/readyz":
                self._send(200, {"status": "ready", "model": {"name": model.name, "version": model.version}})
            else:
                self._refuse(Refused(404, f"{self.path} is not known; POST /v1/predict answers"))

        def do_POST(self) -> None:
            """Answer images."""
            try:
                length = self.headers.get("content-length", "")
                if not length.isdigit():
                    raise Refused(411, "send the length of the body")
                if int(length) > MAX_BODY:
                    raise Refused(413, f"the body has {length} bytes; at most {MAX_BODY}")
                body = self.rfile.read(int(length))
                if self.path != "/v1/predict":
                    raise Refused(404, f"{self.path} is not known; POST /v1/predict answers")
                kind, told = self.headers.get("content-type", ""), self.headers.get("x-request-id", "")
                self._send(200, answer(model, kind, body, told[:LONGEST_TEXT]))
            except Refused as refused:
                self._refuse(refused)

        def _refuse(self, refused: Refused) -> None:
            self.close_connection = True  # the rest of its body was not read
            body = {"type": "urn:mlplatform:problem:refused", "title": "The request cannot be answered"}
            self._send(refused.status, {**body, "status": refused.status, "detail": str(refused)}, "problem+json")

        def _send(self, status: int, value: object, kind: str = "json") -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", f"application/{kind}")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing of requests."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    return server


def serve(path: Path, host: str, port: int, threads: int = 1) -> None:
    """Answer until SIGTERM or Ctrl-C."""
    server = make_server(EdgeModel(path, threads), host, port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    try:
        server.serve_forever()
    finally:
        server.server_close()


def main() -> None:
    """The command line of this file alone."""
    parser = argparse.ArgumentParser(description="Answer images with one exported model.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    serve(asked.model, asked.host, asked.port, asked.threads)


if __name__ == "__main__":
    main()
