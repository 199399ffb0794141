"""Reads and writes a model as a folder of files in MLflow's format, without pickles."""

import json
from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from registry.errors import ContractError, RegistryError
from registry.mlflow_connection import quiet_mlflow_import
from registry.model_contract import ModelContract, image_classifier

if TYPE_CHECKING:
    import numpy as np
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

MODEL_FILE = "data/model.pt2"
SHA256_TAG = "model_sha256"
ONNX_FILE = "data/model.onnx"
"""The same model for ONNX Runtime; not every version has one."""
ONNX_SHA256_TAG = "onnx_sha256"
METADATA_FILE = "MLmodel"
CONTRACT_SHA256_TAG = "contract_sha256"
"""Notes the digest of the contract alone: MLflow itself may write the rest of the file anew."""
DIGEST_TAGS = {MODEL_FILE: SHA256_TAG, ONNX_FILE: ONNX_SHA256_TAG, METADATA_FILE: CONTRACT_SHA256_TAG}
"""Files that are believed only with the sha256 noted at registration, and the tag it is noted under."""
CONTRACT_KEY = "contract"


def model_digest(folder: Path, name: str = MODEL_FILE) -> str | None:
    """The sha256 of a model file inside a saved or downloaded folder, of METADATA_FILE that of its contract.

    None where the file is not there, or holds no contract, as those of versions before 0.3.0.
    """
    if not (folder / name).is_file():
        return None
    if name == METADATA_FILE:
        written = _metadata(folder).get(CONTRACT_KEY)
        return None if written is None else ModelContract.from_dict(written).digest
    with (folder / name).open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def digest_tags(folder: Path) -> dict[str, str]:
    """The tags that note the sha256 of every model file in a saved folder."""
    digests = {tag: model_digest(folder, name) for name, tag in DIGEST_TAGS.items()}
    return {tag: digest for tag, digest in digests.items() if digest is not None}


def read_contract(folder: Path) -> ModelContract:
    """The contract of a saved or downloaded version; raises ContractError.

    Versions before 0.3.0 say the same in other words: their classes, and the shape of the pictures in the signature.
    """
    written = _metadata(folder).get(CONTRACT_KEY)
    if written is not None:
        return ModelContract.from_dict(written)
    document = _read_mlmodel(folder)
    try:
        classes = [str(name) for name in document["metadata"]["classes"]]
        [[tensor]] = [json.loads(document["signature"]["inputs"])]
        _, _, height, width = tensor["tensor-spec"]["shape"]
    except (LookupError, TypeError, ValueError) as error:
        raise ContractError(
            f"{folder / METADATA_FILE} says neither contract nor classes and shape of the pictures; register it again"
        ) from error
    return image_classifier(tuple(classes), height, width)


def _metadata(folder: Path) -> dict[str, Any]:
    metadata = _read_mlmodel(folder).get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _read_mlmodel(folder: Path) -> dict[str, Any]:
    path = folder / METADATA_FILE
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ContractError(f"{path} is not there: nothing says what the version takes; download it again") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"{path} is no YAML ({str(error)[:80]}); download it again") from error
    return document if isinstance(document, dict) else {}


def save_package(
    folder: Path,
    module: object,
    input_example: "np.ndarray",
    output_example: "np.ndarray",
    requirements: Sequence[str],
    contract: ModelContract,
    identity: "LoggedModel | None" = None,
    onnx: bytes | None = None,
) -> None:
    """Export a torch module into `folder` with contract, signature, input example and exactly these requirements.

    The first axis of both examples is the batch. Its size stays free, for which torch needs an example of
    two rows or more. `identity` is the MLflow logged model the folder will belong to, `onnx` the same model as
    an ONNX graph.
    """
    if len(input_example) < 2:
        raise RegistryError(f"input_example has {len(input_example)} row(s): give two or more of any content")
    with quiet_mlflow_import():
        import mlflow.pyfunc
        import mlflow.pytorch
        from mlflow.models import Model
    owner = {} if identity is None else _logged_model_fields(identity)
    mlflow.pytorch.save_model(
        module,
        path=str(folder),
        mlflow_model=Model(metadata={CONTRACT_KEY: contract.to_dict()}, **owner),
        serialization_format="pt2",
        signature=_model_signature(input_example, output_example),
        input_example=input_example,
        pip_requirements=list(requirements),
    )
    if onnx is not None:
        (folder / ONNX_FILE).write_bytes(onnx)


def _logged_model_fields(logged: "LoggedModel") -> dict[str, str]:
    return {
        "artifact_path": logged.artifact_location,
        "model_id": logged.model_id,
        "model_uuid": logged.model_id,
        "run_id": logged.source_run_id,
    }


def _model_signature(input_example: "np.ndarray", output_example: "np.ndarray") -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def schema(example: "np.ndarray") -> "Schema":
        return Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))])

    return ModelSignature(schema(input_example), schema(output_example))
