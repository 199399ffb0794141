"""Rows of a table over HTTP: answered, recorded, given back, labelled by reference, and refused by row and column."""

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from mlplatform.client import Client, Label
from mlplatform.context import AppContext
from mlplatform.feedback.label_import import Defaults, import_labels, read_label_file
from mlplatform.recording.recorder import Recorder
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.routes import predictions as prediction_routes
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from mlplatform.store.tables.predictions import inputs, predictions
from pipelines.image.grey_png import encode_png
from pipelines.inputs.table_codec import TableCodec
from registry.model_contract import Column, ModelContract, TableInputs
from tests.support.api_server import loaded, running
from tests.support.platform_world import FakeCatalog, picture, settings_in
from tests.support.table_model import COLUMNS, CONTRACT, NUMBERS, ROW, TableContracts, table_model

CODEC = TableCodec(COLUMNS)
pytestmark = pytest.mark.both_databases


def build(base: Settings, database: Database, contract: ModelContract) -> ApiServer:
    small = base.model_copy(
        update={"cache_answers": 50, "max_images": 20, "max_body_mb": 1.0, "allowed_hosts": ("api",)}
    )
    small.home.mkdir(exist_ok=True)
    made = build_server(AppContext(small, database=database, catalog=FakeCatalog(), contracts=TableContracts(contract)))
    made.model_slot.swap(table_model(1, contract))
    return made


