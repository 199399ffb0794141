"""An edge server, one exported model behind the platform's /v1/predict; it records nothing.

It needs Python, NumPy, Pillow and ONNX Runtime, and of this repository connections.py, payloads.py and pictures.py:
`platform export --with-server` writes them beside the model; copy the folder to a device and run `python edge.py
MODEL.onnx` there. Requests and answers are those of the platform's API server.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

if __package__ == "pipelines.edge":
    from pipelines.edge.bounded_server import BoundedServer
    from pipelines.edge.request_payloads import Amounts, PayloadError, PayloadTooLargeError, read_form, shown
    from pipelines.image.image_decoding import LEAST_SIDE, POLARITIES, PictureError, Polarity, outline, pixels, read
else:  # on a device, where they lie beside this file
    from connections import BoundedServer  # type: ignore[import-not-found, no-redef]
    from payloads import (  # type: ignore[import-not-found, no-redef]
        Amounts,
        PayloadError,
        PayloadTooLargeError,
        read_form,
        shown,
    )
    from pictures import (  # type: ignore[import-not-found, no-redef]
        LEAST_SIDE,
        POLARITIES,
        PictureError,
        Polarity,
        outline,
        pixels,
        read,
    )

os.environ["ORT_DISABLE_TELEMETRY"] = os.environ.get("ORT_DISABLE_TELEMETRY") or "1"  # it reads this when imported
import onnxruntime

MAX_BODY: Final = 16 * 2**20
MAX_IMAGES: Final = 256
MAX_PIXELS: Final = 25_000_000
MAX_PIXELS_TOGETHER: Final = 64_000_000
LONGEST_TEXT: Final = 200
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
KEY_VARIABLE: Final = "EDGE_KEY"
MALFORMED: Final = (MissingHeaderBodySeparatorDefect, FirstHeaderLineIsContinuationDefect)
Grey = NDArray[np.uint8]


class Refused(ValueError):  # noqa: N818 - what the client reads, not a fault of the server
    """A request that cannot be answered, with its HTTP status."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class EdgeModel:
    """One ONNX graph ready to answer; its classes and name are read from its metadata."""

    polarity: Polarity = "auto"

    def __init__(self, path: Path, threads: int = 1, polarity: Polarity = "auto") -> None:
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
        self.polarity = polarity

    def __call__(self, images: Grey) -> NDArray[np.float32]:
        """Probabilities (n, classes) of uint8 images (n, height, width)."""
        floats = images.astype(np.float32)[:, None] / np.float32(255.0)
        answer: NDArray[np.float32] = self._session.run(None, {self._given: floats})[0]
        return answer

    def images(self, items: list[object]) -> Grey:
        """All images of a request (n, height, width); raises Refused."""
        if not items:
            raise Refused(422, "no image was sent; send at least one")
        if len(items) > MAX_IMAGES:
            raise Refused(413, f"{len(items)} images in one request; at most {MAX_IMAGES}")
        left, made = MAX_PIXELS_TOGETHER, []
        for index, item in enumerate(items):
            one, work = self._one(item, f"images[{index}]", left)
            made.append(one)
            left -= work
        return np.stack(made)

    def decode(self, item: object, name: str) -> Grey:
        """One image as picture bytes, base64 text or an array of numbers from 0 to 255."""
        return self._one(item, name, MAX_PIXELS_TOGETHER)[0]

    def _one(self, item: object, name: str, left: int) -> tuple[Grey, int]:
        """The image, and what it cost of the pixels that are left."""
        if isinstance(item, str):
            try:
                item = base64.b64decode(item.rpartition(",")[2], validate=True)
            except ValueError as error:
                raise Refused(422, f"{name} is not base64 ({error})") from error
        try:
            if not isinstance(item, bytes):
                return pixels(item, self.height, self.width), 0
            found = outline(item)
            if found.columns * found.rows > MAX_PIXELS or LEAST_SIDE * max(found.columns, found.rows) > MAX_PIXELS:
                raise Refused(413, f"{name} is over {MAX_PIXELS / 1e6:g} megapixels, or very long and thin")
            if found.work > left:
                raise Refused(413, f"with {name} the pictures are over {MAX_PIXELS_TOGETHER / 1e6:g} megapixels")
            return read(found, self.polarity, self.height, self.width), found.work
        except PictureError as error:
            raise Refused(422, f"{name} {error}") from error


def answer(model: EdgeModel, kind: str, body: bytes, request_id: str = "") -> dict[str, Any]:
    """The answer to one request, in the form of the platform's /v1/predict; raises Refused."""
    begun = time.perf_counter()
    try:
        items, texts = _asked(model, kind, body)
    except PayloadTooLargeError as error:
        raise Refused(413, str(error)) from error
    except PayloadError as error:
        raise Refused(422, str(error)) from error
    probabilities = model(model.images(items))
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


