"""A model as a folder of files."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from registry.errors import RegistryError
from registry.model_contract import Column, ModelContract, TableInputs
from registry.model_package import (
    CONTRACT_SHA256_TAG,
    MODEL_FILE,
    ONNX_FILE,
    ONNX_SHA256_TAG,
    OnnxFile,
    TorchFiles,
    digest_tags,
    model_digest,
    read_contract,
    save_package,
)
from registry.prediction_task import Classification
from tests.support.mlflow_store import CONTRACT, tiny_module

ANSWERS = np.zeros((2, 2), np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "model"
    save_package(folder, TorchFiles(tiny_module(), np.zeros((2, 1, 4, 4), np.float32), ANSWERS), ["numpy"], CONTRACT)
    return folder


def test_the_saved_graph_answers_any_batch_size_like_the_module(saved: Path) -> None:
    graph = torch.export.load(saved / MODEL_FILE).module()
    for rows in (1, 5):
        images = torch.rand(rows, 1, 4, 4, generator=torch.Generator().manual_seed(rows))
        torch.testing.assert_close(graph(images), tiny_module()(images))


def test_the_saved_archive_says_that_no_weight_is_pickled(saved: Path) -> None:
    with zipfile.ZipFile(saved / MODEL_FILE) as archive:
        configs = [archive.read(name) for name in archive.namelist() if name.endswith("_config.json")]
        programs = [archive.read(name) for name in archive.namelist() if "/models/" in name]
    assert configs
    assert all(b'"use_pickle": true' not in config for config in configs)
    for program in programs:
        with pytest.raises(pickle.UnpicklingError):
            pickle.loads(program)


def test_the_folder_says_what_goes_in_what_comes_out_and_what_it_needs(saved: Path) -> None:
    described = yaml.safe_load((saved / "MLmodel").read_text())
    assert '"shape": [-1, 1, 4, 4]' in described["signature"]["inputs"]
    assert '"shape": [-1, 2]' in described["signature"]["outputs"]
    assert described["metadata"]["contract"] == CONTRACT.to_dict()
    requirements = (saved / "requirements.txt").read_text().splitlines()
    assert "numpy" in requirements
    assert not any(line.startswith("torch") for line in requirements)


def test_one_example_row_is_refused_because_it_would_fix_the_batch_size() -> None:
    one_row = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(RegistryError, match=r"1 row\(s\): give two or more"):
        TorchFiles(tiny_module(), one_row, ANSWERS)


def test_the_digest_changes_with_the_model_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / MODEL_FILE).write_bytes(b"one")
    first = model_digest(tmp_path)
    (tmp_path / MODEL_FILE).write_bytes(b"two")
    assert model_digest(tmp_path) != first
    assert first is not None
    assert len(first) == 64


def test_a_table_is_saved_as_one_graph_with_a_tensor_for_each_column(tmp_path: Path) -> None:
    columns = (Column("age", "number"), Column("plan", "category"))
    contract = ModelContract(TableInputs(columns), Classification(("no", "yes")), truth="event")
    save_package(tmp_path / "model", OnnxFile(b"graph"), ["numpy"], contract)
    assert (tmp_path / "model" / ONNX_FILE).read_bytes() == b"graph"
    assert not (tmp_path / "model" / MODEL_FILE).exists()
    assert read_contract(tmp_path / "model") == contract
    assert set(digest_tags(tmp_path / "model")) == {ONNX_SHA256_TAG, CONTRACT_SHA256_TAG}
    described = yaml.safe_load((tmp_path / "model" / "MLmodel").read_text())
    assert described["flavors"]["onnx"]["data"] == ONNX_FILE
    assert [each["name"] for each in json.loads(described["signature"]["inputs"])] == ["age", "plan"]
    assert (tmp_path / "model" / "requirements.txt").read_text() == "numpy\n"
