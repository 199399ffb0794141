"""What `platform adopt --json` says of a model that passed the gate."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from mlplatform.cli import app
from pipelines.table.export_request import ExportResult


@pytest.mark.parametrize("waits", [True, False])
def test_it_says_whether_a_person_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, waits: bool) -> None:
    verdict = SimpleNamespace(outcome="promote", reasons=())
    scores = SimpleNamespace(n=320, accuracy=0.9)
    candidate = SimpleNamespace(version=1, run_id="run", scores=scores, verdict=verdict)
    outcome = SimpleNamespace(candidate=candidate, promotion=None, approval=object() if waits else None)
    result = ExportResult(("age",), ("no", "yes"), (), "Pipeline", 400, 0, 0.0)
    adoption = SimpleNamespace(outcome=outcome, result=result, sentences=("adopted",))
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    monkeypatch.setattr("mlplatform.operations.model_adoption.adopt_model", lambda *_: adoption)
    command = ["adopt", "models:/churn/1", "--golden", "golden.csv", "--target", "churned", "--json"]
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["waits_for_approval"] is waits
