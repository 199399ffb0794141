"""Counts the files of this project that one story visits: whose functions run between its beginning and its end.

`python -m benchmarks.files_visited` follows one POST /v1/predict over a socket of loopback, from the protocol's
`data_received` to the committed row. The rows are written on the recorder's thread, which runs the same code as the
writing process does. `--story` follows another one (`benchmarks.decision_stories`). The last line is one JSON object.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import httpx

from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.predictions import prediction_records
from mlplatform.serve.api_server import build_server
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.serve.run_server import build_http_server
from mlplatform.settings import Settings
from pipelines.discovery import find_pipeline
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.onnx_engine import export_onnx, load_onnx_engine
from pipelines.recipe import network_recipe
from pipelines.training.network import network_for
from registry.catalog import Catalog
from registry.model_contract import ModelContract, image_inputs
from registry.model_package import MODEL_FILE, ONNX_FILE, read_contract
from tests.support.version_folder import write_contract

ROOT: Final = Path(__file__).resolve().parent.parent
ROOMS: Final = ("platform", "pipelines", "monitors", "registry")
NAME: Final = "digits"
WARM_UP_REQUESTS: Final = 3
REQUESTS: Final = 5
SERVING_THREADS: Final = ("api", "lane-", "answer")
REQUEST_THREADS: Final = (*SERVING_THREADS, "recorder")
"""Beginnings of the names of the threads that a prediction passes through; others poll meanwhile."""
DECISION_THREADS: Final = ("MainThread",)


class FileTracer:
    """Notes which files' functions begin on threads that are started after `install`, while `recording` lasts."""

    def __init__(self, threads: tuple[str, ...] = ("",)) -> None:
        """Look at threads whose name begins with one of `threads` only."""
        self.functions: dict[str, set[str]] = {}
        """Names of the functions that ran in every recording, by file."""
        self._running: dict[str, set[str]] = {}
        self._recordings = 0
        self._threads, self._active = threads, False
        self._watched = threads
        self._rooms = tuple(f"{ROOT / room}/" for room in ROOMS)

    def install(self) -> None:
        """Look at this thread and those started from now on."""
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note what runs meanwhile; of several recordings, what runs in each: the rest are timers and chance."""
        self._running, self._watched, self._active = {}, self._threads, True
        try:
            yield
        finally:
            self._active = False
        self.functions = {
            path: names if not self._recordings else names & self.functions[path]
            for path, names in self._running.items()
            if not self._recordings or names & self.functions.get(path, set())
        }
        self._recordings += 1

    def ignore(self, *threads: str) -> None:
        """Their part of the story is over; what they do in this recording from now on is another one's."""
        self._watched = tuple(name for name in self._watched if name not in threads)

    def files(self) -> list[str]:
        """The files that were visited, by path below the project's folder."""
        return sorted(self.functions)

    def _on_event(self, frame: FrameType, event: str, _argument: object) -> None:
        if not self._active or event != "call":
            return
        code = frame.f_code
        if not code.co_filename.startswith(self._rooms) or code.co_name == "<module>":
            return
        if threading.current_thread().name.startswith(self._watched):
            path = str(Path(code.co_filename).relative_to(ROOT))
            self._running.setdefault(path, set()).add(code.co_qualname)


class _OneVersion(Catalog):
    """A registry that names version 1 as champion and holds its files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def alias(self, name: str, alias: str) -> int | None:
        return 1 if name == NAME and alias == "champion" else None

    def download(self, name: str, version: int, target: Path) -> Path:  # noqa: ARG002
        return self._folder

    def contract(self, name: str, version: int) -> ModelContract:  # noqa: ARG002
        return read_contract(self._folder)


def predict_story(tracer: FileTracer, home: Path) -> None:
    """One prediction request to a server with default settings, from its bytes to its row."""
    pipeline = find_pipeline(NAME)
    network = network_for(pipeline.contract, network_recipe(pipeline.recipe()))
    exportable = build_exportable(
        network, height=image_inputs(pipeline.contract).height, width=image_inputs(pipeline.contract).width
    )
    save_exportable(exportable, home / "model" / MODEL_FILE)
    write_contract(home / "model", pipeline.contract)
    (home / "model" / ONNX_FILE).write_bytes(export_onnx(exportable))
    settings = Settings(_env_file=None, home=home, poll_seconds=3600, baseline_calls=20)
    context = AppContext(settings, catalog=_OneVersion(home / "model"))
    tracer.install()
    server = build_server(context)
    engine = load_onnx_engine(home / "model" / ONNX_FILE, pipeline.classes, threads=1)
    server.model_slot.swap(LoadedModel(NAME, 1, engine, utc_now()))
    running = build_http_server(server, "127.0.0.1", 0)
    thread = threading.Thread(target=running.run, name="api")
    thread.start()
    try:
        while not running.started:
            time.sleep(0.01)
        port = running.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            for value in range(WARM_UP_REQUESTS):  # what is done once for all requests is no part of one
                _predict(
                    client,
                    context,
                    *image_inputs(pipeline.contract).size,
                    value,
                )
            for value in range(WARM_UP_REQUESTS, WARM_UP_REQUESTS + REQUESTS):
                with tracer.recording():
                    _predict(
                        client,
                        context,
                        *image_inputs(pipeline.contract).size,
                        value,
                        tracer,
                    )
    finally:
        running.should_exit = True
        thread.join(30)
        running.mark_closed()


def _predict(
    client: httpx.Client, context: AppContext, height: int, width: int, value: int, tracer: FileTracer | None = None
) -> None:
    """Ask for one prediction and wait until its row is committed."""
    answer = client.post("/v1/predict", json={"images": [[[value] * width] * height]})
    if tracer is not None:
        tracer.ignore(*SERVING_THREADS)
    key = answer.raise_for_status().json()["predictions"][0]["id"]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with context.database.read() as connection:
            if prediction_records.prediction_times(connection, [key]):
                time.sleep(0.2)  # the spool's own settling comes after the commit
                return
        time.sleep(0.05)
    raise TimeoutError(f"prediction {key} was not recorded within 10 s")


def main() -> None:
    """Follow the story and list what it visits."""
    from benchmarks import decision_stories as others

    stories: dict[str, tuple[Callable[[FileTracer, Path], None], tuple[str, ...]]] = {
        "predict": (predict_story, REQUEST_THREADS),
        "label-to-alarm": (others.label_to_alarm, DECISION_THREADS),
        "slot-to-notice": (others.slot_to_notice, DECISION_THREADS),
        "alert-to-swap": (others.alert_to_swap, DECISION_THREADS),
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--story", choices=stories, default="predict", help="what is followed")
    story = parser.parse_args().story
    play, threads = stories[story]
    tracer = FileTracer(threads)
    with tempfile.TemporaryDirectory() as folder:
        play(tracer, Path(folder))
    for path in tracer.files():
        print(f"{path}: {', '.join(sorted(tracer.functions[path]))}")
    print(json.dumps({"story": story, "files": len(tracer.functions), "visited": tracer.files()}))


if __name__ == "__main__":
    main()
