"""The edge server: answers the platform's /v1/predict on a device with one exported model, recording nothing.

It needs Python, NumPy, Pillow and ONNX Runtime, and of this repository three modules, which import nothing else of it:
`platform export --with-server` writes them beside the model; copy the folder to a device and run `python edge.py
MODEL.onnx` there. Requests and answers are those of the platform's API server.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
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
    from pipelines.edge.bounded_server import BoundedServer, serve_until_signal
    from pipelines.edge.request_payloads import (
        JsonLimits,
        PayloadError,
        PayloadTooLargeError,
        describe_value,
        parse_form,
    )
    from pipelines.image.image_decoding import (
        MIN_COUNTED_SIDE,
        POLARITIES,
        ImageDecodeError,
        Polarity,
        decode_image,
        image_from_array,
        parse_header,
    )
else:  # on a device, where they lie beside this file
    from bounded_server import BoundedServer, serve_until_signal  # type: ignore[import-not-found, no-redef]
    from image_decoding import (  # type: ignore[import-not-found, no-redef]
        MIN_COUNTED_SIDE,
        POLARITIES,
        ImageDecodeError,
        Polarity,
        decode_image,
        image_from_array,
        parse_header,
    )
    from request_payloads import (  # type: ignore[import-not-found, no-redef]
        JsonLimits,
        PayloadError,
        PayloadTooLargeError,
        describe_value,
        parse_form,
    )

os.environ["ORT_DISABLE_TELEMETRY"] = os.environ.get("ORT_DISABLE_TELEMETRY") or "1"  # it reads this when imported
import onnxruntime

MAX_BODY: Final = 16 * 2**20
MAX_IMAGES: Final = 256
MAX_PIXELS: Final = 25_000_000
MAX_REQUEST_PIXELS: Final = 64_000_000
MAX_TEXT_LENGTH: Final = 200
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
KEY_VARIABLE: Final = "EDGE_KEY"
MALFORMED_HEADER_DEFECTS: Final = (MissingHeaderBodySeparatorDefect, FirstHeaderLineIsContinuationDefect)
GreyImages = NDArray[np.uint8]


class RequestRejectedError(ValueError):
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
            raise RequestRejectedError(
                422, f"{path} is not a model of `platform export` ({error}); export it again"
            ) from error
        model_input = self._session.get_inputs()[0]
        self._input_name, (self.height, self.width) = model_input.name, model_input.shape[2:]
        self.polarity = polarity

    def __call__(self, images: GreyImages) -> NDArray[np.float32]:
        """Probabilities (n, classes) of uint8 images (n, height, width)."""
        floats = images.astype(np.float32)[:, None] / np.float32(255.0)
        answer: NDArray[np.float32] = self._session.run(None, {self._input_name: floats})[0]
        return answer

    def decode_images(self, items: list[object]) -> GreyImages:
        """All images of a request (n, height, width); raises Refused."""
        if not items:
            raise RequestRejectedError(422, "no image was sent; send at least one")
        if len(items) > MAX_IMAGES:
            raise RequestRejectedError(413, f"{len(items)} images in one request; at most {MAX_IMAGES}")
        pixel_budget, images = MAX_REQUEST_PIXELS, []
        for index, item in enumerate(items):
            one, work = self._decode_item(item, f"images[{index}]", pixel_budget)
            images.append(one)
            pixel_budget -= work
        return np.stack(images)

    def decode_image(self, item: object, name: str) -> GreyImages:
        """One image as bytes of an image file, base64 text or an array of numbers from 0 to 255."""
        return self._decode_item(item, name, MAX_REQUEST_PIXELS)[0]

    def _decode_item(self, item: object, name: str, pixel_budget: int) -> tuple[GreyImages, int]:
        """The image, and what it cost of the pixels that are left."""
        if isinstance(item, str):
            try:
                item = base64.b64decode(item.rpartition(",")[2], validate=True)
            except ValueError as error:
                raise RequestRejectedError(422, f"{name} is not base64 ({error})") from error
        try:
            if not isinstance(item, bytes):
                return image_from_array(item, self.height, self.width), 0
            header = parse_header(item)
            if (
                header.width * header.height > MAX_PIXELS
                or MIN_COUNTED_SIDE * max(header.width, header.height) > MAX_PIXELS
            ):
                raise RequestRejectedError(
                    413, f"{name} is over {MAX_PIXELS / 1e6:g} megapixels, or very long and thin"
                )
            if header.decode_cost > pixel_budget:
                raise RequestRejectedError(
                    413, f"with {name} the pictures are over {MAX_REQUEST_PIXELS / 1e6:g} megapixels"
                )
            return decode_image(header, self.polarity, self.height, self.width), header.decode_cost
        except ImageDecodeError as error:
            raise RequestRejectedError(422, f"{name} {error}") from error


def predict_response(model: EdgeModel, content_type: str, body: bytes, request_id: str = "") -> dict[str, Any]:
    """The answer to one request, in the form of the platform's /v1/predict; raises RequestRejectedError."""
    started = time.perf_counter()
    try:
        items, texts = _parse_request(model, content_type, body)
    except PayloadTooLargeError as error:
        raise RequestRejectedError(413, str(error)) from error
    except PayloadError as error:
        raise RequestRejectedError(422, str(error)) from error
    probabilities = model(model.decode_images(items))
    model_name = {"name": model.name, "version": model.version}
    predictions = [
        {
            "id": str(uuid.uuid4()),
            "label": model.classes[int(row.argmax())],
            "confidence": min(1.0, float(row.max())),
            "probabilities": {name: round(float(p), 6) for name, p in zip(model.classes, row, strict=True)},
            "model": model_name,
        }
        for row in probabilities
    ]
    latency_ms = round((time.perf_counter() - started) * 1000, 3)
    answered_id = texts.get("request_id") or request_id or str(uuid.uuid4())
    return {"request_id": answered_id, "predictions": predictions, "latency_ms": latency_ms, "recorded": False}


