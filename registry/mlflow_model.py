"""Fetches a model that others logged to MLflow, and reads from its MLmodel how it is stored; nothing is opened."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from registry.errors import ContractError, UnknownVersionError
from registry.mlflow_connection import MlflowConnection
from registry.model_package import METADATA_FILE, REQUIREMENTS_FILE

StoredFormat = Literal["onnx", "skops", "pickle", "lightgbm", "xgboost"]
FLAVORS: Final = ("onnx", "sklearn", "lightgbm", "xgboost")
"""Those that can be adopted; where a model has several, the first of these is taken."""
MAX_METADATA_BYTES: Final = 1024 * 1024
_XGBOOST_SUFFIXES: Final = (".ubj", ".json", ".xgb", ".deprecated")
_VALUE_ERRORS: Final = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What values that were written to do harm may raise where YAML and JSON are read."""
_REGISTERED: Final = r"models:/([^/@]+)(?:/(\d+)|@([^/@]+))"
_KINDS: Final[Mapping[str, str]] = {
    "boolean": "yes-no",
    "integer": "whole",
    "long": "whole",
    "float": "number",
    "double": "number",
    "string": "category",
    "datetime": "time",
}
"""The kind of a contract's column by the type of a column in MLflow's signature."""


@dataclass(frozen=True)
class MlflowModel:
    """A fetched model: its folder, its file in there, and what its MLmodel says of both."""

    folder: Path
    flavor: str
    file: str
    format: StoredFormat
    sha256: str
    columns: Mapping[str, str]
    """Kinds of the columns of its signature by name, in their order; empty where it has none, or no names."""
    classifier: bool = False
    """Whether a file of a booster holds a classifier of scikit-learn's kind."""
    code: str | None = None
    """The folder with modules that were logged beside it."""
    requirements: tuple[str, ...] = ()
    """What was installed where it was logged, as pip names it."""


def fetch_mlflow_model(uri: str, source: str, target: Path) -> MlflowModel:
    """Download `source` (models:/NAME/VERSION, models:/NAME@ALIAS, runs:/ID/PATH) of the store at `uri` into `target`.

    A folder of this machine is copied, and may hold no links. Raises UnknownVersionError where there is none, and
    ContractError where its flavours, or its files, cannot be adopted.
    """
    local = Path(source)
    if local.is_dir():
        _require_plain(local)
        folder = Path(shutil.copytree(local, target / "model", symlinks=True))
    elif not re.match(r"(models|runs|mlflow-artifacts):/", source):
        raise UnknownVersionError(
            f"{source!r} is no model: give models:/NAME/VERSION, models:/NAME@ALIAS, runs:/RUN/PATH, or the folder of "
            f"an MLflow model ({METADATA_FILE} lies in it)"
        )
    else:
        folder = _download(MlflowConnection(uri), source, target)
    _require_plain(folder)
    return read_mlflow_model(folder)


def registered_name(source: str) -> str | None:
    """The registered model that a models:/ URI names; None for any other place."""
    found = re.fullmatch(_REGISTERED, source)
    return None if found is None else found.group(1)


def read_mlflow_model(folder: Path) -> MlflowModel:
    """What the MLmodel in this folder says; raises ContractError naming what cannot be adopted, and what can."""
    document = _document(folder)
    flavors = document.get("flavors")
    known = flavors if isinstance(flavors, dict) else {}
    flavor = next((name for name in FLAVORS if isinstance(known.get(name), dict)), None)
    if flavor is None:
        named = ", ".join(str(name)[:40] for name in list(known)[:10]) or "none"
        raise ContractError(
            f"the model has the flavours {named}; {', '.join(FLAVORS)} can be adopted: "
            "log it with mlflow.sklearn, mlflow.lightgbm, mlflow.xgboost or mlflow.onnx"
        )
    settings = known[flavor]
    file = _text(settings, "pickled_model" if flavor == "sklearn" else "data")
    path = _inside(folder, file)
    if path is None or not path.is_file():
        raise ContractError(f"{METADATA_FILE} names the file {file[:300]!r}, which is not there; log the model again")
    with path.open("rb") as opened:
        digest = file_digest(opened, "sha256").hexdigest()
    return MlflowModel(
        folder=folder,
        flavor=flavor,
        file=file,
        format=_stored_format(flavor, file, settings),
        sha256=digest,
        columns=_signature_columns(document),
        classifier=_text(settings, "model_class").endswith("Classifier"),
        code=_code_folder(folder, _text(settings, "code")),
        requirements=_requirements(folder),
    )


