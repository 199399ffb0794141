"""What the folder of a version says of it beside its model file."""

from pathlib import Path

import yaml

from registry.model_contract import ModelContract, image_classifier
from registry.model_package import METADATA_FILE

DIGITS = image_classifier(tuple("0123456789"), 28, 28)


def write_contract(folder: Path, contract: ModelContract = DIGITS) -> None:
    """Let a folder of model files say what the model takes and answers."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METADATA_FILE).write_text(yaml.safe_dump({"metadata": {"contract": contract.to_dict()}}))
