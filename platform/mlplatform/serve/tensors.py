"""Tensors of the Open Inference Protocol v2, as JSON and as bytes behind it; it knows no model and no HTTP.

A request's body is a JSON object, or such an object of `header` bytes followed by the raw contents of the tensors that
say `binary_data_size`, in their order. Answers are written the same way, each output as it was asked for.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from mlplatform.errors import InvalidInputError, TooLargeError
from mlplatform.serve.decode import Decoder, Grey

INPUT: Final = "images"
SHAPES: Final = "[n, 1, height, width] or [n, height, width]"
OUTPUTS: Final = ("label", "confidence", "probabilities", "prediction_id")
MOST_SIDES: Final = 4
DTYPES: Final[Mapping[str, type[np.generic]]] = {"FP32": np.float32, "UINT8": np.uint8}


@dataclass(frozen=True)
class Wanted:
    """An output that was asked for, and whether as bytes."""

    name: str
    binary: bool


@dataclass(frozen=True)
class Inference:
    """One request: the images' tensor as sent, what is asked for, and the request's own name and parameters."""

    images: NDArray[np.generic]
    outputs: tuple[Wanted, ...]
    binary_by_default: bool
    id: str
    parameters: Mapping[str, Any]

    def greys(self, decoder: Decoder) -> Grey:
        """The tensor as uint8 images (n, height, width): FP32 from 0 to 1, UINT8 from 0 to 255."""
        images, wanted = self.images, (decoder.height, decoder.width)
        if images.ndim == 4 and images.shape[1] == 1:
            images = images[:, 0]
        if images.ndim != 3 or images.shape[1:] != wanted:
            raise InvalidInputError(
                f"input {INPUT!r} has shape {list(self.images.shape)}; this model takes {SHAPES} with height "
                f"{decoder.height} and width {decoder.width}"
            )
        if not len(images):
            raise InvalidInputError(f"input {INPUT!r} holds no image; send at least one")
        if len(images) > decoder.max_images:
            raise TooLargeError(
                f"{len(images)} images in one request; at most {decoder.max_images} (PLATFORM_MAX_IMAGES)"
            )
        if images.dtype == np.uint8:
            return np.asarray(images, dtype=np.uint8)
        floats = np.asarray(images, dtype=np.float32)
        if not np.isfinite(floats).all() or floats.min() < 0 or floats.max() > 1:
            raise InvalidInputError(f"input {INPUT!r} of FP32 has values outside 0 to 1; send 0 to 255 as UINT8")
        return np.asarray(np.rint(floats * 255), dtype=np.uint8)


def read(body: bytes, header: str | None) -> Inference:
    """The request in a body, whose JSON is the first `header` bytes of it, or all where None."""
    text, rest = _divided(body, header)
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"the request is not JSON ({error})") from error
    inputs = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise InvalidInputError(f'the request must be an object whose "inputs" is a list of one tensor, {INPUT!r}')
    parameters = _object(document.get("parameters"), "parameters")
    return Inference(
        images=_tensor(inputs[0], rest),
        outputs=tuple(_outputs(document.get("outputs"), parameters)),
        binary_by_default=parameters.get("binary_data_output") is True,
        id=_text(document.get("id", ""), "id"),
        parameters=parameters,
    )


def _divided(body: bytes, header: str | None) -> tuple[bytes, bytes]:
    if header is None:
        return body, b""
    if not header.isascii() or not header.isdigit() or int(header) > len(body):
        raise InvalidInputError(
            f"Inference-Header-Content-Length is {header[:20]!r}; it must be the length of the JSON in a body of "
            f"{len(body)} bytes"
        )
    return body[: int(header)], body[int(header) :]


def _tensor(given: Mapping[str, Any], rest: bytes) -> NDArray[np.generic]:
    name, datatype, shape = given.get("name"), given.get("datatype"), given.get("shape")
    if name != INPUT:
        raise InvalidInputError(f"input {str(name)[:40]!r} is not known; this model takes one, {INPUT!r}")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise InvalidInputError(f"datatype {str(datatype)[:20]!r} is not taken; send FP32 (0 to 1) or UINT8 (0 to 255)")
    if (
        not isinstance(shape, list)
        or len(shape) > MOST_SIDES
        or not all(type(side) is int and 0 <= side < 2**31 for side in shape)
    ):
        raise InvalidInputError(f"the shape of {INPUT!r} must be a list of whole numbers: {SHAPES}")
    count = 1
    for side in shape:
        count *= side
    size = _object(given.get("parameters"), "parameters of the input").get("binary_data_size")
    values = _from_json(given, datatype) if size is None else _from_bytes(rest, size, datatype)
    if values.size != count:
        raise InvalidInputError(f"{INPUT!r} has {values.size} values; its shape {shape} needs {count}")
    return values.reshape(shape)


def _is_side(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _from_bytes(rest: bytes, size: object, datatype: str) -> NDArray[np.generic]:
    dtype = np.dtype(DTYPES[datatype]).newbyteorder("<")
    if type(size) is not int or size != len(rest) or size % dtype.itemsize:
        raise InvalidInputError(
            f"binary_data_size is {str(size)[:20]}; {len(rest)} bytes follow the JSON, {dtype.itemsize} for each value"
        )
    return np.frombuffer(rest, dtype=dtype)


def _from_json(given: Mapping[str, Any], datatype: str) -> NDArray[np.generic]:
    try:
        raw = np.asarray(given.get("data"))
    except ValueError as error:
        raise InvalidInputError(f"the data of {INPUT!r} is ragged or nested too deep") from error
    if raw.size and raw.dtype.kind not in ("iuf" if datatype == "FP32" else "iu"):  # "12", true and null are no numbers
        raise InvalidInputError(f"the data of {INPUT!r} must be numbers of {datatype}, flat or nested")
    if datatype == "UINT8" and raw.size and (raw.min() < 0 or raw.max() > 255):
        raise InvalidInputError(f"the data of {INPUT!r} has values outside UINT8's 0 to 255")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
        return raw.astype(DTYPES[datatype])


def _outputs(given: object, parameters: Mapping[str, Any]) -> list[Wanted]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise InvalidInputError('"outputs" must be a list of objects with a name')
    unknown = [each.get("name") for each in given if each.get("name") not in OUTPUTS]
    if unknown:
        raise InvalidInputError(f"output {str(unknown[0])[:40]!r} is not known; this model gives {', '.join(OUTPUTS)}")
    usual = parameters.get("binary_data_output") is True
    return [
        Wanted(
            each["name"], _object(each.get("parameters"), "parameters of an output").get("binary_data", usual) is True
        )
        for each in given
    ]


def _object(value: object, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name} must be an object")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a text")
    return value


@dataclass(frozen=True)
class Output:
    """One output: texts, or numbers of float32."""

    name: str
    values: NDArray[np.float32] | Sequence[str]

    @property
    def datatype(self) -> str:
        return "FP32" if isinstance(self.values, np.ndarray) else "BYTES"

    @property
    def shape(self) -> list[int]:
        return list(self.values.shape) if isinstance(self.values, np.ndarray) else [len(self.values)]

    def raw(self) -> bytes:
        """The contents as bytes: little-endian numbers, or each text behind its length."""
        if isinstance(self.values, np.ndarray):
            return self.values.astype("<f4").tobytes()
        coded = [each.encode() for each in self.values]
        return b"".join(struct.pack("<I", len(each)) + each for each in coded)

    def plain(self) -> list[Any]:
        """The contents as JSON values, flat."""
        return self.values.ravel().tolist() if isinstance(self.values, np.ndarray) else list(self.values)


def write(document: Mapping[str, Any], outputs: Sequence[Output], asked: Inference) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where bytes follow it."""
    known = {output.name: output for output in outputs}
    chosen = asked.outputs or tuple(Wanted(name, asked.binary_by_default) for name in known)
    shown, raws = [], []
    for wanted in chosen:
        output = known[wanted.name]
        about: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if wanted.binary:
            raws.append(output.raw())
            about["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            about["data"] = output.plain()
        shown.append(about)
    text = orjson.dumps({**document, "outputs": shown})
    return text + b"".join(raws), len(text) if raws else None
