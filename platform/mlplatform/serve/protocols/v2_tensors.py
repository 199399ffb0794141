"""Reads requests, tensors of pictures and answers of the Open Inference Protocol v2, as JSON and as bytes behind it.

A request's body is a JSON object, or such an object of `json_length` bytes followed by the raw contents of the tensors
that say `binary_data_size`, in their order. Answers are written the same way, each output as it was asked for.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from mlplatform.errors import InvalidInputError, TooLargeError
from mlplatform.serve.inference.request_decoder import ImageDecoder
from pipelines.batch import Batch
from pipelines.data import image_batch
from pipelines.edge.request_payloads import describe_value

INPUT: Final = "images"
SHAPES_TEXT: Final = "[n, 1, height, width] or [n, height, width]"
OUTPUTS: Final = ("label", "confidence", "probabilities", "prediction_id")
CLASSIFIABLE_OUTPUT: Final = "probabilities"
MAX_DIMENSIONS: Final = 4
MAX_LENGTH_DIGITS: Final = 12
UNSUPPORTED_PARAMETERS: Final = frozenset({"shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"})
"""Parameters of tensors that would change what an answer means, and are not served."""
DTYPES: Final[Mapping[str, type[np.generic]]] = {"FP32": np.float32, "UINT8": np.uint8}


@dataclass(frozen=True)
class RequestOutput:
    """An output that was asked for, whether as bytes, and as how many best classes where it is a classification."""

    name: str
    binary: bool
    top_classes: int = 0


@dataclass(frozen=True)
class InferenceRequest:
    """One request: its inputs' tensors and bytes, what is asked for, and the request's own name and parameters."""

    tensors: Sequence[Mapping[str, Any]]
    rest: bytes
    outputs: tuple[RequestOutput, ...]
    binary_by_default: bool
    id: str
    parameters: Mapping[str, Any]

    def to_model_input(self, decoder: ImageDecoder) -> Batch:
        """The tensor as rows with uint8 images (n, height, width): FP32 from 0 to 1, UINT8 from 0 to 255."""
        if len(self.tensors) != 1:
            raise InvalidInputError(f"{len(self.tensors)} inputs were sent; this model takes one tensor, {INPUT!r}")
        sent = _parse_tensor(self.tensors[0], self.rest)
        images, wanted = sent, (decoder.height, decoder.width)
        if images.ndim == 4 and images.shape[1] == 1:
            images = images[:, 0]
        if images.ndim != 3 or images.shape[1:] != wanted:
            raise InvalidInputError(
                f"input {INPUT!r} has shape {list(sent.shape)}; this model takes {SHAPES_TEXT} with height "
                f"{decoder.height} and width {decoder.width}"
            )
        if not len(images):
            raise InvalidInputError(f"input {INPUT!r} holds no image; send at least one")
        if len(images) > decoder.max_images:
            raise TooLargeError(
                f"{len(images)} images in one request; at most {decoder.max_images} (PLATFORM_MAX_IMAGES)"
            )
        if images.dtype == np.uint8:
            return image_batch(np.asarray(images, dtype=np.uint8))
        floats = np.asarray(images, dtype=np.float32)
        if not np.isfinite(floats).all() or floats.min() < 0 or floats.max() > 1:
            raise InvalidInputError(f"input {INPUT!r} of FP32 has values outside 0 to 1; send 0 to 255 as UINT8")
        return image_batch(np.asarray(np.rint(floats * 255), dtype=np.uint8))


def parse_request(
    body: bytes, json_length: str | None, check_json: Callable[[bytes], None] = lambda _text: None
) -> InferenceRequest:
    """The request in a body, whose JSON is the first `json_length` bytes of it, or all where None.

    `check_json` looks at the JSON before it is parsed.
    """
    text, rest = _split_body(body, json_length)
    check_json(text)
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"the request is not JSON ({error})") from error
    inputs = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(inputs, list) or not inputs or not all(isinstance(tensor, dict) for tensor in inputs):
        raise InvalidInputError('the request must be an object whose "inputs" is a list of tensors, at least one')
    parameters = _parse_object(document.get("parameters"), "parameters")
    return InferenceRequest(
        tensors=inputs,
        rest=rest,
        outputs=tuple(_parse_outputs(document.get("outputs"), parameters)),
        binary_by_default=parameters.get("binary_data_output") is True,
        id=_parse_text(document.get("id"), "id"),
        parameters=parameters,
    )


def _split_body(body: bytes, header: str | None) -> tuple[bytes, bytes]:
    if header is None:
        return body, b""
    if not header.isascii() or not header.isdigit() or len(header) > MAX_LENGTH_DIGITS or int(header) > len(body):
        raise InvalidInputError(
            f"Inference-Header-Content-Length is {header[:20]!r}; it must be the length of the JSON in a body of "
            f"{len(body)} bytes"
        )
    return body[: int(header)], body[int(header) :]


def _parse_tensor(tensor: Mapping[str, Any], rest: bytes) -> NDArray[np.generic]:
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if name != INPUT:
        raise InvalidInputError(f"input {describe_value(name)} is not known; this model takes one, {INPUT!r}")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise InvalidInputError(
            f"datatype {describe_value(datatype)} is not taken; send FP32 (0 to 1) or UINT8 (0 to 255)"
        )
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or not all(type(side) is int and 0 <= side < 2**31 for side in shape)
    ):
        raise InvalidInputError(f"the shape of {INPUT!r} must be a list of whole numbers: {SHAPES_TEXT}")
    count = 1
    for side in shape:
        count *= side
    size = _parse_parameters(tensor, "the input").get("binary_data_size")
    values = _decode_json(tensor, datatype) if size is None else _decode_bytes(rest, size, datatype)
    if values.size != count:
        raise InvalidInputError(f"{INPUT!r} has {values.size} values; its shape {shape} needs {count}")
    return values.reshape(shape)


def _decode_bytes(rest: bytes, size: object, datatype: str) -> NDArray[np.generic]:
    dtype = np.dtype(DTYPES[datatype]).newbyteorder("<")
    if type(size) is not int or size != len(rest) or size % dtype.itemsize:
        raise InvalidInputError(
            f"binary_data_size is {describe_value(size)}; {len(rest)} bytes follow the JSON, "
            f"{dtype.itemsize} for each value"
        )
    return np.frombuffer(rest, dtype=dtype)


def _decode_json(tensor: Mapping[str, Any], datatype: str) -> NDArray[np.generic]:
    try:
        raw = np.asarray(tensor.get("data"))
    except ValueError as error:
        raise InvalidInputError(f"the data of {INPUT!r} is ragged or nested too deep") from error
    if raw.size and raw.dtype.kind not in ("iuf" if datatype == "FP32" else "iu"):  # "12", true and null are no numbers
        raise InvalidInputError(f"the data of {INPUT!r} must be numbers of {datatype}, flat or nested")
    if datatype == "UINT8" and raw.size and (raw.min() < 0 or raw.max() > 255):
        raise InvalidInputError(f"the data of {INPUT!r} has values outside UINT8's 0 to 255")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
        return raw.astype(DTYPES[datatype])


def _parse_outputs(outputs: object, parameters: Mapping[str, Any]) -> list[RequestOutput]:
    if outputs is None:
        return []
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise InvalidInputError('"outputs" must be a list of objects with a name')
    names = [output.get("name") for output in outputs]
    for place, name in enumerate(names):
        if name not in OUTPUTS:
            raise InvalidInputError(
                f"output {describe_value(name)} is not known; this model gives {', '.join(OUTPUTS)}"
            )
        if name in names[:place]:
            raise InvalidInputError(f"output {name!r} is asked for twice; ask for each once")
    return [_parse_output(output, binary=parameters.get("binary_data_output") is True) for output in outputs]


def _parse_output(output: Mapping[str, Any], *, binary: bool) -> RequestOutput:
    name, parameters = output["name"], _parse_parameters(output, f"output {output['name']!r}")
    best = parameters.get("classification", 0)
    if "classification" in parameters and (name != CLASSIFIABLE_OUTPUT or type(best) is not int or best < 1):
        raise InvalidInputError(
            f"classification of output {name!r} is {describe_value(best)}; give a whole number of classes from 1, "
            f"of {CLASSIFIABLE_OUTPUT!r} only"
        )
    return RequestOutput(name, parameters.get("binary_data", binary) is True, best)


def _parse_parameters(tensor: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The parameters of a tensor; raises InvalidInputError for those that ask for what is not served."""
    parameters = _parse_object(tensor.get("parameters"), f"parameters of {name}")
    for refused in UNSUPPORTED_PARAMETERS & parameters.keys():
        raise InvalidInputError(f"parameter {refused!r} of {name} is not served here; send and take the tensor itself")
    return parameters