def _stored_format(flavor: str, file: str, settings: Mapping[str, Any]) -> StoredFormat:
    suffix = Path(file).suffix
    if flavor == "onnx":
        return "onnx"
    if suffix == ".skops" or (flavor == "sklearn" and settings.get("serialization_format") == "skops"):
        return "skops"
    if flavor == "lightgbm" and suffix == ".lgb":
        return "lightgbm"
    if flavor == "xgboost" and suffix in _XGBOOST_SUFFIXES:
        return "xgboost"
    return "pickle"  # any other file is opened as one, and only where that was asked for


def _download(connection: MlflowConnection, source: str, target: Path) -> Path:
    from mlflow.artifacts import download_artifacts

    target.mkdir(parents=True, exist_ok=True)
    registered = re.fullmatch(_REGISTERED, source)
    with connection.session(lambda: UnknownVersionError(f"MLflow has no model {source}")) as client:
        location = source
        if registered is not None:
            name, version, alias = registered.groups()
            if alias is not None:
                version = str(client.get_model_version_by_alias(name, alias).version)
            location = client.get_model_version_download_uri(name, version)
        place = {"tracking_uri": connection.uri, "registry_uri": connection.uri}
        return Path(download_artifacts(location, dst_path=str(target / "model"), **place))


class _PlainLoader(yaml.SafeLoader):
    """Reads YAML without merge keys, which let a kilobyte grow into all of the memory."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "it holds a merge key (<<)", node.start_mark)


def _document(folder: Path) -> dict[str, Any]:
    """What the MLmodel says; an alias in there may stand for a lot, so none of its values becomes a text unseen."""
    try:
        with (folder / METADATA_FILE).open("rb") as file:
            content = file.read(MAX_METADATA_BYTES + 1)
        if len(content) > MAX_METADATA_BYTES:
            raise ValueError(f"it is longer than {MAX_METADATA_BYTES:,} bytes")
        document = yaml.load(content.decode("utf-8"), _PlainLoader)  # noqa: S506 - a safe loader that takes less
    except (OSError, yaml.YAMLError, *_VALUE_ERRORS) as error:
        raise ContractError(f"{folder} is no MLflow model: its {METADATA_FILE} cannot be read ({error})") from error
    if not isinstance(document, dict):
        raise ContractError(f"{folder} is no MLflow model: its {METADATA_FILE} says nothing")
    return document


def _text(settings: Mapping[str, Any], name: str) -> str:
    """A setting that is a text; the empty one for anything else."""
    value = settings.get(name)
    return value if isinstance(value, str) else ""


def _inside(folder: Path, name: str) -> Path | None:
    """The place in the folder that a name means; None for no name, and for one that leads elsewhere or cannot be."""
    try:
        path = (folder / name).resolve()
        path.stat()
    except (OSError, ValueError, RuntimeError):
        return None
    return path if name and path.is_relative_to(folder.resolve()) else None


def _require_plain(folder: Path) -> None:
    """Raise ContractError for a folder that holds a link, a device or a pipe: reading it could lead anywhere."""
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise ContractError(
                    f"{path} is a link or no file at all, and a model may hold none; copy the folder with its files "
                    "(cp -rL), and adopt the copy"
                )


def _signature_columns(document: Mapping[str, Any]) -> dict[str, str]:
    try:
        listed = json.loads(document["signature"]["inputs"])
        names = [column["name"] for column in listed]
        kinds = [_KINDS.get(str(column.get("type")), "") for column in listed]
    except _VALUE_ERRORS:
        return {}
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        return {}
    return dict(zip(names, kinds, strict=True))


def _code_folder(folder: Path, named: str) -> str | None:
    path = _inside(folder, named)
    return named if path is not None and path.is_dir() else None


def _requirements(folder: Path) -> tuple[str, ...]:
    try:
        text = (folder / REQUIREMENTS_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))
