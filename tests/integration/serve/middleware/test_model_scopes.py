"""A key whose scopes are limited to a model sees and does nothing of another one."""

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import insert, select, update

from mlplatform.alerting import alert_records, evaluations
from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.feedback import pending_labels
from mlplatform.feedback.label_ingestion import match_pending_labels
from mlplatform.ids import uuid7
from mlplatform.retraining import retraining_queue
from mlplatform.serve.api_server import ApiServer
from mlplatform.store.tables.alerting import silences
from mlplatform.store.tables.auth import api_keys
from mlplatform.store.tables.feedback import feedback
from mlplatform.store.tables.promotion import promotions
from monitors.alerts import Silence
from tests.support.api_server import problem, running
from tests.support.guarded_server import guarded, key, shown
from tests.support.page_forms import form_token, holder
from tests.support.platform_world import START, picture, prediction, recorded
from tests.support.store_rows import alert, evaluation

BODY = {"images": [picture(1).tolist()]}


class Rows:
    """Rows of one model: ids by what they are."""

    def __init__(self, context: AppContext, model: str, seed: int) -> None:
        made = prediction(context.clock(), seed=seed)
        made = replace(made, prediction=replace(made.prediction, model_name=model))
        [self.prediction] = recorded(context.database, made)
        judged, fired = replace(evaluation(), model_name=model), replace(alert(key=model), model=model)
        with context.database.write() as connection:
            evaluations.add(connection, judged)
            alert_records.save(connection, fired, f"accuracy of {model} fell", judged.id)
            self.retraining, _ = retraining_queue.request(
                connection, pipeline=model, reason="drift", trigger="manual", requested_by="ann", now=START
            )
            connection.execute(
                insert(promotions).values(
                    model_name=model, to_version=1, kind="first", at=START, actor="ann", reason="", fence=0
                )
            )
        self.alert, self.evaluation = fired.id, judged.id


@pytest.fixture
def world(lite: AppContext) -> Iterator[tuple[httpx.Client, ApiServer, Rows, Rows]]:
    """A server of digits that asks for keys, with rows of digits and of churn in its database."""
    server = guarded(lite)
    own, other = Rows(server.context, "digits", 1), Rows(server.context, "churn", 2)
    with running(server) as client:
        yield client, server, own, other


def page_headers(text: str) -> dict[str, str]:
    return {"accept": "text/html"} | shown(text, "basic")


def test_a_scope_of_another_model_opens_nothing_of_the_served_one(
    world: tuple[httpx.Client, ApiServer, Rows, Rows],
) -> None:
    client, server, *_ = world
    other, own = shown(key(server, "predict:churn", "admin:churn")), shown(key(server, "predict:digits"))
    assert client.post("/v1/predict", json=BODY, headers=own).status_code == 200
    said = problem(client.post("/v1/predict", json=BODY, headers=other), 403)
    assert said.endswith("has predict:churn, admin:churn; this needs predict:digits")
    for method, path in (
        ("POST", "/v1/retrain"),
        ("POST", "/v1/feedback"),
        ("GET", "/v1/models"),
        ("GET", "/v1/audit/next"),
        ("GET", "/metrics"),
        ("GET", "/review"),
        ("GET", "/versions"),
        ("GET", "/rules"),
        ("POST", "/versions/1/promote"),
        ("GET", "/v1/thoughtless"),
    ):
        assert ":digits" in problem(client.request(method, path, json={}, headers=other), 403), path
    answer = client.post("/v2/models/churn/infer", json={}, headers=other)
    assert answer.status_code == 403
    assert "this needs predict:digits" in answer.json()["detail"]


def test_lists_show_a_limited_key_its_own_model_only(world: tuple[httpx.Client, ApiServer, Rows, Rows]) -> None:
    client, server, own, other = world
    limited, free = page_headers(key(server, "audit:digits")), page_headers(key(server, "audit"))
    for path in ("/", "/alerts"):
        shown_to_all, shown_to_one = client.get(path, headers=free).text, client.get(path, headers=limited).text
        assert own.alert in shown_to_all, path
        assert other.alert in shown_to_all, path
        assert own.alert in shown_to_one, path
        assert other.alert not in shown_to_one, path
        assert "churn" not in shown_to_one, path
    listed = client.get("/alerts", headers=page_headers(key(server, "audit:churn"))).text
    assert other.alert in listed
    assert own.alert not in listed


