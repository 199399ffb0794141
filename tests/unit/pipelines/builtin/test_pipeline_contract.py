"""Every built-in pipeline keeps the contract of pipelines."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from pipelines.discovery import pipeline_names
from tests.support.drawn_data import draw_glyphs, encode_idx
from tests.support.pipeline_contract import PipelineContract


class TestDigits(PipelineContract):
    name: ClassVar = "digits"


class TestArabic(PipelineContract):
    name: ClassVar = "arabic"
    max_parameters: ClassVar = 200_000

    def write_data(self, folder: Path) -> None:
        images = np.zeros((60, 28, 28))  # to be enlarged
        images[:, 6:22, 6:22] = np.random.default_rng(0).integers(0, 256, (60, 16, 16))
        (folder / "some-images-idx3-ubyte").write_bytes(encode_idx(images))
        (folder / "some-labels-idx1-ubyte").write_bytes(encode_idx(np.arange(60) % 10))


class TestCharacters(PipelineContract):
    name: ClassVar = "characters"

    def write_data(self, folder: Path) -> None:
        draw_glyphs(folder, "07Aa", 12)


def test_every_built_in_pipeline_is_tested() -> None:
    tested = {contract.name for contract in PipelineContract.__subclasses__()}
    assert set(pipeline_names()) <= tested
