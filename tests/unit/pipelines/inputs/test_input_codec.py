"""Codecs of inputs hold the contract, and a picture's identity is what it always was."""

import numpy as np
import pytest

from pipelines.batch import Batch
from pipelines.builtin.digits import PIPELINE
from pipelines.data import content_hash, image_rows, images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.errors import DataError, ModelFormatError
from pipelines.image.grey_png import pack_image
from pipelines.input_row import InputRow
from pipelines.inputs.codec_of import codec_of
from pipelines.inputs.image_codec import ImageCodec
from pipelines.inputs.input_codec import InputCodec
from registry.model_contract import ImageInputs
from tests.support.input_codec_contract import InputCodecContract, identity


class TestImageCodec(InputCodecContract):
    def codec(self) -> InputCodec:
        return ImageCodec(28, 28)

    def drawn(self, count: int) -> Batch:
        return load_optdigits().batch[:count]

    def pack(self, row: InputRow) -> bytes:
        return pack_image(row)


def test_a_row_is_its_picture_also_where_that_does_not_lie_in_one_piece() -> None:
    images = images_of(load_optdigits().batch)[:4, ::2, ::3]
    rows = image_rows(images)
    assert [row.content_hash for row in rows] == [content_hash(image) for image in images]
    assert [row.content_hash for row in rows] == [identity(row) for row in rows]
    assert [row.form for row in rows] == ["14x10"] * 4
    assert image_rows(images[:0]) == []


def test_pictures_of_another_size_are_named() -> None:
    [small] = image_rows(np.zeros((1, 12, 9), dtype=np.uint8))
    codec = codec_of(PIPELINE.contract.inputs)
    assert codec.form_mismatch(small.form) == "its input is of the form 12x9, the model takes 28x28"


def test_inputs_that_no_codec_takes_are_refused_by_what_they_are() -> None:
    with pytest.raises(ModelFormatError, match=r"no codec takes ImageInputs\(height=8, width=8, channels=3\)"):
        codec_of(ImageInputs(8, 8, 3))


def test_a_row_whose_bytes_are_too_few_or_too_many_is_refused() -> None:
    for content in (b"", b"123", b"12345"):
        with pytest.raises(DataError, match=r"an input of the form 2x2 has . bytes where it needs 4"):
            InputRow("2x2", content).check()
    InputRow("2x2", b"1234").check()


def test_a_form_that_is_neither_picture_nor_row_is_refused() -> None:
    for form in ("", "x", "2x", "2y2", "-2x2", "2" * 40 + "x" + "2" * 40):
        with pytest.raises(DataError, match="is no form of a grey picture"):
            InputRow(form, b"1234").check()
    with pytest.raises(DataError, match="is the JSON array of a row's values"):
        InputRow("row:0123456789abcdef", b"1234").check()


def test_the_identity_of_a_picture_never_changes() -> None:
    row = image_rows(np.arange(6, dtype=np.uint8).reshape(1, 2, 3))[0]
    assert row == InputRow("2x3", bytes(range(6)))
    assert row.content_hash == "b413fbd0957bb05c7ca7ce9a03ec4319418e2c3fc692f3a1c15de3f3e7e7ad05"