@pytest.fixture
def server(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> ApiServer:
    monkeypatch.setattr(prediction_routes, "FLUSH_TIMEOUT_SECONDS", 60.0)
    return build(settings, database, CONTRACT)


@pytest.fixture
def client(server: ApiServer) -> Iterator[httpx.Client]:
    with running(server) as client:
        yield client


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[httpx.Client]:
    """One server for all refusals, which reach no database."""
    base = settings_in(tmp_path_factory.mktemp("refusing"))
    base.home.mkdir()
    shutil.copy(sqlite_template, base.home / "platform.db")
    database = Database(base.store_url)
    with running(build(base, database, CONTRACT)) as client:
        yield client
    database.close()


def ask(client: httpx.Client, rows: list[Any], **more: object) -> httpx.Response:
    return client.post("/v1/predict", json={"rows": rows, **more})


def test_rows_are_answered_and_each_is_given_back_with_its_reference(client: httpx.Client) -> None:
    young = {"age": 18.5, "plan": None, "unseen": 1}
    young.pop("unseen")
    answered = ask(client, [ROW, young], references=["order-1", None], tags={"shop": "north"}).json()
    assert [row["label"] for row in answered["predictions"]] == ["no", "no"]
    assert all(sum(row["probabilities"].values()) == pytest.approx(1) for row in answered["predictions"])
    first, second = (client.get(f"/v1/predictions/{row['id']}").json() for row in answered["predictions"])
    assert (first["row"], first["reference"], first["tags"]) == (ROW, "order-1", {"shop": "north"})
    assert (second["row"], second["reference"]) == (dict.fromkeys(ROW) | {"age": 18.5}, "")
    assert client.get(f"/v1/predictions/{first['id']}/image").status_code == 404


def test_each_row_has_its_own_subject_and_tags(client: httpx.Client) -> None:
    tags = [{"shop": "north"}, None, {"shop": "south", "till": "7"}]
    answered = ask(client, [ROW, ROW, ROW], subjects=["ada", None, "ada"], tags=tags).json()
    seen = [client.get(f"/v1/predictions/{row['id']}").json() for row in answered["predictions"]]
    assert [row["subject"] for row in seen] == ["ada", "", "ada"]
    assert [row["tags"] for row in seen] == [tags[0], {}, tags[2]]
    shared = ask(client, [ROW], tags={"shop": "east"}).json()["predictions"][0]["id"]
    assert client.get(f"/v1/predictions/{shared}").json()["tags"] == {"shop": "east"}


def test_subjects_and_tags_of_rows_come_by_the_protocols_and_the_client_as_well(
    server: ApiServer, client: httpx.Client
) -> None:
    def kept(prediction_id: str) -> tuple[str, dict[str, str]]:
        detail = client.get(f"/v1/predictions/{prediction_id}").json()
        return detail["subject"], detail["tags"]

    params = {"subjects": ["ada", "bob"], "tags": [{"shop": "north"}, None]}
    body = {"dataframe_records": [ROW, ROW], "params": params}
    made = [row["prediction_id"] for row in client.post("/invocations", json=body).json()["predictions"]]
    assert [kept(each) for each in made] == [("ada", {"shop": "north"}), ("bob", {})]

    texts = {name: json.dumps(value) for name, value in params.items()}
    age = {"name": "age", "shape": [2], "datatype": "FP64", "data": [41, 42]}
    answer = client.post("/v2/models/digits/infer", json={"inputs": [age], "parameters": texts}).json()
    ids = next(tensor["data"] for tensor in answer["outputs"] if tensor["name"] == "prediction_id")
    assert [kept(each) for each in ids] == [("ada", {"shop": "north"}), ("bob", {})]

    with Client("http://api", transport=client._transport) as caller:
        answered = caller.predict_rows([ROW, ROW], tags=[None, {"shop": "west"}], subjects=["eve", None])
        detail = caller.prediction(answered.predictions[0].id)
        assert (detail.subject, kept(answered.predictions[1].id)) == ("eve", ("", {"shop": "west"}))


def test_a_kept_row_is_its_canonical_form(server: ApiServer, client: httpx.Client, database: Database) -> None:
    ask(client, [ROW, ROW])
    assert server.recorder.flush(30)
    with database.read() as connection:
        [kept] = connection.execute(select(inputs)).all()
        assert connection.scalars(select(predictions.c.image_hash)).all() == [kept.hash] * 2
    assert (kept.form, bytes(kept.content)) == (CODEC.form, b'[41.0,3.0,1.0,"gold","calls: often",0.5]')


def test_values_out_of_range_and_unseen_categories_are_answered(client: httpx.Client) -> None:
    for row in ({"age": -1e308}, {"age": 1e308, "plan": "platinum"}, {"age": 12345678901234567890}):
        response = ask(client, [row])
        assert response.status_code == 200, response.text
        assert sum(response.json()["predictions"][0]["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"rows": [{"age": 1}, {"age": "x"}]}', "rows[1].age: 'x' is no number; give a number"),
        ('{"rows": [{"age": 1, "age": 2}]}', "rows[0].age is given twice; give it once"),
        ('{"rows": [{"age": 1}], "tags": {"a": "b", "a": "c"}}', "tags has 'a' twice"),
        ('{"rows": [{"age": 1}], "rows": [{"age": 1}]}', "the body has 'rows' twice"),
        ('{"rows": [{"age": 1, "height": 2}]}', "rows[0]: 'height' is no column of this model; it takes age, visits"),
        ('{"rows": [{"plan": "gold"}]}', "rows[0].age is missing; give a number"),
        ('{"rows": [{"age": NaN}]}', "the body is not JSON"),
        ('{"rows": [{"age": 1e999}]}', "is not finite"),
        ('{"rows": []}', "no row was sent; send at least one"),
        ('{"rows": [1]}', "rows[0] is no object"),
        ('{"rows": ' + "[" * 5000, "the body is not JSON"),
        ('{"rows": [{"age": 1}], "references": ["a", "b"]}', "references must be a list of 1 texts or nulls"),
        ('{"rows": [{"age": 1}, {"age": 2}], "references": ["a", "a"]}', "reference 'a' is given to two rows"),
        ('{"rows": [{"age": 1}], "subjects": "ada"}', "subjects must be a list of 1 texts or nulls"),
        ('{"rows": [{"age": 1}], "subjects": ["a\\u0000"]}', "subjects[0] must be a printable text"),
        ('{"rows": [{"age": 1}], "tags": []}', "tags must be an object, or a list of 1 objects or nulls"),
        ('{"rows": [{"age": 1}], "tags": [{"a": "b", "a": "c"}]}', "tags has 'a' twice"),
        ('{"rows": [{"age": 1}], "tags": ["a"]}', "tags[0] must be an object of at most 10 names and texts"),
        ('{"images": [[[1]]]}', "unknown field 'images'"),
        ("[]", 'this model takes rows of a table (age, visits, member, plan, note, …): send {"rows": [...]} as JSON'),
    ],
)
def test_what_cannot_be_taken_is_refused_in_words(refusing: httpx.Client, body: str, message: str) -> None:
    response = refusing.post("/v1/predict", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422, response.text
    assert message in response.json()["detail"]


def test_more_rows_than_the_limit_are_refused(client: httpx.Client) -> None:
    response = ask(client, [{"age": 1}] * 21)
    assert (response.status_code, response.json()["detail"]) == (
        413,
        "21 rows in one request; at most 20 (PLATFORM_MAX_IMAGES)",
    )


def test_pictures_are_refused_by_a_model_of_a_table_and_rows_by_one_of_pictures(server: ApiServer) -> None:
    png = encode_png(picture(1))
    with running(server) as client:
        for response in (
            client.post("/v1/predict", content=png, headers={"content-type": "image/png"}),
            client.post("/v1/predict", content=bytes(784), headers={"content-type": "application/octet-stream"}),
            client.post("/v1/predict", files={"files": ("a.png", png, "image/png")}),
        ):
            assert response.status_code == 422
            assert "this model takes rows of a table (age, visits" in response.json()["detail"]
        server.model_slot.swap(loaded(2))
        response = ask(client, [ROW])
        assert response.status_code == 422
        assert 'this model takes pictures of 28×28: send {"images": [...]}' in response.json()["detail"]


def test_a_label_comes_by_reference_to_the_newest_prediction_under_it(
    server: ApiServer, client: httpx.Client, database: Database
) -> None:
    ask(client, [ROW], references=["customer-7"])
    newest = ask(client, [{"age": 20}], references=["customer-7"]).json()["predictions"][0]["id"]
    body = {"reference": "customer-7", "label": "yes", "source": "delayed"}
    [receipt] = client.post("/v1/feedback", json=body).json()
    assert (receipt["prediction_id"], receipt["outcome"], receipt["counts"]) == (newest, "recorded", True)
    assert server.recorder.flush(30)
    unknown = client.post("/v1/feedback", json=body | {"reference": "customer-8"})
    assert (unknown.status_code, "no prediction with the reference 'customer-8'" in unknown.text) == (404, True)
    for wrong in ({"label": "yes"}, {"label": "yes", "reference": "a", "prediction_id": "b"}):
        assert "give prediction_id or reference" in client.post("/v1/feedback", json=wrong).json()["detail"]


def test_a_label_by_reference_is_asked_for_again_while_predictions_are_being_written(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "flush", lambda _self, _timeout: False)
    answer = client.post("/v1/feedback", json={"reference": "on-its-way", "label": "yes", "source": "delayed"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "send the labels again" in answer.json()["detail"]
    by_id = client.post("/v1/feedback", json={"prediction_id": "nobody", "label": "yes", "source": "delayed"})
    assert by_id.status_code == 404


def test_a_file_of_labels_names_predictions_by_reference(
    server: ApiServer, client: httpx.Client, tmp_path: Path
) -> None:
    ask(client, [ROW, {"age": 3}], references=["a", "b"])
    assert server.recorder.flush(30)
    path = tmp_path / "labels.csv"
    path.write_text("reference,label\na,yes\nb,no\n")
    lines = read_label_file(server.context, path, Defaults(source="delayed"))
    assert import_labels(server.context, lines)["recorded"] == 2
    assert import_labels(server.context, lines)["repeated"] == 2
    path.write_text("reference,label\na,yes\nc,no\n")
    with pytest.raises(ValueError, match=r"labels.csv:3: no prediction with the reference 'c'"):
        read_label_file(server.context, path, Defaults(source="delayed"))


def test_the_client_asks_with_rows_and_labels_by_reference(client: httpx.Client) -> None:
    with Client("http://api", transport=client._transport) as ours:
        answered = ours.predict_rows([ROW, {"age": 50}], ["x", None], client_id="till")
        detail = ours.prediction(answered.predictions[0].id)
        assert (detail.row, detail.reference, detail.client_id) == (ROW, "x", "till")
        [taken] = ours.feedback([Label("", "no", source="delayed", reference="x")])
        assert taken.prediction_id == detail.prediction.id


def test_the_same_key_gives_the_same_answer_and_the_same_row_comes_from_the_cache(client: httpx.Client) -> None:
    headers = {"idempotency-key": "once"}
    first, again = (client.post("/v1/predict", json={"rows": [ROW]}, headers=headers).json() for _ in range(2))
    assert first == again
    other = ask(client, [ROW]).json()
    assert other["predictions"][0]["probabilities"] == first["predictions"][0]["probabilities"]
    hits = [
        line
        for line in client.get("/metrics").text.splitlines()
        if line.startswith("mlplatform_cache_total{") and "here" in line
    ]
    assert [float(line.split()[-1]) for line in hits] == [1.0]


def v2(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def test_v2_takes_one_tensor_for_each_column(client: httpx.Client) -> None:
    described = client.get("/v2/models/digits").json()["inputs"]
    assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in described] == [
        ("age", "FP64", [-1, 1]), ("visits", "FP64", [-1, 1]), ("member", "FP64", [-1, 1]),
        ("plan", "BYTES", [-1, 1]), ("note", "BYTES", [-1, 1]), ("since", "FP64", [-1, 1]),
    ]  # fmt: skip
    tensors = [
        v2("age", "FP32", [41, 20.5]),
        v2("visits", "INT64", [[3], [4]], [2, 1]),
        v2("member", "BOOL", [True, None]),
        v2("plan", "BYTES", ["gold", None]),
    ]
    document = {"inputs": tensors, "parameters": {"references": '["v", null]'}}
    answered = client.post("/v2/models/digits/infer", json=document).json()
    ids = next(output["data"] for output in answered["outputs"] if output["name"] == "prediction_id")
    rows = [client.get(f"/v1/predictions/{key}").json() for key in ids]
    assert rows[0]["row"] == ROW | {"note": None, "since": None}
    assert (rows[0]["reference"], rows[1]["row"]["age"], rows[1]["row"]["plan"]) == ("v", 20.5, None)


def test_v2_takes_columns_as_bytes(client: httpx.Client) -> None:
    ages, plans = struct.pack("<dd", 41, 20), b"".join(struct.pack("<I", len(t)) + t for t in (b"gold", b"free"))
    tensors = [
        {"name": name, "datatype": datatype, "shape": [2], "parameters": {"binary_data_size": len(data)}}
        for name, datatype, data in (("age", "FP64", ages), ("plan", "BYTES", plans))
    ]
    head = json.dumps({"inputs": tensors}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    response = client.post("/v2/models/digits/infer", content=head + ages + plans, headers=headers)
    assert response.status_code == 200, response.text
    short = client.post("/v2/models/digits/infer", content=head + ages + plans[:-1], headers=headers)
    assert "binary_data_size of input 'plan' is 16; 15 bytes are left" in short.json()["error"]


def test_v2_takes_one_matrix_where_all_columns_are_numbers(settings: Settings, database: Database) -> None:
    with running(build(settings, database, NUMBERS)) as client:
        tensor = v2("input", "FP64", [1.5, 2, 3, 4], [2, 2])
        answered = client.post("/v2/models/digits/infer", json={"inputs": [tensor]}).json()
        ids = next(output["data"] for output in answered["outputs"] if output["name"] == "prediction_id")
        assert [client.get(f"/v1/predictions/{key}").json()["row"] for key in ids] == [
            {"a": 1.5, "b": 2.0},
            {"a": 3.0, "b": 4.0},
        ]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([v2("height", "FP32", [1])], "input 'height' is no column"),
        ([v2("age", "FP16", [1])], "datatype 'FP16' of input 'age' is not taken; send FP32, FP64"),
        ([v2("age", "FP32", [1], [1, 2])], "the shape of input 'age' must be [n] or [n, 1]"),
        ([v2("age", "FP32", [1]), v2("plan", "BYTES", ["a", "b"])], "input 'plan' has 2 rows, 'age' has 1"),
        ([v2("age", "FP32", [1]), v2("age", "FP32", [1])], "input 'age' is given twice"),
        ([v2("age", "FP32", ["1"])], "has '1', which is no FP32"),
        ([v2("plan", "BYTES", ["gold"])], "inputs[0].age is missing; give a number"),
        ([v2("age", "FP32", [1]), v2("visits", "FP32", [1.5])], "inputs[0].visits: 1.5 is no whole number"),
    ],
)
def test_v2_refuses_by_input_and_column(refusing: httpx.Client, tensors: list[Any], message: str) -> None:
    response = refusing.post("/v2/models/digits/infer", json={"inputs": tensors})
    assert response.status_code == 422, response.text
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["plan", "age"], "data": [["gold", 41], [None, 20]]}},
        {"dataframe_records": [{"plan": "gold", "age": 41}, {"age": 20}]},
        {"inputs": {"plan": ["gold", None], "age": [[41], [20]]}},
        {"inputs": [[41, None, None, "gold", None, None], [20, None, None, None, None, None]]},
        {"instances": [{"plan": "gold", "age": 41}, {"plan": None, "age": 20}]},
    ],
)
def test_invocations_take_rows_in_each_form(client: httpx.Client, body: dict[str, Any]) -> None:
    response = client.post("/invocations", json=body)
    assert response.status_code == 200, response.text
    rows = [client.get(f"/v1/predictions/{row['prediction_id']}").json() for row in response.json()["predictions"]]
    assert [(row["row"]["age"], row["row"]["plan"]) for row in rows] == [(41.0, "gold"), (20.0, None)]