def _asked(model: EdgeModel, kind: str, body: bytes) -> tuple[list[object], dict[str, str]]:
    plain = kind.partition(";")[0].strip().lower()
    if plain in ("image/png", "image/jpeg"):
        return [body], {}
    if plain == "multipart/form-data":
        return list(read_form(body, kind, MAX_IMAGES).files), {}
    if plain not in ("application/json", ""):
        raise Refused(
            422, f"content type {plain[:40]!r} is not understood; send JSON, multipart/form-data, PNG or JPEG"
        )
    Amounts.of_pictures(MAX_IMAGES, model.height, model.width).check(body)
    try:
        document = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(422, f"the body is not JSON ({str(error)[:100]})") from error
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        raise Refused(422, 'the body must be an object with a list "images"')
    unknown = set(document) - {"images", "client_id", "request_id", "tags"}
    if unknown:
        raise Refused(422, f"unknown field {shown(min(unknown))}; allowed: images, client_id, request_id, tags")
    texts = {key: document[key] for key in ("client_id", "request_id") if key in document}
    if any(not isinstance(text, str) or len(text) > LONGEST_TEXT or not text.isprintable() for text in texts.values()):
        raise Refused(422, f"client_id and request_id must be printable texts of at most {LONGEST_TEXT} characters")
    return document["images"], texts


class EdgeServer(BoundedServer):
    """The model behind an address."""

    def __init__(self, address: tuple[str, int], model: EdgeModel, key: str, clock: Callable[[], float]) -> None:
        self.model = model
        super().__init__(address, Handler, key, clock)


class Handler(BaseHTTPRequestHandler):
    """One connection; every request on it gets an answer, or the end of the connection."""

    protocol_version = "HTTP/1.1"
    server: EdgeServer

    def handle_one_request(self) -> None:
        """Wait for the next request and answer it."""
        self.server.note(self.connection, working=False)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Refuse headers of which the library reads only those before a malformed one: a proxy may read all."""
        if not super().parse_request():
            return False
        if self.headers.get_payload() or any(isinstance(each, MALFORMED) for each in self.headers.defects):
            self._refuse(Refused(400, "a header is malformed"))
            return False
        return True

    def do_GET(self) -> None:
        """Whether the process lives and answers."""
        model = self.server.model
        if self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers:
            self._refuse(Refused(400, "a GET has no body"))
        elif self.path == "/healthz":
            self._send(200, {"status": "alive"})
        elif self.path == "/readyz":
            self._send(200, {"status": "ready", "model": {"name": model.name, "version": model.version}})
        else:
            self._refuse(Refused(404, f"{self.path[:100]} is not known; POST /v1/predict answers"))

    def do_POST(self) -> None:
        """Answer images."""
        try:
            self._check_key()
            length = self._length()
            if self.path != "/v1/predict":
                raise Refused(404, f"{self.path[:100]} is not known; POST /v1/predict answers")
            body = self.rfile.read(length)
            if len(body) != length:
                raise Refused(400, f"the body ended after {len(body)} of {length} bytes")
            self.server.note(self.connection, working=True)
            kind, told = self.headers.get("content-type", ""), self.headers.get("x-request-id", "")
            with self.server.turns:
                made = answer(self.server.model, kind, body, told[:LONGEST_TEXT])
            self._send(200, made)
        except Refused as refused:
            self._refuse(refused)
        except OSError:
            self.close_connection = True
        except Exception as error:  # noqa: BLE001 - a request must not end without an answer
            self._refuse(Refused(500, f"the server failed ({type(error).__name__})"))

    def _check_key(self) -> None:
        scheme, _, rest = self.headers.get("authorization", "").partition(" ")
        given = self.headers.get("x-api-key") or (rest.strip() if scheme.lower() == "bearer" else "")
        if not self.server.opens(given):
            raise Refused(401, "give this server's key: Authorization: Bearer KEY")

    def _length(self) -> int:
        """How long the body is; two ways to say it, or two lengths, could be read differently by a proxy."""
        given = self.headers.get_all("content-length", [])
        if "transfer-encoding" in self.headers:
            raise Refused(411, "send the length of the body, and no Transfer-Encoding")
        if len(given) != 1 or not given[0].isascii() or not given[0].isdigit():
            raise Refused(411, "send the length of the body, once, as a whole number")
        if len(given[0]) > 12 or int(given[0]) > MAX_BODY:
            raise Refused(413, f"the body has {given[0][:20]} bytes; at most {MAX_BODY}")
        return int(given[0])

    def _refuse(self, refused: Refused) -> None:
        self.close_connection = True  # the rest of its body was not read
        body = {"type": "urn:mlplatform:problem:refused", "title": "The request cannot be answered"}
        self._send(refused.status, {**body, "status": refused.status, "detail": str(refused)}, "problem+json")

    def _send(self, status: int, value: object, kind: str = "json") -> None:
        content = json.dumps(value).encode()
        with suppress(OSError):
            self.send_response(status)
            self.send_header("content-type", f"application/{kind}")
            self.send_header("content-length", str(len(content)))
            if status == 401:
                self.send_header("www-authenticate", "Bearer")
            if self.close_connection:
                self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing of requests."""


def make_server(
    model: EdgeModel, host: str, port: int, key: str = "", clock: Callable[[], float] = time.monotonic
) -> EdgeServer:
    """A server bound to an address, not yet serving; port 0 takes a free one. Beyond loopback it needs a key."""
    if host not in LOOPBACK and not key:
        raise Refused(401, f"{host} is not loopback: set {KEY_VARIABLE} to a key that clients must show")
    return EdgeServer((host, port), model, key, clock)


def run(server: EdgeServer) -> None:
    """Answer until SIGTERM or Ctrl-C."""
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
    parser.add_argument("--polarity", choices=POLARITIES, default="auto")
    asked = parser.parse_args()
    try:
        model = EdgeModel(asked.model, asked.threads, asked.polarity)
        run(make_server(model, asked.host, asked.port, os.environ.get(KEY_VARIABLE, "")))
    except Refused as refused:
        parser.error(str(refused))


if __name__ == "__main__":
    main()
