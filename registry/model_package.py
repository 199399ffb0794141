"""Reads and writes a model as a folder of files in MLflow's format, without pickles."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from registry.errors import ContractError, RegistryError
from registry.installed_version import installed_version
from registry.mlflow_connection import quiet_mlflow_import
from registry.model_contract import NAMED_KINDS, ModelContract, TableInputs, image_classifier
from registry.prediction_task import Sequence as SequenceTask

if TYPE_CHECKING:
    import numpy as np
    from mlflow.entities import LoggedModel
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema

MODEL_FILE = "data/model.pt2"
SHA256_TAG = "model_sha256"
ONNX_FILE = "data/model.onnx"
"""The same model for ONNX Runtime; not every version has one."""
ONNX_SHA256_TAG = "onnx_sha256"
METADATA_FILE = "MLmodel"
REQUIREMENTS_FILE, PYTHON_ENV_FILE = "requirements.txt", "python_env.yaml"
"""Where MLflow looks for what a model needs."""
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


@dataclass(frozen=True, eq=False)
class TorchFiles:
    """A torch module that is saved as a pt2 graph and, where `onnx` is given, as the same model's ONNX graph too.

    The first axis of both examples is the batch. Its size stays free, for which torch needs an example of two rows or
    more.
    """

    module: object
    input_example: "np.ndarray"
    output_example: "np.ndarray"
    onnx: bytes | None = None

    def __post_init__(self) -> None:
        if len(self.input_example) < 2:
            raise RegistryError(f"input_example has {len(self.input_example)} row(s): give two or more of any content")


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX graph that is the model itself, such as one of a table's rows."""

    content: bytes


ModelFiles = TorchFiles | OnnxFile


def save_package(
    folder: Path,
    files: ModelFiles,
    requirements: Sequence[str],
    contract: ModelContract,
    identity: "LoggedModel | None" = None,
) -> None:
    """Save a model into `folder` with contract, signature and exactly these requirements.

    `identity` is the MLflow logged model the folder will belong to.
    """
    with quiet_mlflow_import():
        from mlflow.models import Model
    owner = {} if identity is None else _logged_model_fields(identity)
    described = Model(metadata={CONTRACT_KEY: contract.to_dict()}, **owner)
    if isinstance(files, TorchFiles):
        _save_torch(folder, files, requirements, described)
    else:
        _save_onnx(folder, files, requirements, contract, described)


def _save_torch(folder: Path, files: TorchFiles, requirements: Sequence[str], described: "Model") -> None:
    with quiet_mlflow_import():
        import mlflow.pyfunc
        import mlflow.pytorch
    mlflow.pytorch.save_model(
        files.module,
        path=str(folder),
        mlflow_model=described,
        serialization_format="pt2",
        signature=_tensor_signature(files.input_example, files.output_example),
        input_example=files.input_example,
        pip_requirements=list(requirements),
    )
    if files.onnx is not None:
        (folder / ONNX_FILE).write_bytes(files.onnx)


def _save_onnx(
    folder: Path, files: OnnxFile, requirements: Sequence[str], contract: ModelContract, described: "Model"
) -> None:
    """Write what MLflow's flavour `onnx` reads; MLflow's own way would open the graph first, which needs onnx here."""
    with quiet_mlflow_import():
        import mlflow.pyfunc
        from mlflow.utils.environment import _PythonEnv
    path = folder / ONNX_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(files.content)
    described.signature = _contract_signature(contract)
    mlflow.pyfunc.add_to_model(described, loader_module="mlflow.onnx", data=ONNX_FILE, python_env=PYTHON_ENV_FILE)
    described.add_flavor(
        "onnx", onnx_version=installed_version("onnx"), data=ONNX_FILE, providers=["CPUExecutionProvider"], code=None
    )
    described.save(str(folder / METADATA_FILE))
    (folder / REQUIREMENTS_FILE).write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
    _PythonEnv.current().to_yaml(str(folder / PYTHON_ENV_FILE))


def _logged_model_fields(logged: "LoggedModel") -> dict[str, str]:
    return {
        "artifact_path": logged.artifact_location,
        "model_id": logged.model_id,
        "model_uuid": logged.model_id,
        "run_id": logged.source_run_id,
    }


def _tensor_signature(input_example: "np.ndarray", output_example: "np.ndarray") -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def schema(example: "np.ndarray") -> "Schema":
        return Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))])

    return ModelSignature(schema(input_example), schema(output_example))


def _contract_signature(contract: ModelContract) -> "ModelSignature":
    """One tensor (n, 1) per column as the graph is fed, and the probabilities of the classes; of pictures their ink."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    if isinstance(contract.task, SequenceTask):
        ink = TensorSpec(np.dtype(np.float32), (-1, -1, -1, -1), "ink")
        return ModelSignature(Schema([ink]), Schema([TensorSpec(np.dtype(np.float32), (-1, -1, -1), "scores")]))
    if not isinstance(contract.inputs, TableInputs):
        raise ContractError(f"inputs: {contract.inputs} are no table's; a classifier of pictures is saved by PyTorch")
    fed = [
        TensorSpec(np.dtype(object if column.kind in NAMED_KINDS else np.float32), (-1, 1), column.name)
        for column in contract.inputs.columns
    ]
    answered = TensorSpec(np.dtype(np.float32), (-1, len(contract.classes)), "probabilities")
    return ModelSignature(Schema(fed), Schema([answered]))