def _parse_request(model: EdgeModel, content_type: str, body: bytes) -> tuple[list[object], dict[str, str]]:
    plain = content_type.partition(";")[0].strip().lower()
    if plain in ("image/png", "image/jpeg"):
        return [body], {}
    if plain == "multipart/form-data":
        return list(parse_form(body, content_type, MAX_IMAGES).files), {}
    if plain not in ("application/json", ""):
        raise RequestRejectedError(
            422, f"content type {plain[:40]!r} is not understood; send JSON, multipart/form-data, PNG or JPEG"
        )
    JsonLimits.for_images(MAX_IMAGES, model.height, model.width).check(body)
    try:
        document = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RequestRejectedError(422, f"the body is not JSON ({str(error)[:100]})") from error
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        raise RequestRejectedError(422, 'the body must be an object with a list "images"')
    unknown = set(document) - {"images", "client_id", "request_id", "tags"}
    if unknown:
        raise RequestRejectedError(
            422, f"unknown field {describe_value(min(unknown))}; allowed: images, client_id, request_id, tags"
        )
    texts = {key: document[key] for key in ("client_id", "request_id") if key in document}
    if any(
        not isinstance(text, str) or len(text) > MAX_TEXT_LENGTH or not text.isprintable() for text in texts.values()
    ):
        raise RequestRejectedError(
            422, f"client_id and request_id must be printable texts of at most {MAX_TEXT_LENGTH} characters"
        )
    return document["images"], texts


class EdgeServer(BoundedServer):
    """The model behind an address."""

    def __init__(self, address: tuple[str, int], model: EdgeModel, key: str, clock: Callable[[], float]) -> None:
        self.model = model
        super().__init__(address, EdgeRequestHandler, key, clock)


