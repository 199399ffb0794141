"""Rows of a table explained over HTTP: by the version that answered, with the values as a request gives them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from mlplatform.context import AppContext
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.serve.routes import predictions as prediction_routes
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from pipelines.inputs.column_counter import with_profile
from registry.model_contract import ModelContract, TableInputs
from registry.model_package import ONNX_FILE
from tests.support.api_server import running
from tests.support.platform_world import FakeCatalog
from tests.support.table_model import COLUMNS, CONTRACT, ROW, TableContracts, graph, table_model

AGES = np.arange(1000.0) % 81 + 18
PROFILED = replace(CONTRACT, inputs=TableInputs((with_profile(COLUMNS[0], AGES), *COLUMNS[1:])))


class GraphCatalog(FakeCatalog):
    """A registry whose every version has the table's graph on disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.fetched = folder, list[int]()
        (folder / ONNX_FILE).parent.mkdir(parents=True, exist_ok=True)
        (folder / ONNX_FILE).write_bytes(graph(PROFILED))

    def download(self, name: str, version: int, cache: Path) -> Path:
        self.fetched.append(version)
        return self.folder


@pytest.fixture
def catalog(tmp_path: Path) -> GraphCatalog:
    return GraphCatalog(tmp_path / "version")


def build(base: Settings, database: Database, catalog: FakeCatalog, contract: ModelContract) -> ApiServer:
    small = base.model_copy(update={"max_body_mb": 1.0, "allowed_hosts": ("api",)})
    small.home.mkdir(exist_ok=True)
    made = build_server(AppContext(small, database=database, catalog=catalog, contracts=TableContracts(contract)))
    made.model_slot.swap(table_model(1, contract))
    return made


@pytest.fixture
def server(settings: Settings, database: Database, catalog: GraphCatalog, monkeypatch: pytest.MonkeyPatch) -> ApiServer:
    monkeypatch.setattr(prediction_routes, "FLUSH_TIMEOUT_SECONDS", 60.0)
    return build(settings, database, catalog, PROFILED)


@pytest.fixture
def client(server: ApiServer) -> Iterator[httpx.Client]:
    with running(server) as client:
        yield client


def explain(client: httpx.Client, body: object, accept: str = "application/json") -> httpx.Response:
    return client.post("/v1/explain", json=body, headers={"accept": accept})


def by_column(shown: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["column"]: each for each in shown["columns"]}


def test_a_row_is_explained_by_its_columns(client: httpx.Client, catalog: GraphCatalog) -> None:
    answered = client.post("/v1/predict", json={"rows": [ROW]}).json()["predictions"][0]
    shown = explain(client, {"row": ROW}).json()
    assert (shown["label"], shown["answer"], shown["method"]) == ("no", "no", "feature-ablation")
    assert (shown["heat"], shown["overlay"], shown["prediction_id"]) == (None, None, None)
    assert shown["probability"] == pytest.approx(answered["probabilities"]["no"], abs=1e-6)
    columns = by_column(shown)
    assert shown["columns"][0]["column"] == "age", "the only one that the graph weighs"
    assert {name: columns[name]["value"] for name in ROW} == ROW
    usual = columns["age"]["usual"]
    assert usual == pytest.approx(np.median(AGES), abs=3)
    without = client.post("/v1/predict", json={"rows": [{**ROW, "age": usual}]}).json()["predictions"][0]
    lost = answered["probabilities"]["no"] - without["probabilities"]["no"]
    assert columns["age"]["effect"] == pytest.approx(lost, abs=1e-5)
    assert {columns[name]["effect"] for name in ROW if name != "age"} == {0.0}
    assert catalog.fetched == [], "the graph that serves explains"


def test_a_recorded_row_is_explained_by_the_version_that_answered(
    server: ApiServer, client: httpx.Client, catalog: GraphCatalog
) -> None:
    prediction = client.post("/v1/predict", json={"rows": [{**ROW, "plan": None}]}).json()["predictions"][0]
    server.model_slot.swap(LoadedModel("digits", 2, table_model(2, PROFILED).predictor, server.context.clock()))
    for _ in range(2):
        shown = explain(client, {"prediction_id": prediction["id"], "label": "yes"}).json()
        assert (shown["model"]["version"], shown["label"], shown["answer"]) == (1, "yes", prediction["label"])
        assert shown["prediction_id"] == prediction["id"]
        assert by_column(shown)["plan"]["value"] is None
        assert by_column(shown)["age"]["effect"] != 0
    assert catalog.fetched == [1], "the graph of a version that does not serve is opened once"
    assert explain(client, {"row": ROW}).json()["model"]["version"] == 2


def test_texts_that_are_too_long_to_be_copied_for_each_column_are_refused(client: httpx.Client) -> None:
    long = {**ROW, "note": "x" * 300_000}
    answered = client.post("/v1/predict", json={"rows": [long]}).json()["predictions"][0]
    for body in ({"row": long}, {"prediction_id": answered["id"]}):
        response = explain(client, body)
        assert (response.status_code, "262144" in response.json()["detail"]) == (422, True)
    assert explain(client, {"row": {**ROW, "note": "x" * 200_000}}).status_code == 200


def test_texts_are_given_back_as_they_are_and_no_html_is_made_of_them(client: httpx.Client) -> None:
    hostile = '<script>alert("x")</script>\u2028'
    response = explain(client, {"row": {**ROW, "note": hostile}}, "text/html, image/png")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert by_column(response.json())["note"]["value"] == hostile


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"row": ROW, "image": "x"}, 422, 'give either "prediction_id", "image" or "row"'),
        ({"row": {**ROW, "age": "old"}}, 422, "row[0].age: 'old' is no number"),
        ({"row": {**ROW, "more": 1}}, 422, "'more' is no column of this model"),
        ({"row": {"visits": 1}}, 422, "row[0].age is missing"),
        ({"row": {**ROW, "note": ["x"]}}, 422, "row"),
        ({"row": {**ROW, "age": 1e999}}, 422, ""),
        ({"row": ROW, "label": "maybe"}, 422, "none of the model's classes: no, yes"),
        ({"image": "aaaa"}, 422, "this model takes rows of a table"),
        ({"prediction_id": "unknown"}, 404, "unknown"),
    ],
)
def test_what_cannot_be_explained_is_a_problem_with_words(
    client: httpx.Client, body: dict[str, Any], status: int, words: str
) -> None:
    content = json.dumps(body)
    answered = client.post("/v1/explain", content=content, headers={"content-type": "application/json"})
    assert answered.status_code == status, answered.text
    assert words in answered.json()["detail"]


def test_a_large_row_is_read_and_one_of_many_brackets_is_refused(client: httpx.Client) -> None:
    assert explain(client, {"row": {**ROW, "note": "words, " * 20_000}}).status_code == 200
    assert explain(client, {"row": {**ROW, "note": "[" * 200_000}}).status_code == 422


def test_an_answer_whose_row_was_not_kept_whole_is_a_conflict(
    settings: Settings, database: Database, catalog: GraphCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_routes, "FLUSH_TIMEOUT_SECONDS", 60.0)
    hidden = replace(CONTRACT, inputs=TableInputs((*COLUMNS[:4], replace(COLUMNS[4], kept=False), COLUMNS[5])))
    with running(build(settings, database, catalog, hidden)) as client:
        made = client.post("/v1/predict", json={"rows": [ROW]}).json()["predictions"][0]
        refused = explain(client, {"prediction_id": made["id"]})
        assert refused.status_code == 409
        assert "the column 'note' of this answer's row is not kept" in refused.json()["detail"]
        assert explain(client, {"row": ROW}).status_code == 200
