"""Decodes the images of prediction requests into the model's input: uint8 greys of its size.

How an image file is read is in `pipelines/image/image_decoding.py`. Limits are checked on what a body and its images
say of themselves, before anything is allocated for them.
"""

import base64
import struct
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from mlplatform.errors import InvalidInputError, TooLargeError
from mlplatform.serve.inference.decoded_request import DecodedRequest
from mlplatform.serve.inference.request_fields import (
    SMALL_BODY_BYTES,
    check_amounts,
    validate_references,
    validate_tags,
    validate_text,
)
from mlplatform.serve.inference.row_decoder import RowDecoder
from pipelines.batch import Batch
from pipelines.data import image_batch
from pipelines.edge.request_payloads import JsonLimits, describe_value
from pipelines.image.grey_png import encode_png
from pipelines.image.image_decoding import (
    MIN_COUNTED_SIDE,
    PNG_SIGNATURE,
    ImageDecodeError,
    Polarity,
    decode_image,
    image_from_array,
    parse_header,
)
from pipelines.inputs.image_codec import ImageCodec
from pipelines.inputs.input_codec import InputCodec
from pipelines.inputs.table_codec import TableCodec
from registry.model_contract import ImageInputs, Inputs, TableInputs

SMALL_IMAGE_PIXELS = 128 * 128
LARGE_IMAGE_PIXELS = 10**6
"""Pictures of more are decoded one at a time: some forms take fifteen bytes for a pixel meanwhile."""
MAX_DECODERS = 16
FIELDS = frozenset({"images", "client_id", "references", "request_id", "tags"})
GreyImage = NDArray[np.uint8]


def occurs_in_images(body: bytes, mark: bytes) -> bool:
    """Whether there may be such a mark in the images of a JSON text: between its first and its last bracket."""
    return body.find(mark, body.find(b"["), body.rfind(b"]")) >= 0


class HasInputs(Protocol):
    """A model that says what it takes."""

    inputs: Inputs


@dataclass(frozen=True)
class Decoders:
    """A server's decoders, one for each kind of input among the models that it loads; they share its limits."""

    max_images: int
    max_pixels: float
    max_request_pixels: float = inf
    polarity: Polarity = "auto"
    large_image_lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _by_inputs: dict[int, tuple[Inputs, "Decoder"]] = field(default_factory=dict, repr=False, compare=False)
    """By the identity of the inputs, which are held here so that it stays theirs: hashing a wide table is dear."""

    def of(self, model: HasInputs) -> "Decoder":
        """What decodes for this model."""
        known = self._by_inputs.get(id(model.inputs))
        if known is None:
            if len(self._by_inputs) >= MAX_DECODERS:  # a server follows many versions in its life
                self._by_inputs.clear()
            known = self._by_inputs[id(model.inputs)] = model.inputs, self._make(model.inputs)
        return known[1]

    def _make(self, inputs: Inputs) -> "Decoder":
        if isinstance(inputs, TableInputs):
            return RowDecoder(TableCodec(inputs.columns), self.max_images)
        if not isinstance(inputs, ImageInputs):
            raise InvalidInputError(f"nothing decodes requests for {inputs}; serve a model of pictures or of a table")
        return ImageDecoder(
            inputs.height,
            inputs.width,
            self.max_images,
            self.max_pixels,
            self.max_request_pixels,
            self.polarity,
            self.large_image_lock,
        )