class EdgeRequestHandler(BaseHTTPRequestHandler):
    """One connection; every request on it gets an answer, or the end of the connection."""

    protocol_version = "HTTP/1.1"
    server: EdgeServer

    def handle_one_request(self) -> None:
        """Wait for the next request and answer it."""
        self.server.mark_connection(self.connection, busy=False)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Refuse headers of which the library reads only those before a malformed one: a proxy may read all."""
        if not super().parse_request():
            return False
        if self.headers.get_payload() or any(
            isinstance(defect, MALFORMED_HEADER_DEFECTS) for defect in self.headers.defects
        ):
            self._send_problem(RequestRejectedError(400, "a header is malformed"))
            return False
        return True

    def do_GET(self) -> None:
        """Whether the process lives and answers."""
        model = self.server.model
        if self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers:
            self._send_problem(RequestRejectedError(400, "a GET has no body"))
        elif self.path == "/healthz":
            self._send_json(200, {"status": "alive"})
        elif self.path == "/readyz":
            self._send_json(200, {"status": "ready", "model": {"name": model.name, "version": model.version}})
        else:
            self._send_problem(RequestRejectedError(404, f"{self.path[:100]} is not known; POST /v1/predict answers"))

    def do_POST(self) -> None:
        """Answer images."""
        try:
            self._check_key()
            length = self._body_length()
            if self.path != "/v1/predict":
                raise RequestRejectedError(404, f"{self.path[:100]} is not known; POST /v1/predict answers")
            body = self.rfile.read(length)
            if len(body) != length:
                raise RequestRejectedError(400, f"the body ended after {len(body)} of {length} bytes")
            self.server.mark_connection(self.connection, busy=True)
            content_type, request_id = self.headers.get("content-type", ""), self.headers.get("x-request-id", "")
            with self.server.prediction_slots:
                response = predict_response(self.server.model, content_type, body, request_id[:MAX_TEXT_LENGTH])
            self._send_json(200, response)
        except RequestRejectedError as error:
            self._send_problem(error)
        except OSError:
            self.close_connection = True
        except Exception as error:  # noqa: BLE001 - a request must not end without an answer
            self._send_problem(RequestRejectedError(500, f"the server failed ({type(error).__name__})"))

    def _check_key(self) -> None:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        key = self.headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")
        if not self.server.accepts_key(key):
            raise RequestRejectedError(401, "give this server's key: Authorization: Bearer KEY")

    def _body_length(self) -> int:
        """How long the body is; two ways to say it, or two lengths, could be read differently by a proxy."""
        lengths = self.headers.get_all("content-length", [])
        if "transfer-encoding" in self.headers:
            raise RequestRejectedError(411, "send the length of the body, and no Transfer-Encoding")
        if len(lengths) != 1 or not lengths[0].isascii() or not lengths[0].isdigit():
            raise RequestRejectedError(411, "send the length of the body, once, as a whole number")
        if len(lengths[0]) > 12 or int(lengths[0]) > MAX_BODY:
            raise RequestRejectedError(413, f"the body has {lengths[0][:20]} bytes; at most {MAX_BODY}")
        return int(lengths[0])

    def _send_problem(self, error: RequestRejectedError) -> None:
        self.close_connection = True  # the rest of its body was not read
        body = {"type": "urn:mlplatform:problem:refused", "title": "The request cannot be answered"}
        self._send_json(error.status, {**body, "status": error.status, "detail": str(error)}, "problem+json")

    def _send_json(self, status: int, value: object, kind: str = "json") -> None:
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
        raise RequestRejectedError(401, f"{host} is not loopback: set {KEY_VARIABLE} to a key that clients must show")
    return EdgeServer((host, port), model, key, clock)


def main() -> None:
    """The command line of this file alone."""
    parser = argparse.ArgumentParser(description="Answer images with one exported model.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--polarity", choices=POLARITIES, default="auto")
    arguments = parser.parse_args()
    try:
        model = EdgeModel(arguments.model, arguments.threads, arguments.polarity)
        serve_until_signal(make_server(model, arguments.host, arguments.port, os.environ.get(KEY_VARIABLE, "")))
    except RequestRejectedError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
