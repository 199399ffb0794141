"""Exports of registered versions."""

from pathlib import Path

import pytest

from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError, SettingsError
from mlplatform.operations.model_export import export_version
from mlplatform.retraining.training_pipeline import training_pipeline
from pipelines.builtin.digits import COMPACT
from pipelines.edge.export import SERVER_FILES
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.onnx_engine import export_onnx
from pipelines.training.network import build_network
from registry.model_package import MODEL_FILE, ONNX_FILE
from tests.support.monitoring_world import promote
from tests.support.platform_world import FakeCatalog
from tests.support.version_folder import write_contract


class Shelf(FakeCatalog):
    """Every version is the same untrained network."""

    def download(self, name: str, version: int, target: Path) -> Path:
        self.version(name, version)
        folder = target / name / str(version)
        if not (folder / MODEL_FILE).is_file():
            module = build_exportable(build_network(COMPACT, 10))
            save_exportable(module, folder / MODEL_FILE)
            write_contract(folder)
            (folder / ONNX_FILE).write_bytes(export_onnx(module))
        return folder


@pytest.fixture
def stocked(context: AppContext) -> AppContext:
    if not context.database.is_sqlite:
        pytest.skip("the kind of database means nothing here")
    return context.replace(catalog=Shelf())


@pytest.mark.both_databases
def test_without_a_champion_or_with_an_unknown_format_nothing_is_written(stocked: AppContext, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no champion to export"):
        export_version(stocked, None, "onnx", tmp_path / "a.onnx")
    with pytest.raises(SettingsError, match="known: onnx, onnx-int8, executorch"):
        export_version(stocked, None, "tflite", tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_the_champion_is_written_and_compared_on_the_golden_set(stocked: AppContext, tmp_path: Path) -> None:
    promote(stocked, 4)
    made = export_version(stocked, None, "onnx", tmp_path / "deep" / "a.onnx")
    assert (made.model, made.version, made.file) == ("digits", 4, str(tmp_path / "deep" / "a.onnx"))
    assert made.parity.rows == len(training_pipeline(stocked.settings).load(None).golden) == made.parity.same_answers
    assert made.parity.max_difference < 1e-4
    assert (tmp_path / "deep" / "a.onnx").stat().st_size == made.parity.size_bytes
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.onnx"]


def test_the_server_that_answers_with_it_is_written_beside_it(stocked: AppContext, tmp_path: Path) -> None:
    promote(stocked, 4)
    export_version(stocked, None, "onnx", tmp_path / "device" / "a.onnx", with_server=True)
    assert {path.name for path in (tmp_path / "device").iterdir()} == {"a.onnx", *SERVER_FILES}
