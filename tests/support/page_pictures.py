"""Takes pictures of the pages with Chromium and Playwright: `python -m tests.support.page_pictures FOLDER`.

Each page light and dark, on a wide screen and on a telephone; with `--documentation` their first screen alone, as
`docs/img` has them. Needs `pip install playwright` and a Chromium in the PATH.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image

from mlplatform.alerting import alert_records
from mlplatform.context import AppContext
from mlplatform.feedback.review_queues import DRAW
from mlplatform.feedback.review_session import claim_next
from mlplatform.retraining import retraining_queue
from mlplatform.serve.api_server import build_server
from tests.support.api_server import listening, loaded
from tests.support.page_world import page_world

SCREENS: Final = {"wide": (1400, 900), "narrow": (400, 800)}
DOCUMENTATION_SCREEN: Final = (1200, 960)
SCHEMES: Final = ("light", "dark")
CHROMIUM_FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


def pages_of(context: AppContext) -> dict[str, str]:
    """The addresses of the pages by the name of their picture."""
    with context.database.read() as connection:
        alerts = alert_records.list_alerts(connection, model_name="digits")
        runs = retraining_queue.recent(connection, 2, "digits")
    newest = next((row.id for row in alerts if row.rule == "accuracy-drop"), alerts[0].id)
    claim_next(context, DRAW, "grace")
    return {
        "overview": "/",
        "alerts": "/alerts",
        "alert": f"/alerts/{newest}",
        "model": "/models/digits",
        "review": "/review?reviewer=grace",
        "label": f"/review/{DRAW}?reviewer=grace",
        "versions": "/versions",
        "version": "/versions/3",
        "comparison": "/versions/compare?before=2&after=3",
        "retrainings": "/retrainings",
        "retraining": f"/retrainings/{runs[0].id}",
        "retrained": f"/retrainings/{runs[1].id}",
        "rules": "/rules",
        "audit": "/audit",
        "keys": "/keys",
    }


@contextmanager
def served_pages(home: Path, *, per_hour: int = 12) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The address of a server with a fortnight of history, and its pages."""
    with page_world(home, per_hour=per_hour) as context:
        server = build_server(context)
        server.model_slot.swap(loaded(2))
        with listening(server) as address:
            yield f"http://{address}", pages_of(context)


def take_pictures(
    folder: Path, screens: Mapping[str, tuple[int, int]], schemes: tuple[str, ...], *, whole: bool
) -> None:
    """Write a picture of each page, screen and scheme: the whole page, or its first screen in few colours."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, served_pages(Path(home)) as (base, pages), sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=[*CHROMIUM_FLAGS])
        for scheme in schemes:
            for screen, (width, height) in screens.items():
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                for name, address in pages.items():
                    page.goto(base + address)
                    path = folder / (f"{name}-{scheme}-{screen}.png" if whole else f"{name}.png")
                    page.screenshot(path=path, full_page=whole)
                    if not whole:
                        with Image.open(path) as picture:
                            few_colours = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
                        few_colours.save(path, optimize=True)
                    print(path)  # noqa: T201 - what the command says
        browser.close()


def main() -> None:
    """Write the pictures into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--documentation", action="store_true", help="only the first screen, light and wide")
    given = parser.parse_args()
    if given.documentation:
        take_pictures(given.folder, {"wide": DOCUMENTATION_SCREEN}, SCHEMES[:1], whole=False)
    else:
        take_pictures(given.folder, SCREENS, SCHEMES, whole=True)


if __name__ == "__main__":
    main()
