"""The cheque reader in a real browser: upload, the result drawn on the picture, the correction that becomes a label."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

pytest.importorskip("cv2", reason="examples/cheques needs OpenCV (pip install opencv-python-headless)")

from cheques.processing import ChequeProcessor
from cheques.rendering.photograph import Shot
from tests.support.cheques_world import KeptReader, cheque_picture, code_of, serving, world
from tests.support.page_pictures import CHROMIUM_FLAGS, SCHEMES, SCREENS
from tests.support.waiting import eventually

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (pip install playwright)")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium in the PATH"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
Browser: TypeAlias = Any  # Playwright, which has the types, is not installed everywhere


@pytest.fixture
def reader() -> KeptReader:
    return KeptReader()


@pytest.fixture
def address(tmp_path: Path, reader: KeptReader) -> Iterator[str]:
    processor: ChequeProcessor = world(f"sqlite:///{tmp_path / 'cheques.db'}", reader, threshold=1.0)
    with serving(processor) as served:
        yield served
    processor.store.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=[*CHROMIUM_FLAGS])
        yield opened
        opened.close()


def test_a_photograph_is_uploaded_shown_with_its_digits_and_corrected(
    browser: Browser, address: str, reader: KeptReader, tmp_path: Path
) -> None:
    picture = tmp_path / "cheque.jpg"
    picture.write_bytes(cheque_picture(code_of(1), Shot(turn=5, tilt=-4, shade=20, noise=3), seed=4))
    page = browser.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))

    page.goto(address)
    page.get_by_label("A scan or photograph").set_input_files(str(picture))
    page.get_by_role("button", name="Read and decide").click()
    page.get_by_role("heading", name="Cheque").wait_for()
    assert page.locator("strong.review").inner_text() == "waits for a person"
    assert code_of(1).text in page.locator("h1").inner_text()

    read = page.get_by_label("Amount, digits alone").input_value()
    marks = page.locator("svg.cheque text.mark:not(.line)")
    assert [mark.split()[0] for mark in marks.all_text_contents()] == list(read)
    assert all(mark.split()[1].endswith("%") for mark in marks.all_text_contents())
    assert page.locator("svg.cheque rect.digit").count() == len(read)
    assert page.locator("svg.cheque rect.field").count() == 2
    loaded = "async () => { const i = new Image(); i.src = document.querySelector('svg image').href.baseVal;"
    assert page.evaluate(loaded + " await i.decode(); return i.naturalWidth }") == 1200
    frame, digit = page.locator("rect.field").first.bounding_box(), page.locator("rect.digit").first.bounding_box()
    assert frame["x"] <= digit["x"] <= frame["x"] + frame["width"]
    assert frame["y"] <= digit["y"] <= frame["y"] + frame["height"]

    page.get_by_label("Amount, digits alone").fill("4321")
    page.get_by_label("Your name").fill("ada")
    page.get_by_role("button", name="Decide by the rules").click()
    page.locator("strong.accept").wait_for()
    assert "amount 4321" in page.locator("p.lead").inner_text()
    eventually(lambda: [(label.label, label.source) for label in reader.labels] == [("4321", "correction")], "a label")
    page.get_by_role("link", name="Audit trail").click()
    page.get_by_text("are as they were written").wait_for()
    assert faults == []
    page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("screen", SCREENS)
def test_the_pages_fit_their_screen(browser: Browser, address: str, screen: str, scheme: str, tmp_path: Path) -> None:
    picture = tmp_path / "cheque.jpg"
    picture.write_bytes(cheque_picture(code_of(2), Shot(turn=-3)))
    width, height = SCREENS[screen]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.goto(address)
    page.get_by_label("A scan or photograph").set_input_files(str(picture))
    page.get_by_role("button", name="Read and decide").click()
    page.get_by_role("heading", name="Cheque").wait_for()
    for path in (page.url, address, f"{address}/review", f"{address}/audit", f"{address}/cheques/nobody"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        is_dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 20, 26)"
        assert is_dark == (scheme == "dark")
    assert [fault for fault in faults if "404" not in fault] == []
    page.close()
