"""Somebody signs in with a real browser, does something, and signs out."""

import shutil
from collections.abc import Iterator
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from mlplatform.context import AppContext
from mlplatform.serve.api_server import ApiServer
from tests.support.api_server import listening
from tests.support.axe import AXE, serious_violations
from tests.support.guarded_server import guarded
from tests.support.oidc_provider import CLIENT_ID, SECRET, LocalProvider, local_provider
from tests.support.page_pictures import CHROMIUM_FLAGS, SCHEMES, SCREENS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (pip install playwright)")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium in the PATH"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
Browser: TypeAlias = Any  # Playwright, which has the types, is not installed everywhere


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=[*CHROMIUM_FLAGS])
        yield opened
        opened.close()


@pytest.fixture
def served(lite: AppContext) -> Iterator[tuple[str, LocalProvider, ApiServer]]:
    """The address of a server where people sign in, and their provider on another site."""
    with local_provider() as provider:
        server = guarded(
            lite,
            oidc_issuer=provider.issuer,
            oidc_client_id=CLIENT_ID,
            oidc_client_secret=SecretStr(SECRET),
            oidc_groups="ml-team=audit,operate",
            public_url="http://localhost",
            allowed_hosts=(),
        )
        with listening(server) as address:
            base = f"http://localhost:{urlsplit(f'//{address}').port}"
            assert server.sign_in is not None
            registration = server.sign_in.provider.registration
            object.__setattr__(registration, "redirect_uri", f"{base}/sign-in/callback")
            yield base, provider, server


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("screen", SCREENS)
def test_somebody_signs_in_looks_around_and_signs_out(
    browser: Browser, served: tuple[str, LocalProvider, ApiServer], screen: str, scheme: str
) -> None:
    base, *_ = served
    width, height = SCREENS[screen]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.goto(f"{base}/alerts")
    assert page.url == f"{base}/sign-in?next=/alerts"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert AXE == "" or serious_violations(page) == []
    page.get_by_role("link", name="Sign in with").click()
    page.wait_for_url(f"{base}/alerts")
    assert page.get_by_role("heading", name="Alerts").is_visible()
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("link", name="Account").click()
    assert "ann@example.org" in page.inner_text("main")
    assert AXE == "" or serious_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{base}/sign-in")
    page.goto(f"{base}/account")
    assert page.url == f"{base}/sign-in?next=/account"
    assert faults == []
    page.close()


def test_somebody_who_is_refused_reads_why_and_may_use_a_key(
    browser: Browser, served: tuple[str, LocalProvider, ApiServer]
) -> None:
    base, provider, _ = served
    provider.claims = {"groups": ["guests"]}
    page = browser.new_page()
    page.goto(base)
    page.get_by_role("link", name="Sign in with").click()
    page.wait_for_url("**/sign-in/callback**")
    assert "none of the groups" in page.inner_text("main")
    page.get_by_role("link", name="Go to the overview").click()
    assert page.url == f"{base}/sign-in?next=/"
    assert page.get_by_role("link", name="use an API key").is_visible()
    page.close()
