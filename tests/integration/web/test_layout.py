"""What every page has: its files, its security policy, an answer to HEAD, and errors that people can read."""

import re

import httpx
import pytest

from mlplatform.context import AppContext
from mlplatform.serve.api_server import ApiServer
from tests.support.api_server import problem, running
from tests.support.guarded_server import guarded, key, shown
from tests.support.monitoring_world import with_rules

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)


@pytest.fixture
def watched(server: ApiServer, client: httpx.Client) -> httpx.Client:
    """The client of a server whose rules can be read."""
    with_rules(server.context)
    return client


def test_a_page_loads_its_style_script_and_icon_from_the_server_alone(watched: httpx.Client) -> None:
    page = watched.get("/", headers=BROWSER)
    assert page.headers["content-security-policy"] == POLICY
    loaded = re.findall(r'(?:href|src)="(\./assets/[^"]+)"', page.text)
    assert len(loaded) == 3
    kinds = set()
    for address in loaded:
        file = watched.get(f"/{address}")
        assert file.status_code == 200
        assert "immutable" in file.headers["cache-control"]
        kinds.add(file.headers["content-type"].partition(";")[0])
    assert kinds == {"text/css", "text/javascript", "image/svg+xml"}
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_a_page_has_no_style_or_script_of_its_own(watched: httpx.Client) -> None:
    page = watched.get("/").text
    assert "<style" not in page
    assert not re.search(r"\s(style|on[a-z]+)\s*=", page)
    assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == [""]


def test_a_file_under_an_old_digest_is_not_found(watched: httpx.Client) -> None:
    assert "load the page again" in problem(watched.get("/assets/style-000000000000.css"), 404)
    assert watched.get("/assets/style.css").status_code == 404


def test_the_icon_is_there_for_browsers_that_only_guess_its_name(watched: httpx.Client) -> None:
    icon = watched.get("/favicon.ico")
    assert icon.headers["content-type"] == "image/svg+xml"
    assert icon.content.startswith(b"<svg")


@pytest.mark.parametrize("path", ["/", "/alerts", "/favicon.ico"])
def test_a_page_answers_head(watched: httpx.Client, path: str) -> None:
    asked, got = watched.head(path), watched.get(path)
    assert asked.status_code == 200
    assert asked.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize("path", ["/alerts/<script>nobody</script>", "/nowhere/at/all", "/v1/predictions/nobody"])
def test_a_browser_is_shown_an_error_as_a_page_and_a_program_as_json(watched: httpx.Client, path: str) -> None:
    page = watched.get(path, headers=BROWSER)
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"] == POLICY
    assert "HTTP status 404" in page.text
    assert "<script>nobody" not in page.text
    root = "../" * (path.removesuffix("</script>").count("/") - 1)
    assert f'href="{root}' in page.text
    problem(watched.get(path), 404)
    problem(watched.get(path, headers={"accept": "*/*"}), 404)


def test_other_protocols_keep_their_own_errors_for_browsers_too(watched: httpx.Client) -> None:
    answer = watched.get("/v2/models/nobody", headers=BROWSER)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


def test_a_browser_without_a_key_is_asked_for_one_on_a_page_that_it_can_show(lite: AppContext) -> None:
    server = guarded(lite)
    with_rules(server.context)
    with running(server) as client:
        page = client.get("/", headers=BROWSER)
        assert page.status_code == 401
        assert "Basic" in page.headers["www-authenticate"]
        assert "A key is needed" in page.text
        for address in re.findall(r'(?:href|src)="(\./assets/[^"]+)"', page.text):
            assert client.get(f"/{address}").status_code == 200, "the page of a refusal loads its style"
        assert client.get("/", headers=BROWSER | shown(key(server, "audit"), "basic")).status_code == 200


def test_a_failure_nobody_foresaw_is_a_page_without_its_cause(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> str:
        raise RuntimeError("secret cause")

    monkeypatch.setattr("mlplatform.web.overview.overview_page", broken)
    with running(server) as client:
        page = client.get("/", headers=BROWSER)
        assert page.status_code == 500
        assert "The server failed" in page.text
        assert page.headers["content-type"].startswith("text/html")
        assert "secret" not in page.text