def test_an_id_of_another_model_is_refused_with_the_scope_that_it_needs(
    world: tuple[httpx.Client, ApiServer, Rows, Rows],
) -> None:
    client, server, own, other = world
    headers = shown(key(server, "admin:digits"))
    for path in ("/v1/predictions/{prediction}", "/v1/predictions/{prediction}/image", "/alerts/{alert}"):
        assert client.get(path.format(**vars(own)), headers=headers).status_code == 200, path
        said = problem(client.get(path.format(**vars(other)), headers=headers), 403)
        assert "is of model 'churn': this needs " in said
        assert "audit:churn" in said
    assert client.get(f"/v1/retrainings/{own.retraining}", headers=headers).status_code == 200
    for method, path in (
        ("GET", "/v1/evaluations/{evaluation}/report"),
        ("GET", "/v1/retrainings/{retraining}"),
        ("DELETE", "/v1/retrainings/{retraining}"),
        ("GET", "/retrainings/{retraining}"),
        ("GET", "/review/draw/inputs/{prediction}"),
        ("GET", "/models/churn"),
        ("GET", "/models/churn/inputs?truth=1&answer=2"),
    ):
        answer = client.request(method, path.format(**vars(other)), headers=headers)
        assert "model 'churn'" in problem(answer, 403), path
    said = problem(client.post("/v1/explain", json={"prediction_id": other.prediction}, headers=headers), 403)
    assert "predict:churn" in said
    with server.context.database.read() as connection:
        assert retraining_queue.find(connection, other.retraining).state == "queued"


def test_an_unknown_id_is_not_known_whatever_the_limits(world: tuple[httpx.Client, ApiServer, Rows, Rows]) -> None:
    client, server, *_ = world
    headers = shown(key(server, "admin:digits"))
    for path in ("/v1/predictions/x", "/alerts/x", "/v1/retrainings/x", "/v1/evaluations/x/report"):
        problem(client.get(path, headers=headers), 404)


def test_forms_about_another_models_rows_change_nothing(world: tuple[httpx.Client, ApiServer, Rows, Rows]) -> None:
    client, server, own, other = world
    text = key(server, "admin:digits")
    token, headers = form_token(server, holder(text)), shown(text, "basic")
    silence = {"duration": "1h", "reason": "known"} | token
    for path, form in (
        (f"/alerts/{other.alert}/acknowledge", token),
        (f"/alerts/{other.alert}/silence", silence),
        (f"/retrainings/{other.retraining}/cancel", token | {"confirm": "yes"}),
    ):
        assert "churn" in problem(client.post(path, data=form, headers=headers), 403)
    assert client.post(f"/alerts/{own.alert}/acknowledge", data=token, headers=headers).status_code == 303
    with server.context.database.read() as connection:
        assert alert_records.find(connection, other.alert).state == "firing"
        assert connection.execute(select(silences)).all() == []


def test_an_operator_acts_on_alerts_and_retrainings_and_promotes_nothing(
    world: tuple[httpx.Client, ApiServer, Rows, Rows],
) -> None:
    client, server, own, _ = world
    text = key(server, "operate:digits")
    token, headers = form_token(server, holder(text)), page_headers(text)
    assert client.get("/", headers=headers).status_code == 200
    assert client.post(f"/alerts/{own.alert}/acknowledge", data=token, headers=headers).status_code == 303
    cancelled = client.post(f"/retrainings/{own.retraining}/cancel", data=token | {"confirm": "yes"}, headers=headers)
    assert cancelled.status_code == 303
    for path in ("/versions/1/promote", "/versions/1/decision", "/versions/1/trial", "/versions/1/quarantine"):
        assert "admin" in client.post(path, data=token, headers=headers).text
        assert client.post(path, data=token, headers=headers).status_code == 403
    retrainer = shown(key(server, "retrain:digits"))
    assert client.post("/v1/retrain", json={}, headers=retrainer).status_code == 202
    assert client.post(f"/alerts/{own.alert}/silence", headers=retrainer).status_code == 403


