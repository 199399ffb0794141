"""Every answer tells browsers to do no more with it than they should; other sites are let in by name only."""

import httpx
import pytest

from mlplatform.context import AppContext
from mlplatform.serve.api_server import build_server
from tests.support.api_server import running


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/nowhere", "/v1/predictions/x", "/static-offline-docs/x.js"])
def test_every_answer_carries_them(shared_client: httpx.Client, path: str) -> None:
    headers = shared_client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers
    assert "strict-transport-security" not in headers


def test_so_does_one_that_is_refused_or_too_large(client: httpx.Client) -> None:
    for answer in (client.get("/healthz", headers={"host": "evil"}), client.post("/v1/predict", content=b"x" * 2**21)):
        assert answer.status_code in (413, 421)
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_a_route_says_itself_stays(client: httpx.Client) -> None:
    headers = client.get("/").headers
    assert len(headers.get_list("content-security-policy")) == 1


def test_the_documentation_may_run_its_own_scripts_and_others_may_not(client: httpx.Client) -> None:
    assert "script-src 'self'" in client.get("/docs").headers["content-security-policy"]
    assert client.get("/healthz").headers["content-security-policy"].startswith("default-src 'none'")


def test_over_https_it_must_stay_https(client: httpx.Client) -> None:
    assert "max-age" in client.get("https://api/healthz").headers["strict-transport-security"]


def test_pages_of_a_named_origin_may_call_and_no_other(lite: AppContext) -> None:
    settings = lite.settings.model_copy(update={"cors_origins": ("https://console.example.org",), "auth": "on"})
    made = lite.replace(settings=settings)
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    with running(build_server(made)) as client:
        good = client.options("/v1/predict", headers={"origin": "https://console.example.org", **preflight})
        bad = client.options("/v1/predict", headers={"origin": "https://evil.example", **preflight})
    assert (good.status_code, good.headers["access-control-allow-origin"]) == (200, "https://console.example.org")
    assert "access-control-allow-credentials" not in good.headers
    assert (bad.status_code, "access-control-allow-origin" in bad.headers) == (400, False)
