"""Trace context: read strictly, kept with the answer and echoed, over every protocol."""

import httpx
import pytest

from mlplatform.predictions import prediction_records
from mlplatform.serve.api_server import ApiServer
from mlplatform.serve.observability.trace_context import TraceContext, add_trace_tag, parse_traceparent
from tests.support.platform_world import picture

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{ID}-{SPAN}-01"
ROWS = picture(1).tolist()


def test_a_header_is_read_with_its_sampling() -> None:
    assert parse_traceparent(HEADER) == TraceContext(ID, SPAN, sampled=True)
    assert parse_traceparent(f" 00-{ID}-{SPAN}-00 ") == TraceContext(ID, SPAN, sampled=False)
    assert parse_traceparent(f"cc-{ID}-{SPAN}-03-more") == TraceContext(ID, SPAN, sampled=True)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        HEADER.upper(),
        f"ff-{ID}-{SPAN}-01",
        f"00-{ID}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID[:-1]}-{SPAN}-01",
        f"00-{ID}-{SPAN}-1",
        f"0-{ID}-{SPAN}-01",
    ],
)
def test_a_header_that_is_malformed_is_none(header: str) -> None:
    assert parse_traceparent(header) is None


def test_the_trace_id_is_a_tag_where_the_request_id_is_another_and_there_is_room() -> None:
    trace = parse_traceparent(HEADER)
    assert add_trace_tag({"a": "b"}, trace, "r", 2) == {"a": "b", "trace_id": ID}
    assert add_trace_tag({"a": "b"}, trace, "r", 1) == {"a": "b"}
    assert add_trace_tag({}, trace, ID, 2) == {}
    assert add_trace_tag({}, None, "r", 2) == {}
    assert add_trace_tag({"trace_id": "mine"}, trace, "r", 2) == {"trace_id": "mine"}


TENSOR = {"name": "images", "datatype": "UINT8", "shape": [1, 28, 28], "data": picture(1).ravel().tolist()}
DOORS = {
    "/v1/predict": {"images": [ROWS]},
    "/v2/models/digits/infer": {"inputs": [TENSOR]},
    "/invocations": {"inputs": [ROWS]},
}


@pytest.mark.parametrize("path", DOORS)
def test_a_trace_is_echoed_and_kept_by_every_protocol(client: httpx.Client, server: ApiServer, path: str) -> None:
    for extra, kept in (({}, (ID, {})), ({"x-request-id": "r-7"}, ("r-7", {"trace_id": ID}))):
        answer = client.post(path, json=DOORS[path], headers={"traceparent": HEADER} | extra)
        assert (answer.status_code, answer.headers["traceparent"]) == (200, HEADER)
        server.recorder.flush(5)
        with server.context.database.read() as connection:
            row = prediction_records.find(connection, _id_in(answer.json()))
        assert (row.request_id, row.tags or {}) == kept


def test_a_malformed_trace_is_neither_echoed_nor_kept(client: httpx.Client) -> None:
    answer = client.post("/v1/predict", json={"images": [ROWS]}, headers={"traceparent": HEADER.upper()})
    assert answer.status_code == 200
    assert "traceparent" not in answer.headers
    assert ID not in answer.json()["request_id"].replace("-", "")


def _id_in(body: dict[str, object]) -> str:
    """The prediction id, wherever the protocol has it."""
    if "outputs" in body:
        outputs = body["outputs"]
        assert isinstance(outputs, list)
        return str(next(each["data"][0] for each in outputs if each["name"] == "prediction_id"))
    rows = body["predictions"]
    assert isinstance(rows, list)
    return str(rows[0].get("id") or rows[0]["prediction_id"])
