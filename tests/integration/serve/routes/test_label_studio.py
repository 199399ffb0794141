"""Label Studio over HTTP: the export, the webhook, and the scope that both need."""

from typing import Any

import httpx
import pytest

from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.feedback.label_studio.task_signatures import task_signer
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from tests.support.api_server import running
from tests.support.guarded_server import guarded, key, shown
from tests.support.label_studio import annotation, choice, event
from tests.support.platform_world import FakeCatalog
from tests.support.review_world import draw_all, drawn
from tests.support.table_model import CONTRACT, ROW, TableContracts, table_model

TASKS, WEBHOOK = "/v1/review/label-studio/tasks", "/v1/review/label-studio"
NOTHING = {"audit": 0, "review": 0, "repeated": 0, "late": 0, "erased": 0, "skipped": 0, "undecided": 0}


def test_what_is_exported_comes_back_as_labels(server: ApiServer, client: httpx.Client) -> None:
    draw_all(server.context)
    ids = drawn(server.context)
    project = client.post(TASKS, json={"queue": "draw", "limit": 2}).json()
    assert project["label_config"].startswith("<View>")
    assert len(project["tasks"]) == 2
    data = project["tasks"][0]["data"]
    assert data["prediction_id"] in ids
    for counts in ({"audit": 1}, {"repeated": 1}):
        taken = client.post(WEBHOOK, json=event(data, annotation(17, choice("4"))))
        assert (taken.status_code, taken.json()) == (200, NOTHING | counts)
    with server.context.database.read() as connection:
        [label] = label_records.current_labels(connection, data["prediction_id"])
    assert (label.label, label.source) == ("4", "audit")


@pytest.mark.parametrize(
    "body",
    [
        {"action": "PROJECT_UPDATED", "project": {"id": 2}},
        {"action": "TASKS_CREATED", "tasks": [{"id": 1, "data": {"image": "x" * 300_000}}], "project": {}},
    ],
)
def test_other_events_are_answered_with_nothing_taken(client: httpx.Client, body: dict[str, Any]) -> None:
    said = client.post(WEBHOOK, json=body)
    assert (said.status_code, said.json()) == (200, NOTHING)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "cannot be used"),
        (b'{"annotation": null}', "body.action"),
        (b'{"action": "ANNOTATION_CREATED", "task": {"data": {"prediction_id": "a\\u0000"}}}', "should match pattern"),
        (b'{"action": "ANNOTATION_CREATED", "annotation": {"id": {}}, "task": {}}', "cannot be used"),
        (b'{"action": "ANNOTATION_CREATED", "annotation": {"id": 1, "result": 3}, "task": {}}', "cannot be used"),
        (b'{"action": "ANNOTATION_CREATED", "annotation": [], "task": {}}', "0 annotations and 1 tasks"),
        (b'{"action": "ANNOTATION_CREATED", "annotation": {"id": 1}, "task": {"id": 1}}', "no `prediction_id`"),
    ],
)
def test_what_is_no_event_is_refused(client: httpx.Client, body: bytes, said: str) -> None:
    answer = client.post(WEBHOOK, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["detail"]


def test_an_annotation_of_an_unknown_prediction_is_not_found(server: ApiServer, client: httpx.Client) -> None:
    unknown = "01984f2a-91c3-7d20-8a11-3c6f0e9b7a55"
    data = {"prediction_id": unknown, "queue": "draw", "signature": task_signer(server.context)(unknown, "draw")}
    assert client.post(WEBHOOK, json=event(data, annotation(1, choice("4")))).status_code == 404
    refused = client.post(WEBHOOK, json=event(data | {"signature": "x"}, annotation(1, choice("4"))))
    assert refused.status_code == 422
    assert "was not exported here" in refused.json()["detail"]


def test_a_webhook_shows_a_key_of_scope_review(lite: AppContext) -> None:
    server = guarded(lite)
    reviewing, labelling = key(server, "review", name="label studio"), key(server, "feedback")
    draw_all(lite)
    drawn(lite, 1)
    with running(server) as client:
        data = client.post(TASKS, json={}, headers=shown(reviewing)).json()["tasks"][0]["data"]
        sent = event(data, annotation(1, choice("4")))
        assert client.post(WEBHOOK, json=sent).status_code == 401
        assert client.post(WEBHOOK, json=sent, headers=shown(labelling)).status_code == 403
        assert client.post(WEBHOOK, json=sent, headers=shown(reviewing)).json()["audit"] == 1


def test_rows_go_out_as_tables_of_text(settings: Settings, database: Database) -> None:
    catalog = FakeCatalog()
    catalog.add("digits", 1)
    settings.home.mkdir(exist_ok=True)
    small = settings.model_copy(update={"allowed_hosts": ("api",)})
    server = build_server(AppContext(small, database=database, catalog=catalog, contracts=TableContracts(CONTRACT)))
    server.model_slot.swap(table_model(1, CONTRACT))
    draw_all(server.context)
    with running(server) as client:
        made = client.post("/v1/predict", json={"rows": [ROW | {"note": "<b>", "visits": None}]}).json()
        assert client.get(f"/v1/predictions/{made['predictions'][0]['id']}").status_code == 200
        project = client.post(TASKS, json={}).json()
    assert '<Table name="input" value="$row"' in project["label_config"]
    [exported] = project["tasks"]
    assert {name: exported["data"]["row"][name] for name in ("note", "visits", "age")} == {
        "note": "<b>",
        "visits": "missing",
        "age": "41",
    }
