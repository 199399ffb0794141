"""What an MLmodel of others says is read as data; files outside the folder and other flavours are refused."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from registry.errors import ContractError, UnknownVersionError
from registry.mlflow_model import fetch_mlflow_model, read_mlflow_model, registered_name


def write_model(folder: Path, flavors: Mapping[str, object], file: str = "model.pkl", inputs: object = None) -> Path:
    folder.mkdir(exist_ok=True)
    document: dict[str, object] = {"flavors": flavors}
    if inputs is not None:
        document["signature"] = {"inputs": json.dumps(inputs)}
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    (folder / file).write_bytes(b"model")
    return folder


@pytest.mark.parametrize(
    ("flavor", "settings", "file", "stored"),
    [
        ("sklearn", {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}, "model.pkl", "pickle"),
        ("sklearn", {"pickled_model": "model.skops", "serialization_format": "skops"}, "model.skops", "skops"),
        ("lightgbm", {"data": "model.lgb", "serialization_format": "skops"}, "model.lgb", "lightgbm"),
        ("lightgbm", {"data": "model.pkl"}, "model.pkl", "pickle"),
        ("xgboost", {"data": "model.ubj", "model_class": "xgboost.core.Booster"}, "model.ubj", "xgboost"),
        ("xgboost", {"data": "model.bin"}, "model.bin", "pickle"),
        ("onnx", {"data": "model.onnx"}, "model.onnx", "onnx"),
    ],
)
def test_the_file_and_its_format_are_found(
    tmp_path: Path, flavor: str, settings: dict[str, object], file: str, stored: str
) -> None:
    model = read_mlflow_model(write_model(tmp_path, {"python_function": {}, flavor: settings}, file))
    assert (model.flavor, model.file, model.format) == (flavor, file, stored)
    assert model.sha256 == "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4"


def test_the_signature_names_columns_and_kinds(tmp_path: Path) -> None:
    inputs = [
        {"type": "double", "name": "age"},
        {"type": "long", "name": "visits"},
        {"type": "string", "name": "plan"},
        {"type": "binary", "name": "blob"},
    ]
    folder = write_model(tmp_path, {"sklearn": {"pickled_model": "model.pkl"}}, inputs=inputs)
    assert read_mlflow_model(folder).columns == {"age": "number", "visits": "whole", "plan": "category", "blob": ""}


@pytest.mark.parametrize("inputs", [None, [{"type": "tensor", "tensor-spec": {"shape": [-1, 3]}}], {"x": 1}, "text"])
def test_a_signature_without_named_columns_says_nothing(tmp_path: Path, inputs: object) -> None:
    folder = write_model(tmp_path, {"sklearn": {"pickled_model": "model.pkl"}}, inputs=inputs)
    assert read_mlflow_model(folder).columns == {}


@pytest.mark.parametrize("file", ["../outside.pkl", "/etc/hostname", "missing.pkl", "", "a\0b", "a" * 300])
def test_a_file_that_is_not_in_the_folder_is_refused(tmp_path: Path, file: str) -> None:
    (tmp_path / "outside.pkl").write_bytes(b"x")
    folder = write_model(tmp_path / "model", {"sklearn": {"pickled_model": file}})
    with pytest.raises(ContractError, match="is not there"):
        read_mlflow_model(folder)


def test_code_outside_the_folder_is_not_taken(tmp_path: Path) -> None:
    flavors = {"sklearn": {"pickled_model": "model.pkl", "code": "../code"}}
    (tmp_path / "code").mkdir()
    assert read_mlflow_model(write_model(tmp_path / "model", flavors)).code is None
    (tmp_path / "model" / "code").mkdir()
    flavors["sklearn"]["code"] = "code"
    assert read_mlflow_model(write_model(tmp_path / "model", flavors)).code == "code"


def test_another_flavour_is_refused_with_those_that_are_taken(tmp_path: Path) -> None:
    folder = write_model(tmp_path, {"python_function": {}, "catboost": {"data": "model.cb"}})
    with pytest.raises(ContractError, match="flavours catboost, python_function; onnx, sklearn, lightgbm, xgboost can"):
        read_mlflow_model(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- 1",
        "a: [",
        "\xff",
        "utc: 2026-99-99",
        "a: !!int ''",
        "a: !!bool x",
        "a: &a {b: 1}\nc: {<<: *a}",
        "[" * 5000,
    ],
)
def test_a_folder_without_a_readable_mlmodel_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "MLmodel").write_text(text, encoding="latin-1")
    with pytest.raises(ContractError, match="is no MLflow model"):
        read_mlflow_model(tmp_path)


def test_a_long_mlmodel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("a: 1\n#" + "x" * 1024 * 1024)
    with pytest.raises(ContractError, match="longer than 1,048,576 bytes"):
        read_mlflow_model(tmp_path)


@pytest.mark.parametrize("setting", ["pickled_model", "model_class", "code", "serialization_format"])
def test_aliases_that_stand_for_billions_of_values_become_no_text(tmp_path: Path, setting: str) -> None:
    grown = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    (tmp_path / "model.pkl").write_bytes(b"model")
    kept = "" if setting == "pickled_model" else "pickled_model: model.pkl, "
    (tmp_path / "MLmodel").write_text(f"{grown}flavors: {{sklearn: {{{kept}{setting}: *a11}}}}")
    if setting == "pickled_model":
        with pytest.raises(ContractError, match="names the file '', which is not there"):
            read_mlflow_model(tmp_path)
    else:
        model = read_mlflow_model(tmp_path)
        assert (model.classifier, model.code, model.format) == (False, None, "pickle")


def test_a_signature_nested_without_end_says_nothing(tmp_path: Path) -> None:
    folder = write_model(tmp_path, {"sklearn": {"pickled_model": "model.pkl"}})
    document = {"flavors": {"sklearn": {"pickled_model": "model.pkl"}}, "signature": {"inputs": "[" * 100_000}}
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    assert read_mlflow_model(folder).columns == {}


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "pipe"])
def test_a_folder_with_links_or_pipes_is_not_copied(tmp_path: Path, kind: str) -> None:
    source = write_model(tmp_path / "source", {"onnx": {"data": "model.onnx"}}, "model.onnx")
    (source / "data").mkdir()
    place = source / "data" / "more"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero" if kind == "link to a file" else tmp_path)
    with pytest.raises(ContractError, match=r"data/more is a link or no file at all.*cp -rL"):
        fetch_mlflow_model("sqlite:///nowhere.db", str(source), tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_folder_of_this_machine_is_copied(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", {"onnx": {"data": "model.onnx"}}, "model.onnx")
    model = fetch_mlflow_model("sqlite:///nowhere.db", str(source), tmp_path / "target")
    assert model.folder == tmp_path / "target" / "model"
    assert (model.folder / model.file).read_bytes() == b"model"


def test_what_is_no_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownVersionError, match="'churn' is no model: give models:/NAME/VERSION"):
        fetch_mlflow_model("sqlite:///nowhere.db", "churn", tmp_path)


@pytest.mark.parametrize(
    ("source", "name"),
    [("models:/churn/12", "churn"), ("models:/churn@live", "churn"), ("models:/m-0123", None), ("runs:/1/model", None)],
)
def test_the_registered_model_is_named(source: str, name: str | None) -> None:
    assert registered_name(source) == name
