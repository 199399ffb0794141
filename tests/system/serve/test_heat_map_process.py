"""Heat maps made in a process of their own are those of a thread, and its death or silence refuses one explanation."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlplatform.serve.inference.heatmaps import RESTART_DELAY_SECONDS, ProcessHeatmapRenderer, ThreadHeatmapRenderer
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.errors import ModelFormatError, ModelUnreadableError
from tests.support.api_server import CLASSES, looking

PICTURE = np.pad(np.full((14, 6), 230, dtype=np.uint8), ((7, 7), (11, 11)))
UNLESS_TOLD = "import os, pathlib, sys; mark = pathlib.Path(sys.argv[1]); "
ANSWERS = "from mlplatform.serve.inference.heatmaps import main; main()"
DIES_ONCE = f"{UNLESS_TOLD}mark.exists() or (mark.touch(), os._exit(7)); {ANSWERS}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explained") / "model.pt2"
    save_exportable(build_exportable(looking(1)), path)
    return path


@pytest.fixture
def mapper() -> Iterator[ProcessHeatmapRenderer]:
    made = ProcessHeatmapRenderer()
    yield made
    made.close()


def test_a_process_makes_the_maps_that_a_thread_makes_and_names_the_same_faults(
    mapper: ProcessHeatmapRenderer, model: Path, tmp_path: Path
) -> None:
    for index in (None, 3):
        assert mapper.render(model, CLASSES, PICTURE, index) == ThreadHeatmapRenderer().render(
            model, CLASSES, PICTURE, index
        )
    torn = tmp_path / "torn.pt2"
    torn.write_bytes(model.read_bytes()[:100])
    for each in (mapper, ThreadHeatmapRenderer()):
        with pytest.raises(ModelFormatError, match=r"torn\.pt2"):
            each.render(torn, CLASSES, PICTURE, None)
    assert mapper.render(model, CLASSES, PICTURE, 3).index == 3


def test_after_a_death_none_is_started_for_a_while_and_then_another_one_goes_on(model: Path, tmp_path: Path) -> None:
    now = [0.0]
    mapper = ProcessHeatmapRenderer((sys.executable, "-c", DIES_ONCE, str(tmp_path / "died")), clock=lambda: now[0])
    with pytest.raises(ModelUnreadableError, match="ended with code 7"):
        mapper.render(model, CLASSES, PICTURE, None)
    with pytest.raises(ModelUnreadableError, match="a moment ago"):
        mapper.render(model, CLASSES, PICTURE, None)
    now[0] += RESTART_DELAY_SECONDS
    assert mapper.render(model, CLASSES, PICTURE, 2).index == 2
    mapper.close()


def test_a_process_that_hangs_is_ended_and_one_that_cannot_be_started_is_no_fault_of_the_model(model: Path) -> None:
    for command, words in (
        ((sys.executable, "-c", "import time; time.sleep(60)"), "ended with code -9"),
        (("/nowhere/python",), "no process can be started"),
    ):
        with pytest.raises(ModelUnreadableError, match=words):
            ProcessHeatmapRenderer(command, timeout_seconds=0.2).render(model, CLASSES, PICTURE, None)


def test_without_memory_for_the_libraries_only_the_explanation_is_refused(model: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28)); "
    short = ProcessHeatmapRenderer((sys.executable, "-c", limited + ANSWERS))
    with pytest.raises(ModelUnreadableError, match="try again"):
        short.render(model, CLASSES, PICTURE, None)
    short.close()
