"""axe-core finds nothing serious on pages light and dark, wide and narrow; `tests.support.axe` says how to have it."""

import shutil
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest

from tests.support.axe import AXE, NO_AXE, serious_violations
from tests.support.page_pictures import CHROMIUM_FLAGS, SCHEMES, SCREENS, served_pages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (pip install playwright)")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium in the PATH"),
    pytest.mark.skipif(not AXE, reason=NO_AXE),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
Browser: TypeAlias = Any  # Playwright, which has the types, is not installed everywhere


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses of the pages of a running server, by name."""
    with served_pages(tmp_path_factory.mktemp("pages") / "home", per_hour=3) as (base, paths):
        yield {name: base + path for name, path in paths.items()} | {
            "account": f"{base}/account",
            "nowhere": f"{base}/versions/999",
        }


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=[*CHROMIUM_FLAGS])
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("screen", SCREENS)
def test_no_page_has_a_serious_violation(browser: Browser, pages: dict[str, str], screen: str, scheme: str) -> None:
    width, height = SCREENS[screen]
    violations = {}
    for name, address in pages.items():
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto(address)
        page.wait_for_load_state("networkidle")
        violations[name] = serious_violations(page)
        page.close()
    assert set(violations) >= {"overview", "alert", "model", "label", "version", "audit", "nowhere"}
    assert {name: found for name, found in violations.items() if found} == {}


def test_axe_is_heard(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content("<main><h1>x</h1><img src='x'><p style='color: #aaa; background: #bbb'>hardly seen</p></main>")
    names = {each.partition(":")[0] for each in serious_violations(page)}
    assert names >= {"image-alt", "color-contrast", "html-has-lang"}
    page.close()