def test_the_log_names_whose_key_began_and_stopped_a_trial(
    world: tuple[httpx.Client, ApiServer, Rows, Rows],
) -> None:
    client, server, *_ = world
    headers = shown(key(server, "admin:digits", name="ci"))
    for role in ("shadow", "canary"):
        path = f"/v1/models/2/{role}"
        for body, actor in (({"requested_by": "ann"}, "ann (key ci)"), ({}, "ci")):
            begun = client.post(path, json=body | ({"force": True} if role == "canary" else {}), headers=headers)
            assert begun.status_code == 201, begun.text
            assert client.delete(path, headers=headers).status_code == 200
            with server.context.database.read() as connection:
                entries = [stored.entry for stored in audit_entries.iter_entries(connection)][-2:]
            assert [(entry.actor, entry.action) for entry in entries] == [
                (actor, f"begin-{role}"),
                ("ci", f"end-{role}"),
            ]


def test_the_log_and_the_keys_are_for_those_who_may_see_every_model(
    world: tuple[httpx.Client, ApiServer, Rows, Rows],
) -> None:
    client, server, *_ = world
    for path in ("/audit", "/keys"):
        said = problem(client.get(path, headers=shown(key(server, "audit:digits"))), 403)
        assert said.endswith("this needs audit for every model")
        assert client.get(path, headers=shown(key(server, "audit"))).status_code == 200


def test_a_scope_that_was_written_past_the_platform_opens_nothing(
    world: tuple[httpx.Client, ApiServer, Rows, Rows],
) -> None:
    client, server, *_ = world
    text = key(server, "predict:churn")
    with server.context.database.write() as connection:
        connection.execute(update(api_keys).values(scopes=["predict:", "admin:", "predict:*"]))
    server.api_key_cache.refresh()
    problem(client.post("/v1/predict", json=BODY, headers=shown(text)), 403)


def test_readiness_tells_details_of_the_served_model_to_its_own_keys_only(
    world: tuple[httpx.Client, ApiServer, Rows, Rows],
) -> None:
    client, server, *_ = world
    own, other = shown(key(server, "audit:digits")), shown(key(server, "audit:churn"))
    server.api_key_cache.refresh()
    assert "details" in client.get("/readyz", headers=own).json()
    assert "details" not in client.get("/readyz", headers=other).json()


def test_a_label_that_waits_is_for_predictions_of_the_server_that_took_it(
    world: tuple[httpx.Client, ApiServer, Rows, Rows],
) -> None:
    client, server, _, other = world
    headers, coming = shown(key(server, "feedback:digits")), uuid7()
    label = {"prediction_id": other.prediction, "label": "4", "source": "delayed"}
    said = problem(client.post("/v1/feedback", json=label, headers=headers), 422)
    assert "answered by model 'churn'" in said
    answer = client.post("/v1/feedback", json=label | {"prediction_id": coming}, headers=headers)
    assert answer.json()[0]["outcome"] == "waiting"
    made = prediction(server.context.clock(), seed=5, prediction_id=coming)
    recorded(server.context.database, replace(made, prediction=replace(made.prediction, model_name="churn")))
    churn = server.context.replace(settings=server.context.settings.model_copy(update={"model": "churn"}))
    assert match_pending_labels(churn) == 0
    assert match_pending_labels(server.context) == 0
    with server.context.database.read() as connection:
        assert pending_labels.count_pending(connection) == 1
        assert connection.execute(select(feedback.c.id)).all() == []


def test_a_silence_from_an_alerts_page_is_for_its_model() -> None:
    own, other = alert(), replace(alert(), model="churn")
    silence = Silence("accuracy-*", START.replace(year=START.year + 1), model="digits")
    assert silence.covers(own, START)
    assert not silence.covers(other, START)
    assert replace(silence, model="").covers(other, START)
