"""Who is let in: keys, scopes, host names, foreign pages and rates, over the whole app."""

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.operations.operator_actions import create_key, revoke_key
from mlplatform.predictions import prediction_records
from mlplatform.serve.api_server import ApiServer
from mlplatform.store.tables.auth import api_keys
from mlplatform.store.tables.feedback import feedback
from tests.support.api_server import Flaky, running
from tests.support.guarded_server import guarded, key, shown
from tests.support.platform_world import picture
from tests.support.waiting import eventually

BODY = {"images": [picture(1).tolist()]}
KINDS = ["bearer", "x-api-key", "basic"]


@pytest.fixture
def locked(lite: AppContext) -> ApiServer:
    return guarded(lite)


@pytest.fixture
def asked(locked: ApiServer) -> Iterator[httpx.Client]:
    with running(locked) as client:
        yield client


def test_without_a_key_nothing_opens_but_health(asked: httpx.Client) -> None:
    answer = asked.post("/v1/predict", json=BODY)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == 'Bearer realm="mlplatform"'
    assert asked.get("/healthz").status_code == 200
    assert asked.get("/readyz").status_code == 200
    for path in ("/", "/docs", "/openapi.json", "/metrics", "/v1/models", "/alerts/x", "/nowhere"):
        assert asked.get(path).status_code == 401, path
    assert asked.request("OPTIONS", "/v1/predict").status_code == 401


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_opens_what_its_scope_says_however_it_is_shown(asked: httpx.Client, locked: ApiServer, kind: str) -> None:
    headers = shown(key(locked, "predict"), kind)
    assert asked.post("/v1/predict", json=BODY, headers=headers).status_code == 200
    answer = asked.post("/v1/retrain", json={}, headers=headers)
    assert answer.status_code == 403
    assert 'error="insufficient_scope", scope="operate"' in answer.headers["www-authenticate"]
    assert "has predict; this needs operate or retrain" in answer.json()["detail"]
    assert asked.post("/v1/retrain", json={}, headers=shown(key(locked, "admin"), kind)).status_code == 202


def test_a_browser_is_asked_for_a_password_and_shown_the_dashboard(asked: httpx.Client, locked: ApiServer) -> None:
    answer = asked.get("/docs", headers={"accept": "text/html,*/*"})
    assert answer.headers["www-authenticate"].startswith('Basic realm="mlplatform"')
    page = asked.get("/docs", headers={"accept": "text/html"} | shown(key(locked, "audit"), "basic"))
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]


@pytest.mark.parametrize("text", ["", "mlp_x", "Ünïcode", "mlp_0123456789_" + "a" * 49, "a" * 5000])
def test_a_text_that_is_no_key_is_refused(asked: httpx.Client, text: str) -> None:
    for value in (f"Bearer {text}", f"Basic {text}", text):
        answer = asked.get("/v1/models", headers=[(b"authorization", value.encode())])
        assert answer.status_code == 401


def test_an_expired_and_a_revoked_key_open_nothing(asked: httpx.Client, locked: ApiServer) -> None:
    old = key(locked, "admin", lives=timedelta(microseconds=1))
    assert "is expired" in asked.get("/docs", headers=shown(old)).json()["detail"]
    text, made = create_key(locked.context, "bob", ["admin"], None, "cli")
    assert asked.get("/docs", headers=shown(text)).status_code == 200
    revoke_key(locked.context, made.id, "cli")
    eventually(lambda: asked.get("/docs", headers=shown(text)).status_code != 200, "the end of a revoked key")


def test_keys_go_on_while_the_database_is_away(lite: AppContext, flaky: Flaky) -> None:
    locked = guarded(lite)
    text = key(locked, "predict")
    with running(locked) as client:
        flaky.away = True
        assert client.post("/v1/predict", json=BODY, headers=shown(text)).status_code == 200
        flaky.away = False


def test_a_server_that_never_read_its_keys_says_so(lite: AppContext, flaky: Flaky) -> None:
    locked = guarded(lite)
    flaky.away = True
    with running(locked) as client:
        answer = client.post("/v1/predict", json=BODY, headers=shown("mlp_x"))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        flaky.away = False