def test_five_thousand_columns_are_taken(settings: Settings, database: Database) -> None:
    names = [f"column {number}" for number in range(5000)]
    contract = ModelContract(TableInputs(tuple(Column(name, "number") for name in names)), CONTRACT.task)
    row = dict(zip(names, np.arange(5000.0).tolist(), strict=True))
    with running(build(settings, database, contract)) as client:
        response = ask(client, [row])
        assert response.status_code == 200, response.text
        key = response.json()["predictions"][0]["id"]
        assert client.get(f"/v1/predictions/{key}").json()["row"] == row
        assert ask(client, [row | {"column 4999": "x"}]).status_code == 422


@pytest.mark.parametrize("age", [0.0, 5e-324, 0.1 + 0.2, -1.7976931348623157e308, 2.0**53 + 2, 16777217.0])
def test_a_number_comes_back_bit_for_bit(client: httpx.Client, age: float) -> None:
    key = ask(client, [{"age": age}]).json()["predictions"][0]["id"]
    kept = client.get(f"/v1/predictions/{key}").json()["row"]["age"]
    assert struct.pack("<d", kept) == struct.pack("<d", age)


def test_zero_has_one_sign_so_that_equal_numbers_are_one_content(client: httpx.Client) -> None:
    ids = [each["id"] for each in ask(client, [{"age": -0.0}, {"age": 0.0}]).json()["predictions"]]
    kept = [client.get(f"/v1/predictions/{key}").json()["row"]["age"] for key in ids]
    assert [struct.pack("<d", age) for age in kept] == [struct.pack("<d", 0.0)] * 2


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**25), 10**25), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8), st.sampled_from(["gold", "\ud800", "1970-01-01", -0.0, 1e308, 2**53 + 1]),
    st.lists(st.none(), max_size=2),
)  # fmt: skip
BODIES = st.lists(
    st.dictionaries(st.sampled_from([*ROW, "other"]), VALUES, max_size=7) | VALUES, min_size=0, max_size=3
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BODIES)
def test_whatever_is_sent_is_refused_or_comes_back_as_it_was(client: httpx.Client, rows: list[Any]) -> None:
    response = client.post("/v1/predict", content=json.dumps({"rows": rows}))
    assert response.status_code in (200, 422), response.text
    if response.status_code == 422:
        return
    for sent, answered in zip(rows, response.json()["predictions"], strict=True):
        kept = client.get(f"/v1/predictions/{answered['id']}").json()["row"]
        for name in ("visits", "plan", "note"):
            assert kept[name] == sent.get(name)
        assert kept["age"] == float(sent["age"])
        assert sent.get("member") is None or kept["member"] == bool(sent["member"])
