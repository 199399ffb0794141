"""Below a path prefix everything is found, whether the proxy cuts the prefix off or not, and links lead below it."""

import re
from collections.abc import Iterator

import httpx
import pytest

from mlplatform.context import AppContext
from mlplatform.errors import SettingsError
from mlplatform.settings import Settings, load_settings
from tests.support.api_server import running
from tests.support.guarded_server import guarded, key, shown
from tests.support.platform_world import picture

BODY = {"images": [picture(1).tolist()]}


@pytest.fixture(params=["/ml", "/api/v1", "/a/b"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def below(lite: AppContext, prefix: str) -> Iterator[httpx.Client]:
    with running(guarded(lite, auth="off", root_path=prefix)) as client:
        yield client


@pytest.mark.parametrize("cut", [True, False])
def test_every_kind_of_route_is_found(below: httpx.Client, prefix: str, *, cut: bool) -> None:
    start = "" if cut else prefix
    for path in ("/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/v1/models", "/v2/health/live"):
        assert below.get(start + path).status_code == 200, path
    assert below.post(f"{start}/v1/predict", json=BODY).status_code == 200
    assert below.get(f"{start}/static-offline-docs/swagger-ui.css").status_code == 200
    assert below.get(f"{start}/v1/predictions/nobody").json()["title"] == "Not known"
    assert set(below.get(f"{start}/v2/models/nobody").json()) == {"error"}
    assert below.get(f"{start}/nowhere").status_code == 404


def test_the_documentation_loads_from_below_the_prefix(below: httpx.Client, prefix: str) -> None:
    page = below.get(f"{prefix}/docs")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    loaded = re.findall(r"(?:src|href)=\"([^\"]+)\"|url: '([^']+)'", page.text)
    places = [one or other for one, other in loaded]
    assert len(places) >= 3
    for place in places:
        assert place.startswith(f"{prefix}/"), place
        assert below.get(place).status_code == 200, place
    assert below.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": prefix}]


def test_redirects_stay_below_the_prefix(below: httpx.Client, prefix: str) -> None:
    assert below.get(prefix).headers["location"] == f"{prefix}/"
    assert below.get(f"{prefix}/docs/").headers["location"] == f"http://api{prefix}/docs"
    assert below.get("/docs/").headers["location"] == f"http://api{prefix}/docs"


def test_scopes_are_those_of_the_plain_paths(lite: AppContext) -> None:
    locked = guarded(lite, root_path="/ml")
    with running(locked) as client:
        headers = shown(key(locked, "predict"))
        assert client.get("/ml/healthz").status_code == 200
        assert client.post("/ml/v1/predict", json=BODY).status_code == 401
        assert client.post("/ml/v1/predict", json=BODY, headers=headers).status_code == 200
        assert client.post("/ml/v1/retrain", json={}, headers=headers).status_code == 403
        assert client.post("/ml/ml/v1/predict", json=BODY, headers=headers).status_code == 403


def test_requests_below_a_prefix_are_counted_under_their_routes(below: httpx.Client, prefix: str) -> None:
    below.post(f"{prefix}/v1/predict", json=BODY)
    assert 'mlplatform_requests_total{route="/v1/predict",status="200"} 1.0' in below.get("/metrics").text


@pytest.mark.parametrize(("given", "taken"), [("ml", "/ml"), ("/ml/", "/ml"), ("/", ""), ("", ""), ("/a/b/", "/a/b")])
def test_a_prefix_begins_with_a_slash_and_ends_without(given: str, taken: str) -> None:
    assert Settings(_env_file=None, root_path=given).root_path == taken


@pytest.mark.parametrize("given", ["/v1", "/v2/x", "docs"])
def test_a_prefix_is_none_of_the_apis_own_paths(given: str) -> None:
    with pytest.raises(SettingsError, match="paths of its own"):
        load_settings(root_path=given)


@pytest.mark.parametrize("given", ["https://x/ml", "/a//b", "/a b", "/ä", "/{x}", "/..%2f"])
def test_what_is_no_path_is_refused_as_a_prefix(given: str) -> None:
    with pytest.raises(SettingsError, match="give a path such as /ml"):
        load_settings(root_path=given)