def test_many_requests_without_a_good_key_are_slowed_and_a_good_one_is_not(
    asked: httpx.Client, locked: ApiServer
) -> None:
    good = shown(key(locked, "audit"))
    assert asked.get("/docs", headers=good).status_code == 200
    statuses = [asked.get("/docs", headers=shown("wrong")).status_code for _ in range(30)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert asked.get("/docs", headers=good).status_code == 200


def test_who_asked_is_recorded_where_the_body_says_nothing(asked: httpx.Client, locked: ApiServer) -> None:
    headers = shown(key(locked, "admin", name="scanner 7"))
    made = asked.post("/v1/predict", json=BODY, headers=headers).json()["predictions"][0]["id"]
    named = asked.post("/v1/predict", json=BODY | {"client_id": "me"}, headers=headers).json()["predictions"][0]["id"]
    label = {"prediction_id": made, "label": "3", "source": "audit"}
    assert asked.post("/v1/feedback", json=label, headers=headers).status_code == 200
    retraining = asked.post("/v1/retrain", json={}, headers=headers).json()["id"]
    assert asked.delete(f"/v1/retrainings/{retraining}", headers=headers).status_code == 204
    with locked.context.database.read() as connection:
        assert prediction_records.find(connection, made).client_id == "scanner 7"
        assert prediction_records.find(connection, named).client_id == "me"
        assert list(connection.scalars(select(feedback.c.reviewer))) == ["scanner 7"]
        entries = {entry["action"]: entry for entry in audit_entries.recent_entries(connection)}
    assert {entries[action]["actor"] for action in ("feedback", "ask-retrain", "cancel")} == {"scanner 7"}
    assert entries["feedback"]["details"]["key"] == headers["authorization"].split("_")[1]


def test_a_reviewer_is_the_keys_holder_or_must_be_named(asked: httpx.Client, locked: ApiServer) -> None:
    assert asked.get("/v1/audit/next", headers=shown(key(locked, "audit"))).status_code == 200
    with running(guarded(locked.context, auth="off")) as client:
        assert client.get("/v1/audit/next").status_code == 422


def test_an_idempotency_key_is_its_callers_own(asked: httpx.Client, locked: ApiServer) -> None:
    """Another caller's use of the same text is a request of its own, whatever its content."""
    ada, eve = (shown(key(locked, "predict", name=name)) | {"idempotency-key": "order-7"} for name in ("ada", "eve"))
    first, other = (asked.post("/v1/predict", json=BODY, headers=headers) for headers in (ada, eve))
    assert (first.status_code, other.status_code) == (200, 200)
    assert first.json()["request_id"] != other.json()["request_id"]
    assert first.json()["predictions"][0]["id"] != other.json()["predictions"][0]["id"]
    assert asked.post("/v1/predict", json=BODY, headers=ada).json() == first.json()
    refused = asked.post("/v1/predict", json={"images": [picture(2).tolist()]}, headers=eve)
    assert (refused.status_code, "'order-7'" in refused.text, "\\u0000" in refused.text) == (422, True, False)


def test_openapi_says_which_key_a_route_needs(asked: httpx.Client, locked: ApiServer) -> None:
    schema = asked.get("/openapi.json", headers=shown(key(locked, "predict"))).json()
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "header", "password"}
    assert schema["paths"]["/v1/predict"]["post"]["security"] == [{"bearer": []}, {"header": []}, {"password": []}]
    assert "Scope: feedback" in schema["paths"]["/v1/feedback"]["post"]["description"]
    assert "security" not in schema["paths"]["/healthz"]["get"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"sec-fetch-site": "same-origin"}, 202),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://api"}, 202),
        ({"origin": "http://evil"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_a_page_of_another_site_changes_nothing_with_the_users_password(
    lite: AppContext, headers: dict[str, str], status: int
) -> None:
    locked = guarded(lite, cors_origins=("https://console.example.org",))
    text = key(locked, "admin")
    with running(locked) as client:
        assert client.post("/v1/retrain", json={}, headers=headers | shown(text, "basic")).status_code == status
        assert client.post("/v1/retrain", json={}, headers=headers | shown(text)).status_code == 202
    with running(guarded(lite, auth="off", cors_origins=("https://console.example.org",))) as client:
        assert client.post("/v1/retrain", json={}, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8000", 200), ("LOCALHOST", 200), ("[::1]:80", 200), ("evil.example", 421), ("evil.localhost", 421)],
)
def test_a_server_without_keys_on_loopback_answers_to_local_names_only(
    lite: AppContext, host: str, status: int
) -> None:
    with running(guarded(lite, auth="off", allowed_hosts=())) as client:
        assert client.get("/healthz", headers={"host": host}).status_code == status


def test_other_names_are_a_setting_or_the_public_address(lite: AppContext) -> None:
    with running(guarded(lite, auth="off", allowed_hosts=(), public_url="https://Ml.example.org/x")) as client:
        assert client.get("/healthz", headers={"host": "ml.example.org"}).status_code == 200
    with running(guarded(lite, allowed_hosts=("Ml.example.org",))) as client:
        assert client.get("/healthz", headers={"host": "ml.example.org:443"}).status_code == 200
        assert client.get("/healthz", headers={"host": "127.0.0.1:8000"}).status_code == 200  # a probe from inside
        answer = client.get("/healthz", headers={"host": "other.example.org"})
    assert answer.status_code == 421
    assert "PLATFORM_ALLOWED_HOSTS" in answer.json()["detail"]
    with running(guarded(lite, allowed_hosts=())) as client:
        assert client.get("/healthz", headers={"host": "anything"}).status_code == 200


def test_a_foreign_page_holds_no_answers_for_review(lite: AppContext) -> None:
    with running(guarded(lite, auth="off")) as client:
        foreign = {"sec-fetch-site": "cross-site"}
        assert client.get("/v1/audit/next?reviewer=ada", headers=foreign).status_code == 403
        assert client.get("/v1/audit/next?reviewer=ada").status_code == 200


def test_requests_over_the_rate_wait_key_by_key_and_are_told_how_long(lite: AppContext) -> None:
    locked = guarded(lite, rate_limit=0.01, rate_burst=2)
    ada, bob = shown(key(locked, "predict")), shown(key(locked, "predict", name="bob"))
    with running(locked) as client:
        first = client.post("/v1/predict", json=BODY, headers=ada)
        assert (first.status_code, first.headers["ratelimit"]) == (200, '"default";r=1;t=1')
        assert first.headers["ratelimit-policy"] == '"default";q=2;w=200'
        client.post("/v1/predict", json=BODY, headers=ada)
        over = client.post("/v1/predict", json=BODY, headers=ada)
        assert over.status_code == 429
        assert 50 < int(over.headers["retry-after"]) <= 100
        assert over.headers["content-type"] == "application/problem+json"
        assert client.post("/v1/predict", json=BODY, headers=bob).status_code == 200
        assert client.get("/healthz").status_code == 200
        assert 'mlplatform_requests_total{route="refused",status="429"} 1.0' in locked.metrics.exposition().decode()


def test_without_keys_the_rate_is_the_addresses(lite: AppContext) -> None:
    with running(guarded(lite, auth="off", rate_limit=0.01, rate_burst=1)) as client:
        assert [client.get("/docs").status_code for _ in range(2)] == [200, 429]


def test_a_refused_request_is_no_fault_of_the_model(lite: AppContext) -> None:
    locked = guarded(lite)
    with running(locked) as client:
        client.post("/v1/predict", json=BODY)
        assert locked.request_counts.write(now=True) == 0


CONSOLE = "https://console.example.org"
ELSEWHERE = {"origin": CONSOLE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}


@pytest.mark.parametrize("headers", [{"origin": CONSOLE}, ELSEWHERE, {**ELSEWHERE, "sec-fetch-site": "same-site"}])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/retrain"), ("GET", "/v1/models"), ("GET", "/v1/audit/next")]
)
def test_a_named_origin_never_uses_the_browsers_password(
    lite: AppContext, method: str, path: str, headers: dict[str, str]
) -> None:
    locked = guarded(lite, cors_origins=(CONSOLE,))
    text = key(locked, "admin", name="ada")
    content = b"{}" if method == "POST" else None
    headers = headers | {"content-type": "application/json"}
    with running(locked) as client:
        refused = client.request(method, path, headers=headers | shown(text, "basic"), content=content)
        assert refused.status_code == 403
        assert "access-control-allow-credentials" not in refused.headers
        for kind in ("bearer", "x-api-key"):
            answer = client.request(method, path, headers=headers | shown(text, kind), content=content)
            assert answer.is_success
            assert answer.headers["access-control-allow-origin"] == CONSOLE
    with running(guarded(lite, auth="off", cors_origins=(CONSOLE,))) as client:  # where there is no password to use
        assert client.request(method, f"{path}?reviewer=ada", headers=headers, content=content).is_success


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, 200),
        ({"origin": "http://api"}, 200),
        ({}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "origin": "http://evil"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_a_link_from_elsewhere_opens_the_dashboard_and_a_foreign_page_does_not_load_it(
    asked: httpx.Client, locked: ApiServer, headers: dict[str, str], status: int
) -> None:
    assert asked.get("/", headers=headers | shown(key(locked, "audit"), "basic")).status_code == status


@pytest.mark.parametrize(
    "name", ["host", "authorization", "x-api-key", "origin", "content-type", "idempotency-key", "x-tensor-shape"]
)
def test_a_header_of_one_meaning_that_stands_twice_is_refused(shared_client: httpx.Client, name: str) -> None:
    same = [(name, "127.0.0.1"), (name, "127.0.0.1")]
    others = [(name, "127.0.0.1"), (name, "evil.example")]
    for path, pairs in ((path, pairs) for path in ("/healthz", "/v1/models") for pairs in (same, others, others[::-1])):
        answer = shared_client.get(path, headers=pairs)
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:mlplatform:problem:ambiguous")
    assert shared_client.get("/healthz", headers=[("accept", "text/html"), ("accept", "text/plain")]).status_code == 200


def test_the_log_says_which_key_was_not_good_and_where_from_and_no_secret(
    asked: httpx.Client, locked: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    text, made = create_key(locked.context, "bob", ["audit"], None, "cli")
    forged = create_key(locked.context, "eve", ["audit"], None, "cli")[0]
    with locked.context.database.write() as connection:
        connection.execute(api_keys.delete().where(api_keys.c.name == "eve"))
    revoke_key(locked.context, made.id, "cli")
    locked.api_key_cache.refresh()
    caplog.set_level("INFO")
    for shown_key in (text, forged, "no key of ours", ""):
        assert asked.get("/v1/models", headers=shown(shown_key)).status_code == 401
    said = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert said == [
        f"refused: key {made.id} is not good, from 127.0.0.1",
        f"refused: key {forged.split('_')[1]} is not good, from 127.0.0.1",
        "refused: what is no key, from 127.0.0.1",
        "refused: no key, from 127.0.0.1",
    ]
    assert text.split("_")[2] not in caplog.text
