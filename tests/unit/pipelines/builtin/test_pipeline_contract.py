"""Every built-in pipeline keeps the contract of pipelines."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from pipelines.discovery import pipeline_names
from tests.support.drawn_data import draw_glyphs, encode_idx
from tests.support.drawn_strings import write_string_folder
from tests.support.pipeline_contract import ClassPipelineContract, PipelineContract


class TestDigits(ClassPipelineContract):
    name: ClassVar = "digits"


class TestArabic(ClassPipelineContract):
    name: ClassVar = "arabic"
    max_parameters: ClassVar = 200_000

    def write_data(self, folder: Path) -> None:
        images = np.zeros((60, 28, 28))  # to be enlarged
        images[:, 6:22, 6:22] = np.random.default_rng(0).integers(0, 256, (60, 16, 16))
        (folder / "some-images-idx3-ubyte").write_bytes(encode_idx(images))
        (folder / "some-labels-idx1-ubyte").write_bytes(encode_idx(np.arange(60) % 10))


class TestCharacters(ClassPipelineContract):
    name: ClassVar = "characters"

    def write_data(self, folder: Path) -> None:
        draw_glyphs(folder, "07Aa", 12)


class TestStrings(PipelineContract):
    name: ClassVar = "strings"

    def write_data(self, folder: Path) -> None:
        write_string_folder(folder, [str(101 + number * number) for number in range(60)])


def test_every_built_in_pipeline_is_tested() -> None:
    kinds = (ClassPipelineContract, PipelineContract)
    tested = {contract.name for kind in kinds for contract in kind.__subclasses__() if contract not in kinds}
    assert set(pipeline_names()) <= tested
