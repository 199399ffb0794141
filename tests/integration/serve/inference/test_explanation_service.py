"""Explanations over HTTP, by the version that answered."""

import threading
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from mlplatform.serve.api_server import ApiServer
from mlplatform.serve.inference.heatmaps import Heatmap, ThreadHeatmapRenderer
from mlplatform.serve.inference.model_slot import LoadedModel
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.torch_engine import load_torch_engine
from tests.support.api_server import CLASSES, NAME, StockedCatalog, encoded, looking, module
from tests.support.platform_world import START

DIGIT = Image.fromarray(np.pad(np.full((14, 6), 230, dtype=np.uint8), ((7, 7), (11, 11))))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of three versions: 1 and 2 look at pictures with other weights, 3 does not look."""
    folder = tmp_path_factory.mktemp("versions")
    for version, made in ((1, build_exportable(looking(1))), (2, build_exportable(looking(2))), (3, module(3))):
        save_exportable(made, folder / f"{version}.pt2")
    return folder


@pytest.fixture
def explained(server: ApiServer, stocked: StockedCatalog, files: Path) -> ApiServer:
    """A server that answers with version 1 and can load the two others."""
    for version in (1, 2, 3):
        stocked.stock(version, (files / f"{version}.pt2").read_bytes())
    server.model_slot.swap(LoadedModel(NAME, 1, load_torch_engine(files / "1.pt2", CLASSES), START))
    return server


def ask(client: httpx.Client, body: object, accept: str = "application/json") -> httpx.Response:
    return client.post("/v1/explain", json=body, headers={"accept": accept})


IMAGE = b64encode(encoded(DIGIT)).decode()


def test_an_image_is_explained_as_numbers_and_as_a_picture(explained: ApiServer, client: httpx.Client) -> None:
    answered = ask(client, {"image": IMAGE})
    assert answered.status_code == 200
    shown = answered.json()
    heat = np.array(shown["heat"])
    assert heat.shape == (28, 28)
    assert 0 <= heat.min() < heat.max() == 1
    assert (shown["model"], shown["method"], shown["prediction_id"]) == ({"name": NAME, "version": 1}, "grad-cam", None)
    assert shown["label"] == shown["answer"]
    picture = ask(client, {"image": IMAGE}, "image/png")
    assert picture.headers["content-type"] == "image/png"
    assert picture.content == b64decode(shown["overlay"])


def test_a_recorded_prediction_is_explained_by_the_version_that_made_it(
    explained: ApiServer, client: httpx.Client, files: Path
) -> None:
    made = client.post("/v1/predict", content=encoded(DIGIT), headers={"content-type": "image/png"}).json()
    [prediction] = made["predictions"]
    explained.model_slot.swap(LoadedModel(NAME, 2, load_torch_engine(files / "2.pt2", CLASSES), START))
    shown = ask(client, {"prediction_id": prediction["id"]}).json()
    assert (shown["model"]["version"], shown["answer"]) == (1, prediction["label"])
    assert shown["prediction_id"] == prediction["id"]
    now = ask(client, {"image": IMAGE}).json()
    assert now["model"]["version"] == 2
    assert now["heat"] != shown["heat"]


def test_another_class_can_be_asked_for(explained: ApiServer, client: httpx.Client) -> None:
    answer = ask(client, {"image": IMAGE}).json()["answer"]
    other = next(name for name in CLASSES if name != answer)
    shown = ask(client, {"image": IMAGE, "label": other}).json()
    assert (shown["label"], shown["answer"]) == (other, answer)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 422, "either"),
        ({"image": IMAGE, "prediction_id": "x"}, 422, "either"),
        ({"image": IMAGE, "label": "A"}, 422, "none of the model's classes"),
        ({"image": "%%%"}, 422, "not base64"),
        ({"image": IMAGE, "more": 1}, 422, "more"),
        ({"prediction_id": "unknown"}, 404, "unknown"),
    ],
)
def test_what_cannot_be_explained_is_a_problem_with_words(
    explained: ApiServer, client: httpx.Client, body: object, status: int, words: str
) -> None:
    answered = ask(client, body)
    assert answered.status_code == status
    assert words in answered.json()["detail"]


def test_a_model_without_a_convolution_is_a_conflict(explained: ApiServer, client: httpx.Client, files: Path) -> None:
    explained.model_slot.swap(LoadedModel(NAME, 3, load_torch_engine(files / "3.pt2", CLASSES), START))
    answered = ask(client, {"image": IMAGE})
    assert answered.status_code == 409
    assert "version 3 cannot be explained" in answered.json()["detail"]


def test_explanations_wait_for_each_other_and_no_label_waits_behind_them(
    explained: ApiServer, client: httpx.Client
) -> None:
    waited = threading.Event()
    held = explained.explanation_service._renderer

    class Slow(ThreadHeatmapRenderer):
        def render(self, *given: Any) -> Heatmap:  # noqa: ANN401 - whatever the call takes
            waited.wait(50)
            return held.render(*given)

    explained.explanation_service._renderer = Slow()
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(ask, client, {"image": IMAGE}) for _ in range(12)]
        label = client.post("/v1/feedback", json={"prediction_id": "x", "label": CLASSES[0], "source": "delayed"})
        assert label.status_code == 404
        assert not any(each.done() for each in asked), "the label was answered while every map was being made"
        waited.set()
        assert {each.result().status_code for each in asked} == {200}


def test_a_model_file_that_is_not_the_registered_one_explains_nothing_and_is_no_fault_of_the_server(
    explained: ApiServer, client: httpx.Client, stocked: StockedCatalog
) -> None:
    stocked.corrupt.add(1)
    answered = ask(client, {"image": IMAGE})
    assert answered.status_code == 503
    assert "should have another sha256" in answered.json()["detail"]
