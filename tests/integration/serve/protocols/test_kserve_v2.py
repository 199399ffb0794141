"""The Open Inference Protocol v2: Triton's own client against a listening server, and errors in the protocol's form."""

import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from mlplatform.predictions import prediction_records
from mlplatform.predictions.prediction_counts import request_status_counts
from mlplatform.serve.api_server import ApiServer, build_server
from pipelines.data import content_hash
from pipelines.image.grey_png import decode_png
from tests.support.api_server import listening, loaded, running
from tests.support.platform_world import picture

GREYS = np.stack([picture(seed) for seed in range(3)])
INFER = "/v2/models/digits/infer"
LENGTH = "inference-header-content-length"
Floats = NDArray[np.float32]


def floats(greys: NDArray[np.uint8]) -> Floats:
    return (greys[:, None] / np.float32(255)).astype(np.float32)


def tensor(values: NDArray[Any], datatype: str, *, binary: bool = True) -> Any:  # noqa: ANN401 - it has no types
    import tritonclient.http as triton

    made = triton.InferInput("images", list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    import tritonclient.http as triton

    made = triton.InferenceServerClient(address)
    yield made
    made.close()


def test_tritons_client_finds_the_server_and_its_model(client: Any) -> None:  # noqa: ANN401 - it has no types
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "1")
    assert not client.is_model_ready("digits", "2")
    assert not client.is_model_ready("letters")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification"]
    about = client.get_model_metadata("digits")
    assert about == client.get_model_metadata("digits", "1")
    assert (about["name"], about["versions"]) == ("digits", ["1"])
    assert about["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 1, 28, 28]}]
    assert [each["name"] for each in about["outputs"]] == ["label", "confidence", "probabilities", "prediction_id"]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("form", ["FP32 with a channel", "FP32", "UINT8"])
def test_tensors_of_every_form_are_answered_alike_and_recorded_as_the_same_pictures(
    client: Any,  # noqa: ANN401
    server: ApiServer,
    form: str,
    binary: bool,
) -> None:
    import tritonclient.http as triton

    values = {"FP32 with a channel": floats(GREYS), "FP32": floats(GREYS)[:, 0], "UINT8": GREYS}[form]
    asked = [triton.InferRequestedOutput(name, binary) for name in ("label", "probabilities", "prediction_id")]
    answer = client.infer(
        "digits",
        [tensor(values, form.split()[0], binary=binary)],
        outputs=asked,
        request_id="r-7",
        parameters={"client_id": "till", "tags": '{"scanner": "flatbed"}'},
    )
    document = answer.get_response()
    assert (document["model_name"], document["model_version"], document["id"]) == ("digits", "1", "r-7")
    assert document["parameters"]["recorded"] is True
    assert [each["name"] for each in document["outputs"]] == ["label", "probabilities", "prediction_id"]
    labels, ids = ([_text(each) for each in answer.as_numpy(name)] for name in ("label", "prediction_id"))
    assert labels == ["1", "1", "1"]
    assert answer.as_numpy("probabilities").shape == (3, 10)
    assert answer.as_numpy("probabilities").argmax(axis=1).tolist() == [1, 1, 1]
    server.recorder.flush(5)
    with server.context.database.read() as connection:
        rows = [prediction_records.find(connection, each) for each in ids]
        kept = [decode_png(prediction_records.load_image(connection, row.image_hash)) for row in rows]
    assert np.array_equal(np.stack(kept), GREYS)
    assert [row.image_hash for row in rows] == [content_hash(grey) for grey in GREYS]
    assert {(row.client_id, row.request_id, row.model_version) for row in rows} == {("till", "r-7", 1)}
    assert [row.tags for row in rows] == [{"scanner": "flatbed"}] * 3


def test_all_outputs_come_as_bytes_where_none_is_named(client: Any) -> None:  # noqa: ANN401
    answer = client.infer("digits", [tensor(GREYS, "UINT8")])
    assert answer.as_numpy("confidence") == pytest.approx(answer.as_numpy("probabilities").max(axis=1), abs=1e-6)
    sizes = {each["name"]: each["parameters"]["binary_data_size"] for each in answer.get_response()["outputs"]}
    assert sizes == {"label": 15, "confidence": 12, "probabilities": 120, "prediction_id": 120}


def test_feedback_follows_by_the_prediction_id_of_a_tensor(client: Any, address: str) -> None:  # noqa: ANN401
    ids = client.infer("digits", [tensor(GREYS, "UINT8")]).as_numpy("prediction_id")
    label = {"prediction_id": _text(ids[0]), "label": "4", "source": "audit"}
    taken = httpx.post(f"http://{address}/v1/feedback", json=label).json()
    assert [each["outcome"] for each in taken] == ["recorded"]
    shown = httpx.get(f"http://{address}/v1/predictions/{_text(ids[0])}").json()
    assert [each["label"] for each in shown["labels"]] == ["4"]


@pytest.mark.parametrize(
    ("values", "datatype", "said"),
    [
        (floats(GREYS) * 2, "FP32", "values outside 0 to 1"),
        (floats(GREYS) * np.float32("nan"), "FP32", "values outside 0 to 1"),
        (GREYS[:, :27], "UINT8", r"shape \[3, 27, 28\]"),
        (GREYS[:0], "UINT8", "no image"),
        (np.zeros((21, 28, 28), dtype=np.uint8), "UINT8", "at most 20"),
        (GREYS.astype(np.int64), "INT64", "'INT64' is not taken"),
    ],
)
def test_tritons_client_is_told_why_a_tensor_is_refused(
    client: Any,  # noqa: ANN401
    values: NDArray[Any],
    datatype: str,
    said: str,
) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match=said):
        client.infer("digits", [tensor(values, datatype)])


