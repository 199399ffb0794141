"""An answer is one version's, whole and recorded, also while models change under load."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from mlplatform.errors import InvalidInputError, ModelUnavailableError, RecordingError, TooLargeError
from mlplatform.recording.recorder import Recorder
from mlplatform.recording.thread_writer import ThreadWriter
from mlplatform.serve.api_server import ApiServer
from mlplatform.serve.inference.model_slot import ModelSlot
from mlplatform.serve.inference.predict import PredictRequest
from mlplatform.store.tables.predictions import predictions
from pipelines.image.grey_png import encode_png
from tests.support.api_server import CLASSES, answered, loaded, running, spool_directory_in
from tests.support.platform_world import picture

PNG = encode_png(picture(1))


def test_an_answer_names_model_label_confidence_and_every_class(server: ApiServer) -> None:
    made = answered(server, PredictRequest(None, (PNG, PNG), client_id="till", request_id="r-1"))
    assert (made.request_id, made.recorded, len({item.id for item in made.predictions})) == ("r-1", True, 2)
    for item in made.predictions:
        assert (item.label, item.model.name, item.model.version) == ("1", "digits", 1)
        assert tuple(item.probabilities) == CLASSES
        assert item.confidence == pytest.approx(item.probabilities["1"], abs=1e-6)
    assert server.recorder.counts().queued == 2
    assert made.latency_ms > 0


def test_a_request_without_an_id_gets_one(server: ApiServer) -> None:
    ids = {answered(server, PredictRequest(None, (PNG,))).request_id for _ in range(3)}
    assert len(ids) == 3
    assert "" not in ids


def test_the_latency_of_a_request_is_shared_by_its_images(server: ApiServer) -> None:
    server.recorder.start()
    made = answered(server, PredictRequest(None, (PNG,) * 4))
    assert server.recorder.flush(5)
    with server.context.database.read() as connection:
        spent = list(connection.scalars(select(predictions.c.latency_ms)))
    server.recorder.close()
    assert sum(spent) == pytest.approx(made.latency_ms, abs=0.01)
    assert len(set(spent)) == 1


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (PredictRequest(None, ()), InvalidInputError),
        (PredictRequest(None, (b"x",)), InvalidInputError),
        (PredictRequest(None, (PNG,) * 21), TooLargeError),
        (PredictRequest(None, (PNG,), client_id="x" * 201), InvalidInputError),
        (PredictRequest(None, (PNG,), request_id="a\0"), InvalidInputError),
        (PredictRequest(b'{"images": []}', (), request_id="\ud800"), InvalidInputError),
    ],
)
def test_what_cannot_be_answered_is_raised_and_nothing_is_recorded(
    server: ApiServer, asked: PredictRequest, error: type[Exception]
) -> None:
    with pytest.raises(error):
        answered(server, asked)
    assert server.recorder.counts().queued == 0


def test_without_a_model_the_error_says_so(server: ApiServer) -> None:
    with pytest.raises(ModelUnavailableError):
        answered(replace(server, model_slot=ModelSlot()), PredictRequest(None, (PNG,)))


def test_a_full_spool_gives_no_answer_that_it_cannot_keep(server: ApiServer, tmp_path: Path) -> None:
    small = Recorder(
        ThreadWriter(server.context.database),
        spool_directory=spool_directory_in(tmp_path, rows=4),
        batch=5,
        flush_seconds=0,
    )
    full = replace(server, recorder=small)
    made = answered(full, PredictRequest(None, (PNG, PNG)))
    assert (made.recorded, len(made.predictions)) == (True, 2)
    with pytest.raises(RecordingError, match="PLATFORM_SPOOL_MB"):
        answered(full, PredictRequest(None, (PNG,) * 4))
    assert small.counts().queued == 2
    assert small.counts().refused == 4


def test_models_swapped_under_load_fail_no_request_and_every_answer_names_its_maker(server: ApiServer) -> None:
    models = [loaded(version) for version in (1, 2, 3)]
    body = {"images": [np.zeros((28, 28), int).tolist()] * 3}
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for model in models:
                server.model_slot.swap(model)
                done.wait(0.0005)

    swapping = threading.Thread(target=swap)
    with running(server) as client:
        swapping.start()
        with ThreadPoolExecutor(6) as senders:
            answers = list(senders.map(lambda _: client.post("/v1/predict", json=body), range(200)))
        done.set()
        swapping.join()
        assert {item.status_code for item in answers} == {200}
        assert server.recorder.flush(20)
    made = [item for one in answers for item in one.json()["predictions"]]
    for one in answers:
        assert len({item["model"]["version"] for item in one.json()["predictions"]}) == 1
    assert {item["label"] for item in made} == {"1", "2", "3"}
    assert all(item["label"] == str(item["model"]["version"]) for item in made)
    with server.context.database.read() as connection:
        kept = connection.execute(select(predictions.c.id, predictions.c.label, predictions.c.model_version)).all()
    assert Counter(row.id for row in kept) == Counter(item["id"] for item in made)
    assert all(row.label == str(row.model_version) for row in kept)
