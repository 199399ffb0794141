"""The example's file is trained, judged and registered, and its next version is compared with it on the same rows."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.candidate.make_candidate import Candidate, make_candidate
from pipelines.candidate.training_spec import Champion, TrainingSpec, load_champion
from pipelines.discovery import find_pipeline
from pipelines.engines.inference_engine import EngineConfig
from pipelines.errors import TrainingError
from pipelines.loading import load_engine
from pipelines.pipeline import Pipeline
from registry.catalog import Catalog
from registry.model_package import MODEL_FILE, ONNX_FILE, read_contract
from registry.runs import TrackingStore

EXAMPLE = Path(__file__).parents[3] / "examples" / "churn"


def _write_customers(folder: Path, until: str) -> Path:
    spec = importlib.util.spec_from_file_location("example_customers", EXAMPLE / "make_customers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder.mkdir()
    rows = module.make_customers(2000, module.FIRST_DAY, pd.Timestamp(until))
    rows.to_parquet(folder / "customers.parquet", index=False)
    return folder


def _spec(pipeline: Pipeline, champion: Champion | None) -> TrainingSpec:
    return TrainingSpec(pipeline, pipeline.recipe(), pipeline.load(None), None, champion, seed=1, reason="for a test")


def _make(pipeline: Pipeline, champion: Champion | None, tracking: TrackingStore, catalog: Catalog) -> Candidate:
    return make_candidate(_spec(pipeline, champion), tracking, catalog)


SERVING = """
import sys
from pathlib import Path
import mlplatform.serve.app, mlplatform.serve.run_server
from mlplatform.settings import load_settings
from pipelines.engines.inference_engine import EngineConfig
from pipelines.inputs.codec_of import codec_of
from pipelines.loading import load_engine
from registry.model_package import read_contract
assert load_settings().pipeline == sys.argv[2]
folder = Path(sys.argv[1])
contract = read_contract(folder)
row = [None] * len(contract.inputs.columns)
batch = codec_of(contract.inputs).batch_of([row])
assert load_engine(folder, contract, EngineConfig())(batch).shape == (1, 2)
print(*{name.partition(".")[0] for name in sys.modules})
"""


def _loaded_by_a_server(folder: Path, pipeline: str) -> set[str]:
    """The top-level modules of a process that answers a row of this version, where the settings name its pipeline."""
    settings = {"PLATFORM_PIPELINE": pipeline, "PLATFORM_MODEL": "churn"}
    command = [sys.executable, "-c", SERVING, str(folder), pipeline]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | settings)
    return set(done.stdout.split())


@pytest.mark.slow
def test_the_examples_file_becomes_versions_that_are_compared(
    tmp_path: Path, tracking: TrackingStore, catalog: Catalog
) -> None:
    name = f"{EXAMPLE / 'churn.py'}:PIPELINE"
    before = find_pipeline(name, _write_customers(tmp_path / "before", "2026-07-31"))
    first = _make(before, None, tracking, catalog)
    assert first.verdict.outcome == "promote"
    assert first.scores.accuracy > 0.9

    folder = catalog.download("churn", first.version, tmp_path / "cache")
    assert (folder / ONNX_FILE).is_file()
    assert not (folder / MODEL_FILE).exists()
    contract = read_contract(folder)
    assert contract == before.contract
    split = before.load(None)
    golden, validation = split.golden, split.validation
    answers = load_engine(folder, contract, EngineConfig())(golden.batch)
    assert (answers.argmax(axis=1) == golden.labels).mean() == pytest.approx(first.scores.accuracy)
    card = (catalog.version("churn", first.version)).description
    assert f"names another class than the fitted model on 0 of {len(validation)} rows" in card
    assert "Not stated by the owner." in card

    assert _loaded_by_a_server(folder, name).isdisjoint(
        {"mlplatform_pipeline_file_churn", "sklearn", "pandas", "torch", "skl2onnx", "skops", "lightgbm", "xgboost"}
    )

    after = find_pipeline(name, _write_customers(tmp_path / "after", "2026-10-31"))
    assert after.contract.inputs != contract.inputs  # other ranges, one plan more: rows of both are alike all the same
    champion = load_champion(catalog, after, first.version, tmp_path / "cache")
    second = _make(after, champion, tracking, catalog)
    assert second.version == first.version + 1
    assert (champion.predictor(after.load(None).golden.batch).sum(axis=1) - 1 < 1e-5).all()
    assert np.isfinite(second.scores.accuracy)
    sys.modules.pop("mlplatform_pipeline_file_churn")


def test_a_version_of_other_columns_is_no_champion(tmp_path: Path, tracking: TrackingStore, catalog: Catalog) -> None:
    rows = pd.DataFrame({"a": np.arange(300.0) + 0.5, "b": ["x", "y", "z"] * 100})
    rows["t"] = np.where(rows["a"] > 150, "yes", "no")
    rows = rows.sample(frac=1.0, random_state=0, ignore_index=True)
    rows.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "made.py").write_text(
        "import pandas as pd\n"
        "from sklearn.tree import DecisionTreeClassifier\n"
        "from mlplatform.pipeline import Classification, table\n"
        "def rows(folder):\n    return pd.read_parquet(folder / 'rows.parquet')\n"
        "def train(context):\n    return DecisionTreeClassifier(max_depth=2).fit(context.x[['a']], context.y)\n"
        "given = {'name': 'columns', 'target': 't', 'task': Classification(('no', 'yes'))}\n"
        "given |= {'rows': rows, 'train': train}\n"
        "ONE = table(columns=['a'], about='One.', **given)\n"
        "TWO = table(columns=['a', 'b'], about='Two.', **given)\n"
    )
    one = find_pipeline(f"{tmp_path / 'made.py'}:ONE", tmp_path)
    version = _make(one, None, tracking, catalog).version
    two = find_pipeline(f"{tmp_path / 'made.py'}:TWO", tmp_path)
    with pytest.raises(TrainingError, match="they cannot be compared; give the pipeline another name"):
        load_champion(catalog, two, version, tmp_path / "cache")
    sys.modules.pop("mlplatform_pipeline_file_made")