def test_a_version_that_does_not_serve_and_another_model_are_not_found(client: Any, server: ApiServer) -> None:  # noqa: ANN401
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match="version 2 does not serve; version 1 does"):
        client.infer("digits", [tensor(GREYS, "UINT8")], model_version="2")
    with pytest.raises(InferenceServerException, match="'letters' is not served here"):
        client.infer("letters", [tensor(GREYS, "UINT8")])
    server.model_slot.swap(loaded(2))
    answer = client.infer("digits", [tensor(GREYS, "UINT8")], model_version="2")
    assert answer.get_response()["model_version"] == "2"


def test_a_server_without_a_model_lives_and_is_not_ready(server: ApiServer) -> None:
    import tritonclient.http as triton
    from tritonclient.utils import InferenceServerException

    empty = build_server(server.context)
    with listening(empty) as address:
        client = triton.InferenceServerClient(address)
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert not client.is_model_ready("digits")
        with pytest.raises(InferenceServerException, match="no champion is loaded yet"):
            client.infer("digits", [tensor(GREYS, "UINT8")])
        client.close()


def one(data: object = None, **fields: object) -> dict[str, Any]:
    whole = {"name": "images", "datatype": "UINT8", "shape": [1, 28, 28], "data": GREYS[0].ravel().tolist()}
    return {"inputs": [whole | fields | ({} if data is None else {"data": data})]}


def best(name: str, count: object) -> dict[str, Any]:
    return {"outputs": [{"name": name, "parameters": {"classification": count}}]}


def test_a_packed_body_is_refused_in_the_protocols_form(server: ApiServer) -> None:
    with running(server) as asking:
        answer = asking.post(INFER, content=json.dumps(one()).encode(), headers={"content-encoding": "gzip"})
        assert (answer.status_code, set(answer.json())) == (415, {"error"})
        assert (answer.headers["accept-encoding"], "identity" in answer.json()["error"]) == ("identity", True)


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"{", {}, "not JSON"),
        (b"[]", {}, "must be an object"),
        (json.dumps({"inputs": []}).encode(), {}, "a list of tensors, at least one"),
        (json.dumps(one(name="image")).encode(), {}, "'image' is not known"),
        (json.dumps(one(shape=[1, -28, 28])).encode(), {}, "list of whole numbers"),
        (json.dumps(one(shape=[1] * 70)).encode(), {}, "list of whole numbers"),
        (json.dumps(one(shape=[2**31 - 1] * 3)).encode(), {}, "its shape"),
        (json.dumps(one([1, 2, 3])).encode(), {}, "has 3 values"),
        (json.dumps(one([[1], [2, 3]])).encode(), {}, "ragged"),
        (json.dumps(one(["1"] * 784)).encode(), {}, "must be numbers"),
        (json.dumps(one([256] * 784)).encode(), {}, "outside UINT8"),
        (json.dumps(one([0.5] * 784)).encode(), {}, "must be numbers of UINT8"),
        (json.dumps(one([1e300] * 784, datatype="FP32")).encode(), {}, "outside 0 to 1"),
        (json.dumps(one() | {"id": 7}).encode(), {}, "id must be a text"),
        (json.dumps(one() | {"outputs": [{"name": "logits"}]}).encode(), {}, "'logits' is not known"),
        (json.dumps(one() | {"outputs": [{"name": "label"}] * 2}).encode(), {}, "'label' is asked for twice"),
        (json.dumps(one() | {"outputs": [{"name": "probabilities"}] * 1000}).encode(), {}, "asked for twice"),
        (json.dumps(one() | {"outputs": [{"name": ["label"]}]}).encode(), {}, "output a list is not known"),
        (json.dumps(one() | best("label", 2)).encode(), {}, "of 'probabilities' only"),
        (json.dumps(one() | best("probabilities", 0)).encode(), {}, "is 0; give a whole number"),
        (json.dumps(one() | best("probabilities", "3")).encode(), {}, "is '3'; give a whole number"),
        (json.dumps(one() | best("probabilities", True)).encode(), {}, "is true; give a whole number"),
        (json.dumps(one() | best("probabilities", None)).encode(), {}, "is null; give a whole number"),
        (json.dumps(one(parameters={"shared_memory_region": "r"})).encode(), {}, "is not served here"),
        (json.dumps(one()).encode(), {LENGTH: "9" * 5000}, "must be the length"),
        (json.dumps(one() | {"parameters": {"tags": "[" * 10_000}}).encode(), {}, "tags is not JSON"),
        (json.dumps(one() | {"parameters": {"tags": "[" * 100_000}}).encode(), {}, "holds 100003 lists; at most"),
        (json.dumps(one() | {"parameters": {"tags": "{"}}).encode(), {}, "tags is not JSON"),
        (json.dumps(one() | {"parameters": {"tags": '{"A": "b"}'}}).encode(), {}, "no name"),
        (json.dumps(one() | {"parameters": {"subjects": '["ada"]'}}).encode(), {}, "of pictures none are kept"),
        (json.dumps(one() | {"parameters": {"client_id": "a\nb"}}).encode(), {}, "printable"),
        (json.dumps(one()).encode(), {LENGTH: "99999"}, "must be the length"),
        (json.dumps(one()).encode(), {LENGTH: "-1"}, "must be the length"),
        (json.dumps(one(parameters={"binary_data_size": 784})).encode(), {}, "0 bytes follow"),
        (json.dumps(one(parameters={"binary_data_size": "784"})).encode(), {}, "0 bytes follow"),
    ],
)
def test_what_cannot_be_used_is_refused_in_the_protocols_form(
    shared_client: httpx.Client, body: bytes, headers: dict[str, str], said: str
) -> None:
    answer = shared_client.post(INFER, content=body, headers=headers)
    assert (answer.status_code, set(answer.json())) == (422, {"error"}), answer.text
    assert said in answer.json()["error"]
    assert shared_client.get("/readyz").json()["recorder"]["recorded"] == 0


