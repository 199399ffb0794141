"""What every inference engine must keep: a subclass says how a version's folder is loaded, and which file it reads.

    class TestTorch(EngineContract):
        file: ClassVar = MODEL_FILE

        def load(self, folder: Path, classes: tuple[str, ...]) -> InferenceEngine:
            return load_torch_engine(folder / MODEL_FILE, classes)

The folder holds one small model of bars in every format that is bundled. Answers are held against the network that it
was exported from, computed by PyTorch in evaluation mode.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipelines.data import image_batch, images_of
from pipelines.engines.exportable import Exportable, build_exportable, save_exportable
from pipelines.engines.inference_engine import CHUNK_ROWS, InferenceEngine, to_network_input
from pipelines.engines.onnx_engine import export_onnx
from pipelines.errors import DataError, ModelFormatError
from pipelines.training.network import build_network
from registry.model_package import MODEL_FILE, ONNX_FILE
from tests.support.bars import TINY, draw_bars

CLASSES = ("upright", "lying")
SIDE = 12


@pytest.fixture(scope="session")
def network() -> Exportable:
    """A small network that tells bars apart, in evaluation mode."""
    network = build_network(TINY, len(CLASSES), height=SIDE, width=SIDE, seed=3)
    return build_exportable(network, height=SIDE, width=SIDE)


@pytest.fixture(scope="session")
def version_folder(network: Exportable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as a version's files."""
    folder = tmp_path_factory.mktemp("version")
    save_exportable(network, folder / MODEL_FILE)
    (folder / ONNX_FILE).write_bytes(export_onnx(network))
    return folder


class EngineContract:
    """Tests of one inference engine."""

    file: ClassVar[str]
    """The file of a version that it reads, below the version's folder."""
    tolerance: ClassVar[float] = 1e-5
    """How far a probability may be from PyTorch's."""

    def load(self, folder: Path, classes: tuple[str, ...]) -> InferenceEngine:
        """The engine for the version in this folder."""
        raise NotImplementedError

    def prepare(self, folder: Path) -> None:
        """Write the engine's file into the folder, where it is none of the bundled ones; skip where that cannot be."""

    @pytest.fixture
    def folder(self, version_folder: Path) -> Path:
        """A version's files."""
        self.prepare(version_folder)
        return version_folder

    @pytest.fixture
    def engine(self, folder: Path) -> InferenceEngine:
        return self.load(folder, CLASSES)

    def test_it_knows_classes_size_and_where_it_computes(self, engine: InferenceEngine) -> None:
        assert (engine.classes, engine.image_size) == (CLASSES, (SIDE, SIDE))
        assert engine.device == "cpu"

    @pytest.mark.parametrize("rows", [0, 1, 2, CHUNK_ROWS + 44])
    def test_each_image_gets_the_probabilities_that_pytorch_computes(
        self, engine: InferenceEngine, network: Exportable, rows: int
    ) -> None:
        rows_drawn = draw_bars(rows, 5)
        answer = engine(rows_drawn.batch)
        assert (answer.shape, answer.dtype) == ((rows, len(CLASSES)), np.dtype(np.float32))
        assert np.allclose(answer.sum(axis=1), 1.0, atol=1e-6)
        assert np.allclose(answer, _computed(network, images_of(rows_drawn.batch)), atol=self.tolerance)

    def test_an_image_is_answered_alike_alone_and_among_others(self, engine: InferenceEngine) -> None:
        batch = draw_bars(7, 2).batch
        alone = np.concatenate([engine(batch[place : place + 1]) for place in range(len(batch))])
        assert np.allclose(alone, engine(batch), atol=self.tolerance)

    def test_threads_may_share_it(self, engine: InferenceEngine) -> None:
        batches = [draw_bars(5, seed).batch for seed in range(24)]
        alone = [engine(batch) for batch in batches]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(engine, batches))
        assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))

    def test_images_that_are_only_read_are_answered_without_a_warning(self, engine: InferenceEngine) -> None:
        images = images_of(draw_bars(2, 1).batch)
        images.flags.writeable = False
        assert len(engine(image_batch(images))) == 2

    @pytest.mark.parametrize(
        ("shape", "dtype"),
        [((1, 28, 28), np.uint8), ((12, 12), np.uint8), ((1, 12, 12), np.float32), ((1, 1, 12, 12), np.uint8)],
    )
    def test_images_that_do_not_fit_are_refused(
        self, engine: InferenceEngine, shape: tuple[int, ...], dtype: type[np.generic]
    ) -> None:
        with pytest.raises(DataError, match=r"give uint8 of shape \(n, 12, 12\)"):
            engine(image_batch(np.zeros(shape, dtype)))  # what a caller without types may pass

    def test_a_model_of_fewer_classes_never_answers_for_more(self, folder: Path) -> None:
        with pytest.raises(ModelFormatError, match="2"):
            self.load(folder, ("a", "b", "c"))(draw_bars(1, 1).batch)

    @pytest.mark.parametrize("content", [None, b"", b"not a model", 0.5], ids=["missing", "empty", "foreign", "half"])
    def test_a_file_that_is_no_whole_model_is_refused_by_name(
        self, folder: Path, tmp_path: Path, content: bytes | float | None
    ) -> None:
        shutil.copytree(folder, tmp_path / "broken")
        path = tmp_path / "broken" / self.file
        whole = path.read_bytes()
        path.unlink()
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else whole[: int(len(whole) * content)])
        with pytest.raises(ModelFormatError, match=path.name):
            self.load(tmp_path / "broken", CLASSES)


def _computed(network: Exportable, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The network's own answers."""
    with torch.no_grad():
        answer: NDArray[np.float32] = network.eval()(torch.from_numpy(to_network_input(images))).numpy()
    return answer
