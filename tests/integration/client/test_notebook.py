"""The example notebook runs against a server, and the client's results become frames where pandas is."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from mlplatform.client import Client, MissingPandasError, to_frame
from mlplatform.client.results import Prediction, PredictResponse
from mlplatform.serve.api_server import build_server
from tests.support.api_server import listening, loaded
from tests.support.notebooks import run_notebook
from tests.support.page_world import page_world

NOTEBOOK = Path(__file__).parents[3] / "examples" / "notebook.ipynb"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with a fortnight of history."""
    with page_world(tmp_path_factory.mktemp("home"), per_hour=4) as context:
        server = build_server(context)
        server.model_slot.swap(loaded(2))
        with listening(server) as address:
            yield f"http://{address}"


def test_the_notebook_reads_draws_and_compares(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mpl.use("Agg")
    monkeypatch.setenv("MLPLATFORM_URL", served)
    monkeypatch.delenv("MLPLATFORM_KEY", raising=False)
    try:
        names, shown = run_notebook(NOTEBOOK)
        assert len(names["figure"].axes) == 2
        assert len(names["quality"].lines) >= 2, "accuracy, and a promotion"
    finally:
        plt.close("all")
    frames = [each for each in shown if isinstance(each, pd.DataFrame)]
    assert len(frames) == 4
    assert all(len(frame) for frame in frames)
    assert list(names["versions"].index) == [3, 2, 1]
    assert list(names["comparison"].index) == [2, 1]
    assert names["comparison"].loc[1, "accuracy"] > names["comparison"].loc[2, "accuracy"], "version 2 has gone bad"
    assert names["frame"].index.is_monotonic_increasing
    assert str(names["frame"].index.tz) == "UTC"


def test_the_notebook_is_one_and_keeps_no_outputs() -> None:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])


def test_history_is_told_by_range_and_version(served: str) -> None:
    with Client(served) as client:
        week, fortnight = client.history(), client.history("30d")
        assert (week.model, week.range, week.stretch_seconds, week.source) == ("digits", "7d", 21600, "audit")
        assert week.versions == fortnight.versions == (2, 1)
        parts = [client.history("30d", version) for version in (1, 2)]
        assert sum(point.answers for part in parts for point in part.points) == sum(
            point.answers for point in fortnight.points
        )
        for point in fortnight.points:
            assert (point.accuracy is None) == (point.labels == 0)
            if point.accuracy is not None and point.low is not None and point.high is not None:
                assert 0 <= point.low <= point.accuracy <= point.high <= 1
        assert client.history("7d", 99).points == ()
    refused = httpx.get(f"{served}/v1/models/history", params={"range": "3w"})
    assert (refused.status_code, "there are: 2h, 24h, 7d" in refused.json()["detail"]) == (422, True)


def test_answers_become_a_frame_by_id() -> None:
    frame = PredictResponse("r", (Prediction("p1", "3", 0.9, {"3": 0.9, "5": 0.1}, "digits", 7),), 1.5, True).to_frame()
    assert list(frame.index) == ["p1"]
    assert frame.loc["p1", "probabilities.3"] == 0.9
    assert to_frame([], index="at").empty


def test_without_pandas_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPandasError, match="install it"):
        to_frame([{"a": 1}])