@dataclass(frozen=True)
class ImageDecoder:
    """Decodes for a model whose input is `height` × `width` greys."""

    height: int
    width: int
    max_images: int
    max_pixels: float
    max_request_pixels: float = inf
    polarity: Polarity = "auto"
    large_image_lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    """Held while a large picture is decoded."""

    @cached_property
    def codec(self) -> InputCodec:
        """What else is done with such pictures."""
        return ImageCodec(self.height, self.width)

    @property
    def wanted(self) -> str:
        """What this model takes, for whoever sends something else."""
        return f'this model takes pictures of {self.height}×{self.width}: send {{"images": [...]}} as JSON, or files'

    def check_amounts(self, body: bytes) -> None:
        """Raise TooLargeError or InvalidInputError for a JSON text of more than the most pictures hold, unparsed."""
        if len(body) > SMALL_BODY_BYTES:
            most = f"{self.max_images} pictures of {self.height}×{self.width} need no more (PLATFORM_MAX_IMAGES)"
            check_amounts(body, JsonLimits.for_images(self.max_images, self.height, self.width), most)

    def decode_json(self, body: bytes) -> DecodedRequest:
        """What `{"images": [...], "client_id": ..., "tags": {...}}` holds."""
        self.check_amounts(body)
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidInputError(f"the body is not JSON ({error}); NaN and Infinity are not JSON") from error
        if not isinstance(document, dict) or not isinstance(document.get("images"), list):
            raise InvalidInputError(f'the body must be an object with a list "images"; {self.wanted}')
        unknown = document.keys() - FIELDS
        if unknown:
            raise InvalidInputError(
                f"unknown field {describe_value(min(unknown))}; allowed: {', '.join(sorted(FIELDS))}. {self.wanted}"
            )
        texts = {key: document[key] for key in ("client_id", "request_id") if key in document}
        for key, value in texts.items():
            validate_text(value, key)
        items = document["images"]
        if len(items) <= self.max_images and not (
            occurs_in_images(body, b"e") and (b"true" in body or b"false" in body)
        ):
            images = self._decode_integers(items)
            if images is not None:
                return self._request(image_batch(images), texts, document)
        return self._request(self.decode(items), texts, document)

    def _request(self, batch: Batch, texts: dict[str, str], document: Mapping[str, object]) -> DecodedRequest:
        references = validate_references(document["references"], len(batch)) if "references" in document else ()
        return DecodedRequest(batch, texts, validate_tags(document.get("tags")), references)

    def example(self, seed: int) -> bytes:
        """A PNG, to measure with."""
        return encode_png(np.random.default_rng(seed).integers(0, 256, (self.height, self.width), dtype=np.uint8))

    def decode_example(self, sent: bytes) -> Batch:
        """The picture of such a PNG."""
        return self.decode([sent])

    def _decode_integers(self, items: Sequence[object]) -> GreyImage | None:
        """Pixel arrays of whole numbers, the usual case, read at once; None where anything else is among them."""
        rows: list[object] = []
        for item in items:
            if type(item) is not list or len(item) != self.height:
                return None
            rows += item
        if set(map(type, rows)) != {list} or set(map(len, rows)) != {self.width}:  # type: ignore[arg-type]
            return None
        try:
            data = b"".join(map(bytes, rows))  # type: ignore[arg-type]  # it refuses what is no number to 255
        except (TypeError, ValueError):
            return None
        return np.frombuffer(data, dtype=np.uint8).reshape(len(items), self.height, self.width)

    def decode(self, items: Sequence[object]) -> Batch:
        """Decode picture bytes, base64 texts and pixel arrays into rows for the model."""
        return image_batch(self.decode_images(items))

    def decode_images(self, items: Sequence[object]) -> GreyImage:
        """Decode picture bytes, base64 texts and pixel arrays into one (n, height, width) array."""
        if not items:
            raise InvalidInputError("no image was sent; send at least one")
        if len(items) > self.max_images:
            raise TooLargeError(f"{len(items)} images in one request; at most {self.max_images} (PLATFORM_MAX_IMAGES)")
        left, decoded = self.max_request_pixels, []
        for index, item in enumerate(items):
            one, pixels = self._decode_item(item, f"images[{index}]", left)
            decoded.append(one)
            left -= pixels
        return np.stack(decoded)

    def _decode_item(self, item: object, name: str, pixels_left: float) -> tuple[GreyImage, int]:
        """The image, and how many pixels had to be decoded for it."""
        if isinstance(item, str):
            try:
                item = base64.b64decode(item.rpartition(",")[2], validate=True)
            except ValueError as error:  # binascii.Error, or a text that is not ASCII
                raise InvalidInputError(f"{name} is not base64 ({error})") from error
        if isinstance(item, bytes):
            return self.decode_image(item, name, pixels_left)
        return self.decode_pixels(item, name), 0

    def decode_pixels(self, item: object, name: str) -> GreyImage:
        """A nested list of height × width numbers from 0 to 255."""
        try:
            return image_from_array(item, self.height, self.width)
        except ImageDecodeError as error:
            raise InvalidInputError(f"{name} {error}") from error

    def decode_image(self, data: bytes, name: str, pixels_left: float = inf) -> tuple[GreyImage, int]:
        """A PNG or JPEG of any size up to the limit, and what it costs in pixels, of which `left` may be spent."""
        try:
            header = parse_header(data)
            columns, rows, decode_cost = header.width, header.height, header.decode_cost
            if columns * rows > self.max_pixels:
                raise TooLargeError(
                    f"{name} is {columns}×{rows} pixels; at most {self.max_pixels / 1e6:g} megapixels "
                    "(PLATFORM_MAX_MEGAPIXELS)"
                )
            if MIN_COUNTED_SIDE * max(columns, rows) > max(self.max_pixels, MIN_COUNTED_SIDE**2):
                raise TooLargeError(
                    f"{name} is {columns}×{rows} pixels; no side may be longer than "
                    f"{self.max_pixels // MIN_COUNTED_SIDE:g} "
                    f"(a {MIN_COUNTED_SIDE}th of PLATFORM_MAX_MEGAPIXELS)"
                )
            if decode_cost > pixels_left:  # a few kilobytes may say that they are megapixels
                raise TooLargeError(
                    f"with {name} the pictures of this request are over "
                    f"{self.max_request_pixels / 1e6:g} megapixels together (PLATFORM_MAX_REQUEST_MEGAPIXELS)"
                )
            with self.large_image_lock if decode_cost > LARGE_IMAGE_PIXELS else nullcontext():
                return decode_image(header, self.polarity, self.height, self.width), decode_cost
        except ImageDecodeError as error:
            raise InvalidInputError(f"{name} {error}") from error


Decoder = ImageDecoder | RowDecoder
"""What decodes the requests for one model."""


def image_decoder(decoder: Decoder) -> ImageDecoder:
    """The decoder, where it is one of pictures; raises InvalidInputError that says what the model takes."""
    if isinstance(decoder, ImageDecoder):
        return decoder
    raise InvalidInputError(f"{decoder.wanted}; it takes no pictures")


def row_decoder(decoder: Decoder) -> RowDecoder:
    """The decoder, where it is one of rows; raises InvalidInputError that says what the model takes."""
    if isinstance(decoder, RowDecoder):
        return decoder
    raise InvalidInputError(f"{decoder.wanted}; it takes no rows")


def is_small_png(data: bytes) -> bool:
    """Whether this is a small PNG of few pixels and lines, by its header: one that takes no time to decode."""
    if not 24 <= len(data) <= SMALL_BODY_BYTES or data[:8] != PNG_SIGNATURE or data[12:16] != b"IHDR":
        return False
    columns, rows = struct.unpack(">II", data[16:24])
    return bool(max(columns, MIN_COUNTED_SIDE) * max(rows, MIN_COUNTED_SIDE) <= SMALL_IMAGE_PIXELS)
