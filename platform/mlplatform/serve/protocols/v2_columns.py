"""Reads the columns of a table from tensors of the Open Inference Protocol v2.

One tensor for each column, [n] or [n, 1], of numbers, BOOL or BYTES; null in JSON and NaN are missing values. Where all
columns are numbers, one tensor `input` [n, k] of FP32 or FP64 in the order of the columns will do.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from mlplatform.errors import InvalidInputError, TooLargeError
from mlplatform.serve.inference.row_decoder import RowDecoder
from pipelines.edge.request_payloads import describe_value
from pipelines.inputs.row_parser import ParsedRows
from registry.model_contract import NAMED_KINDS, Column

MATRIX_INPUT: Final = "input"
TEXT_TYPE: Final = "BYTES"
NUMBER_TYPES: Final[Mapping[str, str]] = {
    "FP32": "<f4",
    "FP64": "<f8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "BOOL": "?",
}


def column_datatype(column: Column) -> str:
    """The datatype that says all values of a column; a missing one is NaN where it is no text."""
    if column.kind in NAMED_KINDS:
        return TEXT_TYPE
    exact = {"whole": "INT64", "yes-no": "BOOL"}
    return "FP64" if column.optional else exact.get(column.kind, "FP64")


def read_columns(tensors: Sequence[Mapping[str, Any]], rest: bytes, decoder: RowDecoder) -> ParsedRows:
    """The rows of these tensors, whose bytes follow the JSON; raises InvalidInputError and TooLargeError."""
    names, columns, place = list[str](), list[list[Any]](), 0
    known = [column.name for column in decoder.codec.columns]
    is_matrix = len(tensors) == 1 and tensors[0].get("name") == MATRIX_INPUT and MATRIX_INPUT not in known
    for tensor in tensors:
        name = tensor.get("name")
        if not is_matrix and name not in known:
            raise InvalidInputError(
                f"input {describe_value(name)} is no column; {decoder.wanted}, or a tensor for each"
            )
        if name in names:
            raise InvalidInputError(f"input {name!r} is given twice; give it once")
        values, place = _read_values(str(name), tensor, rest, place)
        rows, width = _shape(str(name), tensor, len(known) if is_matrix else 1)
        if rows > decoder.max_rows:
            raise TooLargeError(f"{rows} rows in one request; at most {decoder.max_rows} (PLATFORM_MAX_IMAGES)")
        if len(values) != rows * width:
            raise InvalidInputError(f"input {name!r} has {len(values)} values; its shape needs {rows * width}")
        if columns and rows != len(columns[0]):
            raise InvalidInputError(f"input {name!r} has {rows} rows, {names[0]!r} has {len(columns[0])}; send as many")
        if is_matrix:
            return decoder.read_lists(known, [values[row * width : (row + 1) * width] for row in range(rows)], "input")
        names.append(str(name))
        columns.append(values)
    if place != len(rest):
        raise InvalidInputError(f"{len(rest)} bytes follow the JSON; the inputs name {place} of them")
    return decoder.read_lists(names, [list(row) for row in zip(*columns, strict=True)], "inputs")


def _shape(name: str, tensor: Mapping[str, Any], width: int) -> tuple[int, int]:
    shape = tensor.get("shape")
    if isinstance(shape, list) and all(type(side) is int and 0 <= side < 2**31 for side in shape):
        if len(shape) == 1 and width == 1:
            return shape[0], 1
        if len(shape) == 2 and shape[1] == width:
            return shape[0], width
    wanted = "[n] or [n, 1]" if width == 1 else f"[n, {width}]"
    raise InvalidInputError(f"the shape of input {name!r} must be {wanted}")


def _read_values(name: str, tensor: Mapping[str, Any], rest: bytes, place: int) -> tuple[list[Any], int]:
    """The values one after the other, and where the bytes of the next tensor begin."""
    datatype, parameters = tensor.get("datatype"), tensor.get("parameters")
    if not isinstance(datatype, str) or (datatype != TEXT_TYPE and datatype not in NUMBER_TYPES):
        raise InvalidInputError(
            f"datatype {describe_value(datatype)} of input {name!r} is not taken; send {', '.join(NUMBER_TYPES)} or "
            f"{TEXT_TYPE}"
        )
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return _flat(name, tensor.get("data"), datatype), place
    if type(size) is not int or not 0 <= size <= len(rest) - place:
        raise InvalidInputError(
            f"binary_data_size of input {name!r} is {describe_value(size)}; {len(rest) - place} bytes are left"
        )
    data = rest[place : place + size]
    return (_texts(name, data) if datatype == TEXT_TYPE else _numbers(name, data, datatype)), place + size


def _flat(name: str, data: object, datatype: str) -> list[Any]:
    if not isinstance(data, list):
        raise InvalidInputError(f"the data of input {name!r} must be a list")
    values: list[Any] = []
    for item in data:
        values += item if isinstance(item, list) else [item]
    for value in values:
        is_text, is_number = isinstance(value, str), isinstance(value, bool | int | float)
        if value is not None and not (is_text if datatype == TEXT_TYPE else is_number):
            raise InvalidInputError(f"the data of input {name!r} has {describe_value(value)}, which is no {datatype}")
    if datatype == "BOOL":  # some clients write 0 and 1
        return [value if value not in (0, 1) else bool(value) for value in values]
    return values


def _numbers(name: str, data: bytes, datatype: str) -> list[Any]:
    dtype = np.dtype(NUMBER_TYPES[datatype])
    if len(data) % dtype.itemsize:
        raise InvalidInputError(f"input {name!r} has {len(data)} bytes, {dtype.itemsize} for each {datatype}")
    values: list[Any] = np.frombuffer(data, dtype=dtype).tolist()
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]


def _texts(name: str, data: bytes) -> list[Any]:
    texts, place = list[str](), 0
    while place < len(data):
        if place + 4 > len(data):
            raise InvalidInputError(f"the bytes of input {name!r} end within a length")
        (length,) = struct.unpack_from("<I", data, place)
        text = data[place + 4 : place + 4 + length]
        if len(text) < length:
            raise InvalidInputError(f"the bytes of input {name!r} end within a text of {length} bytes")
        try:
            texts.append(text.decode())
        except UnicodeDecodeError as error:
            raise InvalidInputError(f"the bytes of input {name!r} are not UTF-8 ({error})") from error
        place += 4 + length
    return list(texts)
