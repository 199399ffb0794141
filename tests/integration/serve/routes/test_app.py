"""The HTTP face: every way in, every error as a problem document, and the document that describes them."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.responses import JSONResponse
from jsonschema import Draft202012Validator
from PIL import Image

from mlplatform.alerting import evaluations
from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.ids import uuid7
from mlplatform.operations import queries
from mlplatform.predictions import prediction_records, sampling_plans
from mlplatform.promotion import approvals, promotion_history
from mlplatform.promotion.approvals import Approval
from mlplatform.recording.recorder import Recorder
from mlplatform.recording.thread_writer import ThreadWriter
from mlplatform.retraining import retraining_queue
from mlplatform.serialization import to_jsonable
from mlplatform.serve.api_server import ApiServer
from mlplatform.serve.app import create_app
from mlplatform.serve.observability.prometheus_metrics import ServerMetrics
from monitors.statistics.review_sampling import SamplingPlan
from pipelines.data import content_hash
from pipelines.image.grey_png import decode_png, encode_png
from registry.errors import RegistryUnavailableError
from tests.support.api_server import (
    GREY,
    Flaky,
    InProcess,
    StockedCatalog,
    encoded,
    loaded,
    predict,
    problem,
    running,
    spool_directory_in,
)
from tests.support.label_rows import an_id
from tests.support.platform_world import START, picture
from tests.support.waiting import eventually

PNG = encode_png(GREY)
ROUTES = {
    "/v1/predict",
    "/v1/explain",
    "/v1/predictions/{prediction_id}",
    "/v1/predictions/{prediction_id}/image",
    "/v1/audit/next",
    "/v1/feedback",
    "/v1/retrain",
    "/v1/retrainings/{retraining_id}",
    "/v1/models",
    "/v1/models/history",
    "/v1/review/label-studio",
    "/v1/review/label-studio/tasks",
    "/v1/evaluations/{evaluation_id}/report",
    "/v1/models/{version}/approve",
    "/v1/models/{version}/reject",
    "/v1/models/{version}/shadow",
    "/v1/models/{version}/canary",
    "/invocations",
    "/ping",
    "/version",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{name}",
    "/v2/models/{name}/ready",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}",
    "/v2/models/{name}/versions/{version}/ready",
    "/v2/models/{name}/versions/{version}/infer",
    "/healthz",
    "/readyz",
    "/metrics",
}


FORMS: dict[str, dict[str, Any]] = {
    "array": {"json": {"images": [GREY.tolist()]}},
    "base64": {"json": {"images": [base64.b64encode(PNG).decode()]}},
    "data-url": {"json": {"images": [f"data:image/png;base64,{base64.b64encode(PNG).decode()}"]}},
    "multipart": {"files": {"files": ("one.png", PNG, "image/png")}},
    "png": {"content": PNG, "headers": {"content-type": "image/png"}},
    "tensor": {"content": GREY.tobytes(), "headers": {"content-type": "application/octet-stream"}},
    "float tensor": {
        "content": GREY.astype("<f4").tobytes(),
        "headers": {
            "content-type": "application/octet-stream",
            "x-tensor-dtype": "float32",
            "x-tensor-shape": "1,28,28",
        },
    },
    "floats": {"json": {"images": [GREY.astype(float).tolist()]}},
    "no content type": {"content": json.dumps({"images": [GREY.tolist()]}).encode()},
    "charset": {
        "content": json.dumps({"images": [GREY.tolist()]}).encode(),
        "headers": {"content-type": "application/JSON; charset=utf-8"},
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_picture_in_every_form_is_answered_and_recorded_alike(client: httpx.Client, form: str) -> None:
    answer = client.post("/v1/predict", **FORMS[form])
    assert answer.status_code == 200
    body = answer.json()
    [made] = body["predictions"]
    assert (made["label"], made["model"], body["recorded"]) == ("1", {"name": "digits", "version": 1}, True)
    assert made["confidence"] == pytest.approx(made["probabilities"]["1"], abs=1e-6)
    assert sum(made["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    kept = client.get(f"/v1/predictions/{made['id']}").json()
    assert kept["image_hash"] == content_hash(GREY)
    assert (kept["label"], kept["request_id"], kept["labels"]) == ("1", body["request_id"], [])


def test_an_answer_that_waits_for_its_commit_holds_no_other_request_up(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    go_on = threading.Event()

    async def waiting(_recorder: Recorder, answers: int) -> None:
        assert answers == 1
        await asyncio.to_thread(go_on.wait, 10)
        order.append("committed")

    monkeypatch.setattr(Recorder, "must_wait", True)
    monkeypatch.setattr(Recorder, "wait_durable", waiting)
    with running(server) as client:
        asking = threading.Thread(target=predict, args=(client,))
        asking.start()
        assert client.get("/healthz").status_code == 200
        order.append("alive")
        go_on.set()
        asking.join(10)
    assert order == ["alive", "committed"]


def test_a_jpeg_is_answered_raw_in_a_form_and_as_base64(client: httpx.Client) -> None:
    jpeg = encoded(Image.fromarray(GREY), "JPEG")
    for form in (
        {"content": jpeg, "headers": {"content-type": "image/jpeg"}},
        {"files": {"files": ("one.jpg", jpeg, "image/jpeg")}},
        {"json": {"images": [base64.b64encode(jpeg).decode()]}},
    ):
        answer = client.post("/v1/predict", **form)
        assert answer.status_code == 200, answer.text


def test_a_prediction_that_is_still_being_written_is_no_unknown_one(
    client: httpx.Client, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_its_way, nobody = an_id(server.context.clock()), "nobody"

    def answers(prediction_id: str) -> list[httpx.Response]:
        return [
            client.get(f"/v1/predictions/{prediction_id}"),
            client.get(f"/v1/predictions/{prediction_id}/image"),
            client.post("/v1/explain", json={"prediction_id": prediction_id}),
        ]

    monkeypatch.setattr(Recorder, "flush", lambda _self, _timeout: False)
    for answer in answers(on_its_way):
        assert "still being written" in problem(answer, 503)
        assert answer.headers["retry-after"] == "2"
    for answer in answers(nobody):
        assert nobody in problem(answer, 404)
    monkeypatch.setattr(Recorder, "flush", lambda _self, _timeout: True)
    for answer in answers(on_its_way):
        assert on_its_way in problem(answer, 404)


def test_a_prediction_that_takes_its_time_to_be_written_is_waited_for(
    client: httpx.Client, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, waited = Recorder.flush, []

    def slow(recorder: Recorder, timeout: float) -> bool:
        waited.append(timeout)
        return flush(recorder, 60)

    monkeypatch.setattr(Recorder, "flush", slow)
    server.recorder.flush(60)
    with server.context.database.write():  # the writer waits for its turn
        [made] = predict(client)
        asked: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: asked.append(client.get(f"/v1/predictions/{made}/image")))
        asking.start()
        eventually(lambda: len(waited) > 1, "the request that waits for the writer")
    asking.join(60)
    assert asked[0].status_code == 200, asked[0].text


def test_many_pictures_of_mixed_forms_are_answered_in_their_order(client: httpx.Client, server: ApiServer) -> None:
    pictures = [picture(seed) for seed in range(5)]
    images: list[object] = [image.tolist() for image in pictures]
    images[3] = base64.b64encode(encode_png(pictures[3])).decode()
    made = client.post("/v1/predict", json={"images": images, "client_id": "till"}).json()["predictions"]
    kept = [client.get(f"/v1/predictions/{item['id']}").json() for item in made]
    assert [item["image_hash"] for item in kept] == [content_hash(image) for image in pictures]
    assert {item["client_id"] for item in kept} == {"till"}
    with server.context.database.read() as connection:
        assert np.array_equal(decode_png(prediction_records.load_image(connection, kept[3]["image_hash"])), pictures[3])


def test_many_files_of_a_form_are_answered_in_their_order(client: httpx.Client) -> None:
    pictures = [picture(seed) for seed in range(3)]
    files = [("files", (f"{number}.png", encode_png(image), "image/png")) for number, image in enumerate(pictures)]
    answer = client.post("/v1/predict", files=files, data={"client_id": "till", "request_id": "r-9"}).json()
    assert answer["request_id"] == "r-9"
    kept = [client.get(f"/v1/predictions/{item['id']}").json() for item in answer["predictions"]]
    assert [item["image_hash"] for item in kept] == [content_hash(image) for image in pictures]
    assert [item["client_id"] for item in kept] == ["till"] * 3


@pytest.mark.parametrize("form", FORMS)
def test_the_request_id_header_names_the_request_in_every_form(client: httpx.Client, form: str) -> None:
    sent = {**FORMS[form], "headers": {**FORMS[form].get("headers", {}), "x-request-id": "trace-7"}}
    assert client.post("/v1/predict", **sent).json()["request_id"] == "trace-7"


def test_a_request_id_in_the_body_goes_before_the_header(client: httpx.Client) -> None:
    sent = {"images": [GREY.tolist()], "request_id": "body"}
    answer = client.post("/v1/predict", json=sent, headers={"x-request-id": "header"})
    assert answer.json()["request_id"] == "body"


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "shape": ({"json": {"images": [[[1, 2], [3, 4]]]}}, 422, "has shape 2×2; this model takes 28×28"),
    "ragged": ({"json": {"images": [[[1, 2], [3]]]}}, 422, "ragged"),
    "true": ({"json": {"images": [[[True] * 28] * 28]}}, 422, "array of numbers"),
    "null": ({"json": {"images": [[[None] * 28] * 28]}}, 422, "array of numbers"),
    "negative": ({"json": {"images": [[[-1] * 28] * 28]}}, 422, "outside 0 to 255"),
    "over": ({"json": {"images": [[[256] * 28] * 28]}}, 422, "outside 0 to 255"),
    "NaN": ({"content": b'{"images": [[[NaN]]]}'}, 422, "NaN and Infinity are not JSON"),
    "no images": ({"json": {"images": []}}, 422, "at least one"),
    "empty body": ({"content": b""}, 422, "not JSON"),
    "unknown field": ({"json": {"images": [], "imges": []}}, 422, "unknown field 'imges'"),
    "not ASCII": ({"json": {"images": ["ÄÖÜ"]}}, 422, "not base64"),
    "truncated": ({"content": PNG[:200], "headers": {"content-type": "image/png"}}, 422, "broken or truncated"),
    "not an image": ({"content": b"hello", "headers": {"content-type": "image/png"}}, 422, "neither PNG nor JPEG"),
    "type": ({"content": b"hello", "headers": {"content-type": "text/csv"}}, 422, "'text/csv' is not understood"),
    "form without files": ({"data": {"client_id": "x"}}, 422, "not understood"),
    "empty form": ({"files": {"client_id": (None, "x")}}, 422, "at least one"),
    "long client": ({"files": {"client_id": (None, "x" * 201), "f": PNG}}, 422, "at most 200"),
    "NUL in a form": ({"files": {"client_id": (None, "a\0b"), "f": PNG}}, 422, "printable"),
    "latin text in a form": (
        {
            "content": b'--x\r\nContent-Disposition: form-data; name="client_id"\r\n\r\n\xe4\r\n'
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + PNG + b"\r\n--x--\r\n",
            "headers": {"content-type": "multipart/form-data; boundary=x; charset=latin-1"},
        },
        422,
        "'client_id' of the form is not UTF-8",
    ),
    "no boundary": ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
    "broken form": (
        {"content": b"hello", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        400,
        "multipart",
    ),
    "too many images": ({"json": {"images": [[]] * 21}}, 413, "21 images in one request; at most 20"),
    "too many files": ({"files": [("f", b"x")] * 21}, 413, "21 images in one request"),
    "too many fields": ({"files": [(f"f{n}", (None, "x")) for n in range(11)]}, 400, "Too many fields"),
    "50 megapixels": (
        {"content": encoded(Image.new("1", (7100, 7100))), "headers": {"content-type": "image/png"}},
        413,
        "7100×7100 pixels; at most 4 megapixels",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_a_typed_problem_and_the_process_lives_on(shared_client: httpx.Client, kind: str) -> None:
    sent, status, words = BAD[kind]
    assert words in problem(shared_client.post("/v1/predict", **sent), status)
    assert len(predict(shared_client)) == 1
    assert shared_client.get("/readyz").json()["recorder"]["dropped"] == 0


def test_a_later_bad_picture_leaves_no_record_of_the_earlier_ones(client: httpx.Client, server: ApiServer) -> None:
    problem(client.post("/v1/predict", json={"images": [GREY.tolist(), [[1]]]}), 422)
    assert server.recorder.flush(5)
    assert server.recorder.counts().recorded == 0


def test_labels_are_recorded_repeated_superseded_and_late(client: httpx.Client) -> None:
    [made] = predict(client)
    first = {"prediction_id": made, "label": "4", "at": "2026-01-02T00:00:00Z"}
    outcomes = [
        client.post("/v1/feedback", json=first | change).json()[0]["outcome"]
        for change in ({}, {}, {"label": "5", "at": "2026-01-03T00:00:00+01:00"}, {"label": "6"}, {"source": "audit"})
    ]
    assert outcomes == ["recorded", "repeated", "superseded", "late", "recorded"]
    labels = client.get(f"/v1/predictions/{made}").json()["labels"]
    assert [(item["source"], item["label"], item["at"]) for item in labels] == [
        ("correction", "5", "2026-01-02T23:00:00Z"),
        ("audit", "4", "2026-01-02T00:00:00Z"),
    ]


def test_feedback_straight_after_the_answer_is_taken(client: httpx.Client) -> None:
    for _ in range(5):
        [made] = predict(client)
        answer = client.post("/v1/feedback", json={"prediction_id": made, "label": "4"})
        assert (answer.status_code, answer.json()[0]["outcome"]) == (200, "recorded")


def test_many_labels_are_taken_together_or_not_at_all(client: httpx.Client, server: ApiServer) -> None:
    ids = predict(client, 3)
    labels = [{"prediction_id": key, "label": "4", "source": "audit", "reviewer": "ann"} for key in ids]
    stranger = {"prediction_id": "nobody", "label": "4"}
    assert "1 prediction id(s) not known: nobody; nothing was taken" in problem(
        client.post("/v1/feedback", json={"feedback": [*labels, stranger]}), 404
    )
    for key in ids:
        assert client.get(f"/v1/predictions/{key}").json()["labels"] == []
    taken = client.post("/v1/feedback", json={"feedback": labels}).json()
    assert [(item["prediction_id"], item["outcome"]) for item in taken] == [(key, "recorded") for key in ids]
    assert 'mlplatform_feedback_total{outcome="recorded",source="audit"} 3.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": "10"}, "label '10' for prediction"),
        ({"label": ""}, "label"),
        ({"label": 4}, "label"),
        ({"prediction_id": ""}, "prediction_id"),
        ({"prediction_id": "x" * 65}, "prediction_id"),
        ({"prediction_id": "a\0b"}, "prediction_id"),
        ({"reviewer": "a\0b"}, "reviewer"),
        ({"reviewer": "\ud800"}, "not JSON in UTF-8"),
        ({"reviewer": "x" * 201}, "reviewer"),
        ({"source": "guess"}, "'audit', 'correction' or 'delayed'"),
        ({"at": "2026-01-02T00:00:00"}, "timezone"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "before 1970"),
        ({"at": "9999-12-31T23:59:59-14:00"}, "in the future"),
        ({"at": "yesterday"}, "at"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_label_that_cannot_be_used_names_its_field(
    shared_server: ApiServer, shared_client: httpx.Client, change: dict[str, Any], words: str
) -> None:
    [made] = predict(shared_client)
    assert shared_server.recorder.flush(30)
    sent = {"prediction_id": made, "label": "4"} | change
    for body in (sent, {"feedback": [sent]}):
        answer = shared_client.post(
            "/v1/feedback", content=json.dumps(body), headers={"content-type": "application/json"}
        )
        assert words in problem(answer, 422)
    assert shared_client.get(f"/v1/predictions/{made}").json()["labels"] == []


@pytest.mark.parametrize("body", ["", "[]", "5", "null", '"x"', "{", '{"feedback": []}', '{"feedback": {}}', "\udfff"])
def test_feedback_that_is_no_label_is_refused(shared_client: httpx.Client, body: str) -> None:
    sent = body.encode(errors="surrogatepass")
    problem(shared_client.post("/v1/feedback", content=sent, headers={"content-type": "application/json"}), 422)


def test_a_candidate_that_waits_is_rejected_and_approved(client: httpx.Client, server: ApiServer) -> None:
    context, now = server.context, server.context.clock()

    def wait() -> None:
        approval = Approval(
            uuid7(), "digits", 2, None, "waiting", "new", "cli", now, now + timedelta(days=7), None, None
        )
        with context.database.write() as connection:
            approvals.request(connection, approval)

    assert "does not wait" in problem(client.post("/v1/models/2/approve", json={}), 404)
    wait()
    [waiting] = client.get("/v1/models").json()["approvals"]
    assert (waiting["version"], waiting["state"]) == (2, "waiting")
    assert "needs its reason" in problem(client.post("/v1/models/2/reject", json={}), 422)
    assert "version 2 does" in problem(client.post("/v1/models/3/reject", json={"comment": "no"}), 404)
    rejected = client.post("/v1/models/2/reject", json={"comment": "no", "requested_by": "ann"}).json()
    assert (rejected["state"], rejected["decided_by"]) == ("rejected", "ann")
    assert "does not wait" in problem(client.post("/v1/models/2/reject", json={"comment": "no"}), 404)
    wait()
    promoted = client.post("/v1/models/2/approve", json={"comment": "seen it", "requested_by": "ann"})
    assert promoted.status_code == 200, promoted.text
    assert (promoted.json()["to_version"], promoted.json()["actor"]) == (2, "ann")
    assert [each["state"] for each in client.get("/v1/models").json()["approvals"]] == ["approved", "rejected"]


def test_an_unknown_prediction_is_not_found(client: httpx.Client) -> None:
    assert "prediction 'nobody' is not known" in problem(client.get("/v1/predictions/nobody"), 404)
    problem(client.get("/v1/predictions/%00"), 422)
    problem(client.post("/v1/feedback", json={"prediction_id": "nobody", "label": "1"}), 404)


def test_a_queued_retraining_can_be_cancelled_once(client: httpx.Client) -> None:
    made = client.post("/v1/retrain", json={}).json()["id"]
    assert client.delete(f"/v1/retrainings/{made}").status_code == 204
    assert client.get(f"/v1/retrainings/{made}").json()["state"] == "cancelled"
    problem(client.delete(f"/v1/retrainings/{made}"), 409)
    problem(client.delete("/v1/retrainings/nobody"), 404)


def test_the_docs_page_loads_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assert "swagger-ui" in page
    assert "//cdn" not in page
    script = next(part.split('"')[0] for part in page.split('src="')[1:])
    assert client.get(script).status_code == 200


def test_retrain_queues_one_and_joins_it_after_that(client: httpx.Client, server: ApiServer) -> None:
    first = client.post("/v1/retrain", json={"reason": "new scanner", "requested_by": "ann"})
    second = client.post("/v1/retrain", json={})
    assert (first.status_code, second.status_code) == (202, 202)
    assert (first.json()["joined"], second.json()) == (False, {"id": first.json()["id"], "joined": True})
    answer = client.get(f"/v1/retrainings/{first.json()['id']}")
    with server.context.database.read() as connection:
        queued = retraining_queue.find(connection, first.json()["id"])
    assert answer.content == JSONResponse(to_jsonable(queued)).body
    shown = answer.json()
    assert (shown["state"], shown["reason"], len(shown["causes"])) == ("queued", "new scanner", 2)
    problem(client.get("/v1/retrainings/nobody"), 404)
    problem(client.post("/v1/retrain", json={"reason": "a\0b"}), 422)
    problem(client.post("/v1/retrain", json={"why": "?"}), 422)


def test_models_shows_versions_champion_and_history(client: httpx.Client, server: ApiServer) -> None:
    with server.context.database.write() as connection:
        promotion_history.append(
            connection,
            model_name="digits",
            expected=None,
            to_version=1,
            kind="first",
            now=START,
            actor="ann",
            reason="first",
            fence=1,
        )
    answer = client.get("/v1/models")
    assert answer.content == JSONResponse(to_jsonable(queries.model_overview(server.context))).body
    body = answer.json()
    assert (body["model"], body["champion"]) == ("digits", 1)
    assert [item["version"] for item in body["versions"]] == [3, 2, 1]
    assert body["promotions"][0]["at"] == "2026-01-01T12:00:00+00:00"


def test_the_registry_away_is_a_503_for_models_and_nothing_for_answers(
    client: httpx.Client, stocked: StockedCatalog
) -> None:
    stocked.away = RegistryUnavailableError("nobody answers")
    answer = client.get("/v1/models")
    assert problem(answer, 503) == "nobody answers"
    assert answer.headers["retry-after"] == "2"
    assert len(predict(client)) == 1


def test_a_report_is_served_with_a_policy_or_not_found(client: httpx.Client, lite: AppContext) -> None:
    folder = lite.settings.home / "reports"
    folder.mkdir()
    (folder / "r.html").write_text("<p>report</p>")
    (lite.settings.home / "secret.html").write_text("secret")
    paths = {"kept": folder / "r.html", "gone": folder / "gone.html", "outside": lite.settings.home / "secret.html"}
    with lite.database.write() as connection:
        for number, (name, path) in enumerate(paths.items()):
            evaluations.add(
                connection,
                evaluations.Evaluation(
                    name, f"rule-{number}", START, START, "digits", 1, START, START, "ok", [], str(path), "watcher"
                ),
            )
    shown = client.get("/v1/evaluations/kept/report")
    assert (shown.status_code, shown.text) == (200, "<p>report</p>")
    assert shown.headers["content-type"].startswith("text/html")
    policy = shown.headers["content-security-policy"].split("; ")
    assert "frame-ancestors 'self'" in policy
    assert "sandbox allow-scripts" in policy  # and not allow-same-origin: it has nobody's session
    assert "default-src 'none'" in policy
    for name in ("gone", "outside", "nobody"):
        problem(client.get(f"/v1/evaluations/{name}/report"), 404)


def test_without_a_model_answers_and_readiness_are_503_and_the_process_is_alive(server: ApiServer) -> None:
    server.model_slot.__init__()  # type: ignore[misc]
    with running(server) as client:
        answer = client.post("/v1/predict", json={"images": [GREY.tolist()]})
        assert "no champion is loaded yet" in problem(answer, 503)
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"], ready.json()["model"]) == (503, "no model", None)
        assert client.get("/healthz").json()["status"] == "alive"
        assert "mlplatform_model_version 0.0" in client.get("/metrics").text
        server.model_slot.swap(loaded(1))
        assert len(predict(client)) == 1
        assert client.get("/readyz").json()["model"] == {"name": "digits", "version": 1}


def test_with_the_database_away_answers_go_on_and_everything_else_is_a_503(server: ApiServer, flaky: Flaky) -> None:
    with running(server) as client:
        [known] = predict(client)
        assert client.get(f"/v1/predictions/{known}").status_code == 200
        flaky.away = True
        ids = predict(client, 3)
        recorder = client.get("/readyz").json()["recorder"]
        assert (recorder["recorded"], recorder["queued"]) == (1, 3)
        assert not any(count for name, count in recorder.items() if name not in ("recorded", "queued"))
        assert 'mlplatform_recorder{state="queued"} 3.0' in client.get("/metrics").text
        label = {"prediction_id": known, "label": "4"}
        for answer in (
            client.post("/v1/feedback", json=label),
            client.post("/v1/retrain", json={}),
            client.get(f"/v1/predictions/{known}"),
            client.get("/v1/models"),
        ):
            assert "away" in problem(answer, 503)
            assert answer.headers["retry-after"] == "2"
        flaky.away = False
        assert server.recorder.flush(10)
        assert client.get("/readyz").json()["recorder"]["recorded"] == 4
        assert client.post("/v1/feedback", json=label).status_code == 200
        assert [client.get(f"/v1/predictions/{key}").status_code for key in ids] == [200] * 3


def test_a_full_spool_refuses_answers_with_a_time_to_come_again_until_the_database_is_back(
    server: ApiServer, flaky: Flaky, tmp_path: Path
) -> None:
    flaky.away = True
    small = Recorder(
        ThreadWriter(flaky), spool_directory=spool_directory_in(tmp_path, rows=3), batch=10, flush_seconds=0
    )
    full = replace(server, recorder=small, metrics=ServerMetrics("digits", server.model_slot.version, small))
    with running(full) as client:
        told = [client.post("/v1/predict", json={"images": [GREY.tolist()]}) for _ in range(8)]
        statuses = [one.status_code for one in told]
        given = statuses.count(200)
        assert statuses == [200] * given + [503] * (8 - given)
        assert 2 <= given <= 6
        assert "PLATFORM_SPOOL_MB" in problem(told[-1], 503)
        assert told[-1].headers["retry-after"] == "2"
        assert f'mlplatform_recorder{{state="refused"}} {8 - given}.0' in client.get("/metrics").text
        assert client.get("/readyz").json()["recorder"]["queued"] == given
        flaky.away = False
        assert small.flush(10)
        assert client.post("/v1/predict", json={"images": [GREY.tolist()]}).json()["recorded"]


def test_unknown_paths_and_methods_are_problems_too(client: httpx.Client) -> None:
    problem(client.get("/nothing"), 404)
    refused = client.get("/v1/predict")
    problem(refused, 405)
    assert refused.headers["allow"] == "POST"


@pytest.fixture
def failing(server: ApiServer) -> Iterator[httpx.Client]:
    """A client of an app with one more route, which fails in a way nobody thought of."""
    app = create_app(server)

    @app.get("/boom")
    def boom() -> None:
        raise ZeroDivisionError("secret detail")

    with InProcess(app).running() as client:
        yield client


def test_an_unforeseen_failure_is_a_problem_without_its_secrets_and_is_counted(failing: httpx.Client) -> None:
    assert "secret" not in problem(failing.get("/boom"), 500)
    assert 'mlplatform_requests_total{route="/boom",status="500"} 1.0' in failing.get("/metrics").text
    assert len(predict(failing)) == 1


def test_requests_are_counted_by_route_and_status(client: httpx.Client) -> None:
    predict(client, 2)
    client.get("/v1/predictions/nobody")
    client.get("/nothing")
    client.get("/v1/predict")
    text = client.get("/metrics").text
    for line in (
        'mlplatform_requests_total{route="/v1/predict",status="200"} 1.0',
        'mlplatform_requests_total{route="/v1/predictions/{prediction_id}",status="404"} 1.0',
        'mlplatform_requests_total{route="unknown",status="404"} 1.0',
        'mlplatform_predictions_total{version="1"} 2.0',
        "mlplatform_prediction_latency_seconds_count 1.0",
        "mlplatform_model_version 1.0",
    ):
        assert line in text


def test_the_openapi_document_has_every_route_and_only_whole_references(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == ROUTES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["responses"], (path, method)
            assert operation["summary"]
            form = "application/problem+json" if path[:3] not in ("/v2", "/in") else "application/json"
            for status in ("404", "413", "422", "503"):
                assert set(operation["responses"][status]["content"]) == {form}, (path, status)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in _references(document):
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert isinstance(target, dict)  # an empty one allows any JSON
    assert client.get("/docs").status_code == 200


def test_the_documented_json_body_of_predict_accepts_what_the_server_takes(client: httpx.Client) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]
    content = operation["requestBody"]["content"]
    pictures = {"multipart/form-data", "image/png", "image/jpeg", "application/octet-stream"}
    assert set(content) == {"application/json", *pictures}
    validator = Draft202012Validator(content["application/json"]["schema"])
    validator.validate({"images": [GREY.tolist(), "aGk="], "client_id": "x"})
    validator.validate({"rows": [{"age": 41, "plan": None}], "references": ["order-17"]})
    assert not validator.is_valid({"images": []})
    assert not validator.is_valid({"rows": []})
    assert not validator.is_valid({"images": [[[256]]]})
    assert not validator.is_valid({"images": ["aGk="], "more": 1})


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield item
            else:
                yield from _references(item)
    if isinstance(value, list):
        for item in value:
            yield from _references(item)


def test_answers_are_given_at_the_servers_time(client: httpx.Client) -> None:
    before = utc_now()
    [made] = predict(client)
    at = client.get(f"/v1/predictions/{made}").json()["at"]
    assert before.isoformat()[:19] <= at[:19] <= utc_now().isoformat()[:19]


# --- review


def test_a_reviewer_is_given_pictures_without_the_models_answer(server: ApiServer) -> None:
    with server.context.database.write() as connection:
        sampling_plans.publish(
            connection, server.context.model_name, 1, SamplingPlan(uniform=1.0).to_json(), server.context.clock()
        )
    with running(server) as client:
        sent = client.post("/v1/predict", json={"images": [GREY.tolist()], "tags": {"scanner": "b"}}).json()[
            "predictions"
        ][0]
        server.recorder.flush(5)
        found = client.get("/v1/audit/next", params={"reviewer": "ada"}).json()
        [shown] = found["answers"]
        assert set(shown) == {"prediction_id", "at", "image", "row", "until"}
        assert shown["row"] is None
        assert (shown["prediction_id"], found["classes"]) == (sent["id"], list("0123456789"))
        picture = client.get(f"/v1/predictions/{sent['id']}/image")
        assert picture.headers["cache-control"] == "no-store", "an erased input is gone from browsers too"
        assert (picture.headers["content-type"], base64.b64decode(shown["image"])) == ("image/png", picture.content)
        assert client.get("/v1/audit/next", params={"reviewer": "bob"}).json()["answers"] == []
        label = {"prediction_id": sent["id"], "label": "3", "source": "audit", "reviewer": "ada"}
        assert client.post("/v1/feedback", json=label).json()[0]["outcome"] == "recorded"
        assert client.get("/v1/audit/next", params={"reviewer": "ada"}).json()["answers"] == []
        assert client.get(f"/v1/predictions/{sent['id']}").json()["tags"] == {"scanner": "b"}


@pytest.mark.parametrize("query", ["", "?reviewer=", "?reviewer=ada&limit=0", "?reviewer=ada&limit=101"])
def test_a_reviewer_must_have_a_name_and_ask_for_a_sensible_number(client: httpx.Client, query: str) -> None:
    assert client.get(f"/v1/audit/next{query}").status_code == 422


def test_the_picture_of_an_unknown_prediction_is_not_found(client: httpx.Client) -> None:
    assert client.get("/v1/predictions/nobody/image").status_code == 404
