"""Promise: a page is painted within 300 ms on this machine, and asks the database the same however much there is.

Every page of a server with a fortnight of answers and labels: `first_paint_ms` is the browser's first contentful paint
(Chromium through Playwright; null where these are not installed), `server_ms` from the request to the whole answer,
medians of several loads, and `queries` are the statements of one load. `--per-hour` answers an hour are written for
each of two models; `--quick` loads each page three times.
"""

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.support.page_pictures import CHROMIUM_FLAGS, SCREENS, served_pages

PER_HOUR: Final = 23
"""About 10 000 answers of each model in a fortnight."""
FIRST_PAINT: Final = "performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)"


class QueryCounter:
    """Counts the statements of all databases of this process."""

    def __init__(self) -> None:
        self.count, self._lock = 0, threading.Lock()

    def add(self, *_: object) -> None:
        """One statement was executed."""
        with self._lock:
            self.count += 1

    def during(self, work: Callable[[], object]) -> int:
        """How many statements the work led to."""
        before = self.count
        work()
        return self.count - before


@contextmanager
def counted_queries() -> Iterator[QueryCounter]:
    """A counter of statements while the block lasts."""
    counter = QueryCounter()
    event.listen(Engine, "after_cursor_execute", counter.add)
    try:
        yield counter
    finally:
        event.remove(Engine, "after_cursor_execute", counter.add)


@contextmanager
def painter() -> Iterator[Callable[[str], float] | None]:
    """A function that loads an address and tells its first paint in milliseconds; None without a browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        yield None
        return
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS])
        width, height = SCREENS["wide"]
        page = browser.new_page(viewport={"width": width, "height": height})

        def paint(address: str) -> float:
            page.goto(address)
            times = page.evaluate(FIRST_PAINT)
            while not times:  # the pages' policy lets nothing wait for it inside of them
                page.wait_for_timeout(20)
                times = page.evaluate(FIRST_PAINT)
            return float(times[0])

        yield paint
        browser.close()


def measure(base: str, pages: Mapping[str, str], repeats: int) -> dict[str, dict[str, Any]]:
    """The figures of each page by its name; the first load of each is not counted."""
    figures: dict[str, dict[str, Any]] = {}
    with httpx.Client(base_url=base, timeout=60, trust_env=False) as client, painter() as paint:
        for name, address in pages.items():
            client.get(address).raise_for_status()
            taken = []
            for _ in range(repeats):
                started = time.perf_counter()
                client.get(address).raise_for_status()
                taken.append(1000 * (time.perf_counter() - started))
            with counted_queries() as counter:
                # The fewest of three: threads behind the pages ask the database too, now and then.
                queries = min(counter.during(partial(client.get, address)) for _ in range(3))
            painted = None if paint is None else round(median(paint(base + address) for _ in range(repeats)))
            figures[name] = {"first_paint_ms": painted, "server_ms": round(median(taken)), "queries": queries}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--per-hour", type=int, default=PER_HOUR)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as home,
        served_pages(Path(home), per_hour=given.per_hour) as (base, pages),
    ):
        figures = measure(base, pages, 3 if given.quick else 9)
    for name, each in figures.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in each.items()))
    print(json.dumps({"per_hour": given.per_hour, "pages": figures}))


if __name__ == "__main__":
    main()
