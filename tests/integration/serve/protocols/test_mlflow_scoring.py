"""MLflow's scoring protocol: its own client against a listening server, every form of a body, and what is refused."""

import json
import warnings
from base64 import b64encode
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from mlplatform.predictions import prediction_records
from mlplatform.serve.api_server import ApiServer, build_server
from pipelines.data import content_hash
from pipelines.image.grey_png import encode_png
from tests.support.api_server import listening, running
from tests.support.platform_world import picture

with warnings.catch_warnings():  # MLflow warns of its own type hints
    warnings.simplefilter("ignore")
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

GREYS = np.stack([picture(seed) for seed in range(3)])
COLUMNS = [f"pixel{place}" for place in range(784)]
ENCODED = [b64encode(encode_png(grey)).decode() for grey in GREYS]
HASHES = [content_hash(grey) for grey in GREYS]


def hashes(server: ApiServer, ids: list[str]) -> list[str]:
    server.recorder.flush(5)
    with server.context.database.read() as connection:
        return [prediction_records.find(connection, each).image_hash for each in ids]


def mlflow(address: str) -> ScoringServerClient:
    host, _, port = address.partition(":")
    return ScoringServerClient(host, int(port))


def test_mlflows_client_finds_the_server_ready(address: str) -> None:
    client = mlflow(address)
    client.wait_server_ready(timeout=5)
    client.ping()
    assert client.get_version().startswith("3.")


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame(GREYS.reshape(3, 784), columns=COLUMNS),
        pd.DataFrame({"image": ENCODED}),
        pd.DataFrame({"image": [grey.tolist() for grey in GREYS]}),
        GREYS,
        GREYS[:, None],
        GREYS.reshape(3, 784),
        ENCODED,
    ],
    ids=["frame of pixels", "frame of files", "frame of rows", "tensor", "tensor with a channel", "matrix", "list"],
)
def test_whatever_mlflows_client_sends_is_answered_and_recorded_as_the_same_pictures(
    address: str, server: ApiServer, data: object
) -> None:
    answer = mlflow(address).invoke(data, params={"client_id": "till", "tags": {"scanner": "flatbed"}})
    frame = answer.get_predictions()
    assert frame["label"].astype(str).tolist() == ["1", "1", "1"]
    assert set(frame["model_version"]) == {1}
    ids = frame["prediction_id"].tolist()
    assert hashes(server, ids) == HASHES
    with server.context.database.read() as connection:
        row = prediction_records.find(connection, ids[0])
    assert (row.client_id, row.tags) == ("till", {"scanner": "flatbed"})
    label = {"prediction_id": ids[0], "label": "4", "source": "audit"}
    assert httpx.post(f"http://{address}/v1/feedback", json=label).json()[0]["outcome"] == "recorded"


def test_mlflows_client_is_told_that_no_model_is_loaded(server: ApiServer) -> None:
    with listening(build_server(server.context)) as address:
        with pytest.raises(Exception, match="ping failed"):
            mlflow(address).ping()
        with pytest.raises(Exception, match=r"MODEL_UNAVAILABLE.*no champion is loaded yet"):
            mlflow(address).invoke(GREYS)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["image"], "index": [0, 1, 2], "data": [[each] for each in ENCODED]}},
        {"dataframe_records": [{"image": each} for each in ENCODED]},
        {"dataframe_records": [dict(zip(COLUMNS, grey.ravel().tolist(), strict=True)) for grey in GREYS]},
        {"inputs": {"images": GREYS.tolist()}},
        {"inputs": ENCODED, "params": {"request_id": "r-7"}},
        {"instances": GREYS.tolist()},
        {"instances": [{"image": each} for each in ENCODED], "signature_name": "serving_default"},
    ],
)
def test_every_form_is_answered_in_the_order_of_its_rows(server: ApiServer, body: dict[str, Any]) -> None:
    with running(server) as client:
        rows = client.post("/invocations", json=body).json()["predictions"]
        assert hashes(server, [row["prediction_id"] for row in rows]) == HASHES


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "exactly one of"),
        (b"{}", "exactly one of"),
        (b'{"inputs": [], "instances": []}', "exactly one of"),
        (b'{"inputs": [], "more": 1}', "exactly one of"),
        (b'{"inputs": []}', "no image was sent"),
        (b'{"inputs": {"a": [], "b": []}}', "takes one"),
        (b'{"inputs": 7}', "must be a list of pictures"),
        (b'{"inputs": ["aGk="], "params": []}', "no image was sent|PNG nor JPEG"),
        (b'{"inputs": ["aGk="], "params": {"temperature": 1}}', "params must be"),
        (b'{"inputs": ["aGk="], "params": {"client_id": "a\\nb"}}', "printable"),
        (b'{"inputs": ["aGk="], "params": {"subjects": ["ada"]}}', "of pictures none are kept"),
        (b'{"dataframe_split": []}', "list of rows"),
        (b'{"dataframe_split": {"data": [1]}}', "list of rows"),
        (b'{"dataframe_split": {"data": [[]]}}', "shape 0"),
        (b'{"instances": [[1, 2], [3]]}', "shape 2"),
        (json.dumps({"inputs": [[256] * 784]}).encode(), "outside 0 to 255"),
    ],
)
def test_what_cannot_be_used_is_refused_in_mlflows_form(shared_client: httpx.Client, body: bytes, said: str) -> None:
    answer = shared_client.post("/invocations", content=body)
    assert (answer.status_code, set(answer.json())) == (422, {"error_code", "message"}), answer.text
    assert any(each in answer.json()["message"] for each in said.split("|")), answer.text
    assert shared_client.get("/readyz").json()["recorder"]["recorded"] == 0


def test_other_content_types_and_too_many_rows_are_refused(server: ApiServer) -> None:
    with running(server) as client:
        csv = client.post("/invocations", content=b"a,b", headers={"content-type": "text/csv"})
        assert (csv.status_code, "send application/json" in csv.text) == (422, True)
        many = client.post("/invocations", json={"inputs": ENCODED[:1] * 21})
        assert (many.status_code, many.json()["error_code"]) == (413, "TOO_LARGE")
