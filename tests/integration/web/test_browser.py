"""The pages in a real browser: their security policy breaks nothing, they fit a telephone, and keys are enough."""

import shutil
from collections.abc import Iterator
from time import perf_counter
from typing import Any, TypeAlias

import pytest

from tests.support.page_pictures import CHROMIUM_FLAGS, SCHEMES, SCREENS, served_pages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (pip install playwright)")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium in the PATH"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
Browser: TypeAlias = Any  # Playwright, which has the types, is not installed everywhere
Page: TypeAlias = Any
NAMES = [
    "overview",
    "alerts",
    "alert",
    "model",
    "review",
    "label",
    "versions",
    "version",
    "comparison",
    "retrainings",
    "retraining",
    "retrained",
    "rules",
    "audit",
    "keys",
]
PICTURES = 100
SHOWS_ANOTHER = "known => !known.includes(document.querySelector('[name=prediction_id]')?.value ?? known[0])"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses of the pages of a running server, by name."""
    with served_pages(tmp_path_factory.mktemp("pages") / "home", per_hour=3) as (base, paths):
        yield {name: base + path for name, path in paths.items()}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=[*CHROMIUM_FLAGS])
        yield opened
        opened.close()


def opened_page(browser: Browser, scheme: str = "light", screen: str = "wide") -> tuple[Page, list[str]]:
    """An empty page, and the faults that it will report."""
    width, height = SCREENS[screen]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    return page, faults


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits_its_screen_and_reports_no_fault(
    browser: Browser,
    pages: dict[str, str],
    name: str,
    screen: str,
    scheme: str,
) -> None:
    page, faults = opened_page(browser, scheme, screen)
    assert page.goto(pages[name]).status == 200
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert faults == []
    is_dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 20, 26)"
    assert is_dark == (scheme == "dark")
    page.close()


def test_times_are_shown_as_ages_and_keep_their_moment(browser: Browser, pages: dict[str, str]) -> None:
    page, _ = opened_page(browser)
    page.goto(pages["model"])
    age = page.locator("time.age").first
    assert age.inner_text() == "6 days ago"
    assert age.get_attribute("title").endswith("UTC")
    page.close()


def test_a_page_asks_for_nothing_while_its_last_question_is_open(browser: Browser, pages: dict[str, str]) -> None:
    page, _ = opened_page(browser)
    page.clock.install()
    page.goto(pages["retraining"])
    assert page.locator("#content").get_attribute("data-refresh-seconds") == "5"
    held: list[Any] = []
    page.route("**/retrainings/**", lambda route: held.append(route))
    page.clock.run_for(30_000)
    page.wait_for_timeout(200)
    assert len(held) == 1
    held[0].abort()
    page.wait_for_timeout(200)
    page.clock.run_for(6_000)
    page.wait_for_timeout(200)
    assert len(held) == 2
    page.close()


def test_keys_alone_lead_from_the_overview_to_an_acknowledged_alert(
    browser: Browser,
    pages: dict[str, str],
) -> None:
    page, faults = opened_page(browser)
    page.goto(pages["overview"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.get_by_role("link", name="Look at accuracy-drop, and acknowledge it").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Acknowledge").wait_for()
    page.get_by_label("Note").focus()
    page.keyboard.type("I am on it")
    page.keyboard.press("Enter")
    page.get_by_text("I am on it").first.wait_for()
    assert page.get_by_role("button", name="Acknowledge").count() == 0
    assert faults == []
    page.close()


def test_a_hundred_pictures_are_labelled_by_keyboard(browser: Browser, pages: dict[str, str]) -> None:
    page, faults = opened_page(browser)
    page.goto(pages["review"].replace("grace", "ada"))
    page.get_by_role("button", name="Label").first.focus()
    given: dict[str, str] = {}
    started = perf_counter()
    page.keyboard.press("Enter")
    for number in range(PICTURES):
        page.wait_for_function(SHOWS_ANOTHER, arg=[*given, ""])
        given[page.locator("[name=prediction_id]").get_attribute("value")] = str(number % 10)
        page.keyboard.press(str(number % 10))
    page.get_by_text(f"You labelled {PICTURES} inputs in 24 hours.").wait_for()
    print(f"{PICTURES} pictures labelled by keyboard in {perf_counter() - started:.1f} s")  # noqa: T201 - the stopwatch
    assert len(given) == PICTURES
    base = pages["overview"]
    for prediction_id, label in given.items():
        labels = page.request.get(f"{base}v1/predictions/{prediction_id}").json()["labels"]
        assert [(found["label"], found["source"]) for found in labels] == [(label, "audit")]
    assert faults == []
    page.close()


def test_a_key_goes_back_and_another_skips(browser: Browser, pages: dict[str, str]) -> None:
    page, faults = opened_page(browser)
    page.goto(pages["review"].replace("grace", "eve"))
    page.get_by_role("button", name="Label").nth(1).click()
    held = page.locator("[name=prediction_id]")
    first = held.get_attribute("value")
    page.keyboard.press("8")
    page.get_by_text("You labelled 1 input in 24 hours.").wait_for()
    second = held.get_attribute("value")
    page.keyboard.press("ArrowLeft")
    page.get_by_text("You said: 8.").wait_for()
    assert held.get_attribute("value") == first
    page.keyboard.press("3")
    page.get_by_text("You said: 8.").wait_for(state="detached")
    assert held.get_attribute("value") == second
    page.keyboard.press("s")
    page.wait_for_function("known => document.querySelector('[name=prediction_id]').value !== known", arg=second)
    assert faults == []
    page.close()


def test_enter_presses_what_has_the_focus(browser: Browser, pages: dict[str, str]) -> None:
    page, faults = opened_page(browser)
    page.goto(pages["review"].replace("grace", "joan"))
    page.get_by_role("button", name="Label").first.click()
    held = page.locator("[name=prediction_id]")
    first = held.get_attribute("value")
    page.keyboard.press("8")
    page.get_by_text("You labelled 1 input in 24 hours.").wait_for()
    page.keyboard.press("ArrowLeft")
    page.get_by_text("You said: 8.").wait_for()
    page.locator("button[value='3']").focus()
    page.keyboard.press("Enter")
    page.get_by_text("You said: 8.").wait_for(state="detached")
    labels = page.request.get(f"{pages['overview']}v1/predictions/{first}").json()["labels"]
    assert [found["label"] for found in labels] == ["3"]
    page.keyboard.press("ArrowLeft")
    page.get_by_text("You said: 3.").wait_for()
    page.get_by_role("link", name="All queues").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Review", exact=True).wait_for()
    assert faults == []
    page.close()


def test_a_proxys_page_without_the_server_behind_it_is_no_answer(browser: Browser, pages: dict[str, str]) -> None:
    page, _ = opened_page(browser)
    page.goto(pages["review"].replace("grace", "lise"))
    page.get_by_role("button", name="Label").first.click()
    held = page.locator("[name=prediction_id]").get_attribute("value")
    page.route("**/review/**", lambda route: route.fulfill(status=502, body="<h1>Bad Gateway</h1>"))
    page.keyboard.press("8")
    page.get_by_text("The server did not answer").wait_for()
    assert page.locator("[name=prediction_id]").get_attribute("value") == held
    page.unroute("**/review/**")
    page.keyboard.press("8")
    page.get_by_text("You labelled 1 input in 24 hours.").wait_for()
    page.close()