def test_an_id_of_null_is_none(server: ApiServer) -> None:
    absent = dict.fromkeys(("id", "parameters", "outputs"))
    with running(server) as client:
        answer = client.post(INFER, json=one() | absent, headers={"x-request-id": "mine"})
    assert (answer.status_code, answer.json()["id"]) == (200, "mine")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("count", "given"), [(1, 1), (3, 3), (1000, 10)])
def test_a_classification_names_the_best_classes(client: Any, count: int, given: int, binary: bool) -> None:  # noqa: ANN401
    import tritonclient.http as triton

    asked = triton.InferRequestedOutput("probabilities", binary, class_count=count)
    answer = client.infer("digits", [tensor(GREYS, "UINT8")], outputs=[asked])
    found = answer.as_numpy("probabilities")
    assert found.shape == (3, given)
    for row in found:
        shown = [_text(each).split(":") for each in row]
        assert shown[0][1:] == ["1", "1"]
        assert [float(value) for value, _, _ in shown] == sorted((float(value) for value, _, _ in shown), reverse=True)
        assert len({place for _, place, _ in shown}) == given


def test_bytes_behind_the_json_are_read_to_the_last_one(server: ApiServer) -> None:
    given = one(parameters={"binary_data_size": 784})
    del given["inputs"][0]["data"]
    text = json.dumps(given).encode()
    with running(server) as client:
        whole = client.post(INFER, content=text + GREYS[0].tobytes(), headers={LENGTH: str(len(text))})
        assert whole.status_code == 200, whole.text
        for rest in (b"", GREYS[0].tobytes()[:-1], GREYS[0].tobytes() + b"x"):
            answer = client.post(INFER, content=text + rest, headers={LENGTH: str(len(text))})
            assert (answer.status_code, f"{len(rest)} bytes follow" in answer.text) == (422, True)


def test_texts_as_bytes_stand_behind_their_lengths(server: ApiServer) -> None:
    wanted = one() | {"outputs": [{"name": "label", "parameters": {"binary_data": True}}, {"name": "confidence"}]}
    with running(server) as client:
        answer = client.post(INFER, json=wanted)
    length = int(answer.headers[LENGTH])
    document = json.loads(answer.content[:length])
    assert answer.content[length:] == struct.pack("<I", 1) + b"1"
    assert document["outputs"][0] == {
        "name": "label",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": 5},
    }
    assert document["outputs"][1]["data"][0] > 0.5


def test_other_failures_of_the_protocol_have_its_form_too_and_count_as_prediction_requests(server: ApiServer) -> None:
    begun = server.context.clock()
    with running(server) as client:
        assert set(client.get("/v2/nothing").json()) == {"error"}
        large = client.post(INFER, content=b"x" * 2**21)
        assert (large.status_code, set(large.json())) == (413, {"error"})
        assert client.post(INFER, json=one()).status_code == 200
    with server.context.database.read() as connection:
        assert request_status_counts(connection, "digits", 1, begun, server.context.clock()) == {200: 1, 413: 1}


def _text(value: object) -> str:
    """A text, which arrives as bytes from binary data and as text from JSON."""
    return value.decode() if isinstance(value, bytes) else str(value)
