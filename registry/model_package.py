"""Reads and writes a model as a folder of files in MLflow's format, without pickles."""

from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import RegistryError
from registry.mlflow_connection import quiet_mlflow_import

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
DIGEST_TAGS = {MODEL_FILE: SHA256_TAG, ONNX_FILE: ONNX_SHA256_TAG}
"""Files that are believed only with the sha256 noted at registration, and the tag it is noted under."""


def model_digest(folder: Path, name: str = MODEL_FILE) -> str:
    """The sha256 of a model file inside a saved or downloaded folder."""
    with (folder / name).open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def digest_tags(folder: Path) -> dict[str, str]:
    """The tags that note the sha256 of every model file in a saved folder."""
    return {tag: model_digest(folder, name) for name, tag in DIGEST_TAGS.items() if (folder / name).is_file()}


def save_package(
    folder: Path,
    module: object,
    input_example: "np.ndarray",
    output_example: "np.ndarray",
    requirements: Sequence[str],
    classes: Sequence[str],
    identity: "LoggedModel | None" = None,
    onnx: bytes | None = None,
) -> None:
    """Export a torch module into `folder` with signature, input example and exactly these requirements.

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
        mlflow_model=Model(metadata={"classes": list(classes)}, **owner),
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