def _parse_object(value: object, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name} must be an object")
    return value


def _parse_text(value: object, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a text")
    return value


@dataclass(frozen=True)
class ResponseOutput:
    """One output: texts, or numbers of float32; where `classes` names its columns, it can be a classification."""

    name: str
    values: NDArray[np.float32] | NDArray[np.object_]
    classes: tuple[str, ...] = ()

    @property
    def datatype(self) -> str:
        return "BYTES" if self.values.dtype == np.object_ else "FP32"

    def top_classes(self, count: int) -> "ResponseOutput":
        """The same as the protocol's classification: so many "value:index:class" of each row, the best first."""
        if not self.classes:
            raise InvalidInputError(f"output {self.name} has no classes to name; ask for its values")
        order = np.argsort(-self.values, axis=1, kind="stable")[:, :count]
        texts = [
            [f"{row[place]:f}:{place}:{self.classes[place]}" for place in places]
            for row, places in zip(self.values.tolist(), order.tolist(), strict=True)
        ]
        return ResponseOutput(self.name, np.array(texts, dtype=np.object_))

    def to_bytes(self) -> bytes:
        """The contents as bytes: little-endian numbers, or each text behind its length."""
        if self.values.dtype != np.object_:
            return self.values.astype("<f4").tobytes()
        texts = [str(text).encode() for text in self.values.ravel()]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def render_response(
    document: Mapping[str, Any], outputs: Sequence[ResponseOutput], inference_request: InferenceRequest
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where bytes follow it."""
    outputs_by_name = {output.name: output for output in outputs}
    chosen = inference_request.outputs or tuple(
        RequestOutput(name, inference_request.binary_by_default) for name in outputs_by_name
    )
    rendered, raws = [], []
    for wanted in chosen:
        output = (
            outputs_by_name[wanted.name].top_classes(wanted.top_classes)
            if wanted.top_classes
            else outputs_by_name[wanted.name]
        )
        document_of_output: dict[str, Any] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(output.values.shape),
        }
        if wanted.binary:
            raws.append(output.to_bytes())
            document_of_output["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            document_of_output["data"] = output.values.ravel().tolist()
        rendered.append(document_of_output)
    text = orjson.dumps({**document, "outputs": rendered})
    return text + b"".join(raws), len(text) if raws else None
