"""A model that cannot be read just now is no damaged model."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.engines.inference_engine import read_model_bytes
from pipelines.engines.onnx_engine import load_onnx_engine
from pipelines.engines.torch_engine import load_torch_engine
from pipelines.errors import ModelFormatError, ModelUnreadableError

CLASSES = ("a", "b")


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """No file can be opened any more: EMFILE."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


READERS: tuple[Callable[[Path], object], ...] = (
    read_model_bytes,
    lambda path: load_onnx_engine(path, CLASSES, 1),
    lambda path: load_torch_engine(path, CLASSES),
)


@pytest.mark.parametrize("read", READERS)
def test_a_file_that_cannot_be_opened_now_says_nothing_about_the_model(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"whatever")
    with no_descriptor_left(), pytest.raises(ModelUnreadableError, match="Too many open files"):
        read(path)
    folder, loop = tmp_path / "folder", tmp_path / "loop"
    folder.mkdir()
    loop.symlink_to(loop)
    for each in (folder, loop):
        with pytest.raises(ModelUnreadableError, match="try again"):
            read(each)


@pytest.mark.parametrize("read", READERS)
def test_a_file_that_is_not_there_is_a_fault_of_the_copy(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(ModelFormatError, match="download it again"):
        read(tmp_path / "model")
