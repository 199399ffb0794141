"""Validates the pt2 archive of an exported network, so that loading it runs no code.

`torch.export.load` unpickles weights and sample inputs, turns strings of the graph into Python objects
(`sympify`, attribute look-ups) and opens shared libraries it finds inside. An archive is therefore never
handed to it. Its records are read once, checked against a short list of what our own export writes, and a
fresh archive is put together from raw tensor bytes, checked JSON and blank sample inputs.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

import torch

from pipelines.errors import ModelFormatError

ROOT = "model"
MODEL = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
TEXT_RECORDS = {
    "archive_format": re.compile(rb"pt2"),
    "archive_version": re.compile(rb"[0-9]{1,4}"),
    "byteorder": re.compile(rb"little"),
    ".data/version": re.compile(rb"[0-9]{1,4}\n?"),
    ".data/serialization_id": re.compile(rb"[0-9]{1,64}"),
}
TENSOR_RECORD = re.compile(r"data/(weights/weight|constants/tensor)_[0-9]{1,6}")
PLAIN_TEXT = re.compile(r"[A-Za-z0-9_.+-]{0,200}")
EXPRESSION = re.compile(r"(Symbol\('[su][0-9]{1,6}'(, (positive|integer)=True)*\)|[su]?[0-9]{1,6})")
OPERATOR = re.compile(r"torch\.ops\.aten\.(?!from_file)[a-z0-9_]+\.[A-Za-z0-9_]+")
SPEC_TEXTS = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", "null", "[]"})
MAX_BYTES = 256 * 1024 * 1024


def sanitize(content: bytes, *, max_bytes: int = MAX_BYTES) -> io.BytesIO:
    """The same network as a fresh archive that `torch.export.load` may read, or ModelFormatError."""
    records = _records(content, max_bytes)
    for name in (MODEL, SAMPLES, *CONFIGS, "archive_format", "archive_version"):
        if name not in records:
            raise ModelFormatError(f"not a whole pt2 archive: no record '{name}'; download or export the model again")
    for name, data in records.items():
        _check_record(name, data)
    for name in CONFIGS:
        _check_tensor_config(name, _json(name, records[name]), records)
    records[MODEL] = json.dumps(_sanitized_graph(_json(MODEL, records[MODEL]))).encode()
    records[SAMPLES] = _blank_samples(records[SAMPLES])
    return _repacked_archive(records)


def _records(content: bytes, max_bytes: int) -> dict[str, bytes]:
    """Every record by its name below the root folder."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            size = sum(info.file_size for info in infos)
            if size > max_bytes:
                raise ModelFormatError(f"the model archive unpacks to {size} bytes; the limit is {max_bytes}")
            names = [info.filename.partition("/")[2] for info in infos]
            if len(set(names)) != len(names):
                raise ModelFormatError("the model archive names a record twice; export the model again")
            return {name: archive.read(info) for name, info in zip(names, infos, strict=True)}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ModelFormatError(
            f"not a whole pt2 archive ({len(content)} bytes: {error}); download or export the model again"
        ) from error


def _check_record(name: str, data: bytes) -> None:
    fine = name in (MODEL, SAMPLES, *CONFIGS) or TENSOR_RECORD.fullmatch(name)
    if not fine and not (name in TEXT_RECORDS and TEXT_RECORDS[name].fullmatch(data)):
        raise _refusal_error(name, "not a record of an exported network")


def _blank_samples(data: bytes) -> bytes:
    """Sample inputs of the same shape; the restricted unpickler reads that shape and admits tensors only."""
    try:
        (sample,), named = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        fresh = torch.zeros(tuple(sample.shape), dtype=torch.float32)
    except Exception as error:  # any failure to read hostile bytes means the same refusal
        raise _refusal_error(SAMPLES, "holds a pickle of more than one tensor") from error
    if named != {}:
        raise _refusal_error(SAMPLES, "names its tensors")
    buffer = io.BytesIO()
    torch.save(((fresh,), {}), buffer)
    return buffer.getvalue()


def _check_tensor_config(name: str, config: Any, records: dict[str, bytes]) -> None:  # noqa: ANN401 - any JSON
    """Weights and constants must be raw bytes, never pickles."""
    folder = name.rpartition("/")[0]
    entries = config.get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict):
        raise _refusal_error(name, "has no map 'config'")
    for key, entry in entries.items():
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False:
            raise _refusal_error(name, f"wants '{key}' unpickled")
        record = f"{folder}/{entry.get('path_name')}"
        if not TENSOR_RECORD.fullmatch(record) or record not in records:
            raise _refusal_error(name, f"'{key}' points to '{record}', which is not a raw tensor")
    _check_strings(config, name)


def _sanitized_graph(graph: Any) -> Any:  # noqa: ANN401 - any JSON
    """The graph without its free text (where lines came from), once every other string is proved harmless."""
    if not isinstance(graph, dict):
        raise _refusal_error(MODEL, "is not an object")
    if graph.get("guards_code"):
        raise _refusal_error(MODEL, "holds the source code of guards")
    plain = _without_metadata(graph)
    _check_strings(plain, MODEL)
    return plain


def _without_metadata(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {key: {} if key == "metadata" else _without_metadata(item) for key, item in value.items()}
    return [_without_metadata(item) for item in value] if isinstance(value, list) else value


def _check_strings(value: Any, name: str, key: str = "") -> None:  # noqa: ANN401 - any JSON
    """Strings of a graph become names, operators and expressions in Python: allow only their plain forms."""
    if isinstance(value, dict):
        for inner, item in value.items():
            _check_strings(inner, name)
            _check_strings(item, name, inner)
    elif isinstance(value, list):
        for item in value:
            _check_strings(item, name, key)
    elif isinstance(value, str) and not _is_allowed_text(value, key):
        raise _refusal_error(name, f"holds the text {value[:60]!r}")


def _is_allowed_text(text: str, key: str) -> bool:
    if key in ("in_spec", "out_spec"):
        return _spec_texts(_json(MODEL, text.encode())) <= SPEC_TEXTS
    pattern = {"target": OPERATOR, "expr_str": EXPRESSION}.get(key, PLAIN_TEXT)
    return pattern.fullmatch(text) is not None


def _spec_texts(value: Any) -> frozenset[str]:  # noqa: ANN401 - any JSON
    """Every text that says how arguments are packed."""
    if isinstance(value, str):
        return frozenset({value})
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return frozenset().union(*map(_spec_texts, inner))


def _json(name: str, data: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _refusal_error(name, "is not JSON") from error


def _repacked_archive(records: dict[str, bytes]) -> io.BytesIO:
    fresh = io.BytesIO()
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_STORED) as archive:
        for name, data in records.items():
            archive.writestr(f"{ROOT}/{name}", data)
    fresh.seek(0)
    return fresh


def _refusal_error(record: str, reason: str) -> ModelFormatError:
    return ModelFormatError(
        f"refused to load the model: record '{record}' {reason}, so it could run code; "
        "load only models that this platform exported, and export this one again"
    )
