"""The pt2 archive, proved free of code."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.safe_pt2 import sanitize
from pipelines.engines.torch_engine import load_torch_engine
from pipelines.errors import ModelFormatError
from pipelines.training.network import build_network
from tests.support.bars import TINY

CLASSES = ("upright", "lying")
WEIGHTS = "model/data/weights/model_weights_config.json"
GRAPH = "model/models/model.json"
SAMPLES = "model/data/sample_inputs/model.pt"

Records = dict[str, bytes]
Json = dict[str, Any]


class Touch:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._marker,)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Records:
    path = tmp_path_factory.mktemp("archive") / "model.pt2"
    save_exportable(build_exportable(build_network(TINY, 2, height=12, width=12), height=12, width=12), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "code-ran"


def packed(records: Records) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def edited(records: Records, name: str, edit: Callable[[Json], None]) -> Records:
    value = json.loads(records[name])
    edit(value)
    return records | {name: json.dumps(value).encode()}


def torch_saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def with_pickled_weight(honest: Records, marker: Path) -> Records:
    def edit(config: Json) -> None:
        next(iter(config["config"].values()))["use_pickle"] = True

    evil = edited(honest, WEIGHTS, edit)
    return evil | {"model/data/weights/weight_0": torch_saved(Touch(marker))}


def with_code_in_an_expression(honest: Records, marker: Path) -> Records:
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"

    def edit(graph: Json) -> None:
        values = graph["graph_module"]["graph"]["tensor_values"]
        values["images"]["sizes"][0]["as_expr"]["expr_str"] = code

    return edited(honest, GRAPH, edit)


def with_samples(honest: Records, samples: bytes) -> Records:
    return honest | {SAMPLES: samples}


def with_target(honest: Records, target: str) -> Records:
    def edit(graph: Json) -> None:
        graph["graph_module"]["graph"]["nodes"][0]["target"] = target

    return edited(honest, GRAPH, edit)


def with_guards(honest: Records) -> Records:
    def edit(graph: Json) -> None:
        graph["guards_code"] = ["print"]

    return edited(honest, GRAPH, edit)


def with_spec(honest: Records) -> Records:
    def edit(graph: Json) -> None:
        module = graph["graph_module"]["module_call_graph"][0]["signature"]
        module["in_spec"] = module["in_spec"].replace("builtins.dict", "collections.Evil")

    return edited(honest, GRAPH, edit)


def test_an_honest_archive_gives_the_same_answers_after_the_check(honest: Records) -> None:
    batch = torch.from_numpy(np.random.default_rng(0).random((3, 1, 12, 12), dtype=np.float32))
    before = torch.export.load(io.BytesIO(packed(honest))).module()(batch)
    after = torch.export.load(sanitize(packed(honest))).module()(batch)
    assert torch.equal(before, after)


@pytest.mark.parametrize("build", [with_pickled_weight, with_code_in_an_expression])
def test_code_that_torch_itself_would_run_is_refused_and_not_run(
    honest: Records, marker: Path, tmp_path: Path, build: Callable[[Records, Path], Records]
) -> None:
    path = tmp_path / "evil.pt2"
    path.write_bytes(packed(build(honest, marker)))
    with pytest.raises(ModelFormatError, match=r"evil\.pt2.*refused"):
        load_torch_engine(path, CLASSES)
    assert not marker.exists()
    with suppress(Exception):  # what torch makes of it afterwards does not matter: the code has run
        torch.export.load(path)
    assert marker.exists()


@pytest.mark.parametrize("pack", [pickle.dumps, torch_saved, lambda touch: torch_saved(((touch,), {}))])
def test_pickled_sample_inputs_are_refused_and_not_run(
    honest: Records, marker: Path, pack: Callable[[object], bytes]
) -> None:
    with pytest.raises(ModelFormatError, match="sample_inputs"):
        sanitize(packed(with_samples(honest, pack(Touch(marker)))))
    assert not marker.exists()


@pytest.mark.parametrize("samples", [((), {}), ((torch.zeros(2), torch.zeros(2)), {}), ((torch.zeros(2),), {"x": 1})])
def test_sample_inputs_of_another_kind_are_refused(honest: Records, samples: object) -> None:
    with pytest.raises(ModelFormatError, match="sample_inputs"):
        sanitize(packed(with_samples(honest, torch_saved(samples))))


@pytest.mark.parametrize(
    "target",
    ["torch.load", "torch.ops.aten.from_file.default", "math.sqrt", "_operator.add", "#custom.thing", "os"],
)
def test_operators_outside_the_tensor_library_are_refused(honest: Records, target: str) -> None:
    with pytest.raises(ModelFormatError, match="holds the text"):
        sanitize(packed(with_target(honest, target)))


def test_guards_and_unknown_containers_are_refused(honest: Records) -> None:
    with pytest.raises(ModelFormatError, match="source code of guards"):
        sanitize(packed(with_guards(honest)))
    with pytest.raises(ModelFormatError, match="holds the text"):
        sanitize(packed(with_spec(honest)))


@pytest.mark.parametrize(
    "name",
    [
        "model/data/aotinductor/model/evil.so",
        "model/data/weights/model.pt",
        "model/data/constants/custom_obj_0",
        "model/data/constants/opaque_obj_0",
        "model/models/other.json",
        "model/extra/notes.txt",
    ],
)
def test_records_that_no_export_of_ours_writes_are_refused(honest: Records, name: str) -> None:
    with pytest.raises(ModelFormatError, match="not a record of an exported network"):
        sanitize(packed(honest | {name: b"x"}))


def test_a_weight_outside_its_folder_is_refused(honest: Records) -> None:
    def edit(config: Json) -> None:
        next(iter(config["config"].values()))["path_name"] = "../../models/model.json"

    with pytest.raises(ModelFormatError, match="not a raw tensor"):
        sanitize(packed(edited(honest, WEIGHTS, edit)))


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, SAMPLES, "model/archive_format"])
def test_a_missing_record_is_named(honest: Records, name: str) -> None:
    lacking = {key: data for key, data in honest.items() if key != name}
    with pytest.raises(ModelFormatError, match=f"no record '{name.removeprefix('model/')}'"):
        sanitize(packed(lacking))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (GRAPH, b"\x80\x04", "is not JSON"),
        (GRAPH, b"[]", "is not an object"),
        (GRAPH, b"[" * 100_000, "is not JSON"),
        (WEIGHTS, b"{}", "has no map"),
        ("model/byteorder", b"big", "not a record"),
    ],
)
def test_records_of_the_wrong_kind_are_refused(honest: Records, name: str, data: bytes, message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        sanitize(packed(honest | {name: data}))


def test_a_record_named_twice_is_refused(honest: Records) -> None:
    with pytest.raises(ModelFormatError, match="twice"):
        sanitize(packed(honest | {"other/models/model.json": b"{}"}))


def test_an_archive_that_unpacks_to_too_much_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for index in range(5):
            archive.writestr(f"model/data/weights/weight_{index}", bytes(1024 * 1024))
    with pytest.raises(ModelFormatError, match="5242880 bytes; the limit is 4000000"):
        sanitize(buffer.getvalue(), max_bytes=4_000_000)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_archive_is_refused(honest: Records, share: float) -> None:
    content = packed(honest)
    with pytest.raises(ModelFormatError, match="not a whole pt2 archive"):
        sanitize(content[: int(len(content) * share)])
