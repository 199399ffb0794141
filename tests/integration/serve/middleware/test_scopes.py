"""Every route has its scope, and one that nobody thought of is closed."""

import re

import pytest
from fastapi.routing import APIRoute

from mlplatform.serve.api_server import ApiServer
from mlplatform.serve.app import create_app
from mlplatform.serve.middleware.scope_rules import PUBLIC_PATHS, model_reach, required_scopes

ADMIN = frozenset({"admin"})
VIEWERS = {"audit", "operate", "retrain"}
TRIALS = {f"POST /v1/models/x/{role}" for role in ("shadow", "canary")}
CLOSED = {
    "POST /v1/models/x/approve",
    "POST /v1/models/x/reject",
    "POST /versions/x/promote",
    "POST /versions/x/decision",
    "POST /versions/x/trial",
    "POST /versions/x/quarantine",
    *TRIALS,
}


@pytest.mark.parametrize(
    ("method", "path", "scopes"),
    [
        ("POST", "/v1/predict", {"predict"}),
        ("POST", "/v1/predict/", {"predict"}),
        ("GET", "/v1/predict", ADMIN),
        ("GET", "/v1/predictions/x/image", {"predict", "feedback"} | VIEWERS),
        ("POST", "/v1/feedback", {"feedback"}),
        ("GET", "/v1/audit/next", {"audit"}),
        ("POST", "/v1/review/label-studio", {"review"}),
        ("POST", "/v1/review/label-studio/tasks", {"review"}),
        ("GET", "/review/draw", {"audit", "review"}),
        ("POST", "/review/draw", {"review"}),
        ("GET", "/", VIEWERS),
        ("HEAD", "/metrics", {"audit"}),
        ("POST", "/v2/models/digits/infer", {"predict"}),
        ("GET", "/v2/health/live", set()),
        ("GET", "/assets/style.css", set()),
        ("POST", "/assets/style.css", ADMIN),
        ("GET", "/assets", ADMIN),
        ("HEAD", "/models/digits/inputs", VIEWERS),
        ("POST", "/v1/retrain", {"operate", "retrain"}),
        ("DELETE", "/v1/retrainings/x", {"operate", "retrain"}),
        ("POST", "/retrainings/x/cancel", {"operate", "retrain"}),
        ("POST", "/alerts/x/silence", {"operate"}),
        ("POST", "/versions/rollback", {"operate"}),
        ("POST", "/versions/7/trial/stop", {"operate"}),
        ("DELETE", "/v1/models/7/canary", {"operate"}),
        ("POST", "/versions/7/trial", ADMIN),
        ("POST", "/versions/7/promote", ADMIN),
        ("POST", "/versions/7/promote/trial/stop", ADMIN),
        ("GET", "/keys", {"audit"}),
        ("POST", "/models/digits", ADMIN),
        ("POST", "/healthz", ADMIN),
        ("GET", "/v1/predictor", ADMIN),
        ("GET", "/v1/thoughtless", ADMIN),
        ("GET", "", ADMIN),
    ],
)
def test_a_path_needs_its_scope(method: str, path: str, scopes: set[str]) -> None:
    assert required_scopes(method, path) == scopes


def test_only_health_and_the_files_of_pages_are_open_and_only_what_changes_things_needs_an_admin(
    server: ApiServer,
) -> None:
    routes = {
        f"{method} {re.sub('{[a-z_]+}', 'x', route.path)}"
        for route in create_app(server).routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert routes
    wanted = {route: required_scopes(*route.split()) for route in routes}
    assert {route.split()[1] for route, scopes in wanted.items() if not scopes} <= PUBLIC_PATHS | {"/assets/x"}
    assert {route for route, scopes in wanted.items() if scopes == ADMIN} == CLOSED


@pytest.mark.parametrize(
    ("path", "reach"),
    [
        ("/", "any"),
        ("/alerts/x", "any"),
        ("/models/other", "any"),
        ("/v1/predictions/x/image", "any"),
        ("/v1/predict", "served"),
        ("/v1/models", "served"),
        ("/v1/thoughtless", "served"),
        ("/v1/audit/next", "served"),
        ("/audit", "all"),
        ("/keys", "all"),
    ],
)
def test_a_path_is_about_the_served_model_unless_it_is_named(path: str, reach: str) -> None:
    assert model_reach(path) == reach
