"""A raw tensor is read exactly as its headers say, or refused in words."""

import numpy as np
import pytest

from mlplatform.errors import InvalidInputError, TooLargeError
from mlplatform.serve.inference.raw_tensor import RawTensor
from mlplatform.serve.inference.request_decoder import ImageDecoder
from pipelines.data import images_of
from tests.support.platform_world import picture

DECODER = ImageDecoder(28, 28, 5, 4e6)
TWO = np.stack([picture(1), picture(2)])


@pytest.mark.parametrize("shape", ["", "2,28,28", "2, 1, 28, 28"])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_both_kinds_hold_the_same_pictures(kind: str, shape: str) -> None:
    images = images_of(RawTensor(TWO.astype(kind).tobytes(), kind, shape).to_model_input(DECODER))
    assert np.array_equal(images, TWO)
    assert images.dtype == np.uint8


def test_one_picture_needs_no_number_of_pictures() -> None:
    batch = RawTensor(picture(1).tobytes(), shape="28,28").to_model_input(DECODER)
    assert images_of(batch).shape == (1, 28, 28)


def test_floats_are_rounded_as_in_json() -> None:
    values = np.full((28, 28), 6.6, dtype=np.float32)
    assert (images_of(RawTensor(values.tobytes(), "float32").to_model_input(DECODER)) == 7).all()


@pytest.mark.parametrize(
    ("tensor", "complaint"),
    [
        (RawTensor(b""), "the tensor has 0 bytes; 1 × 28 × 28 of uint8 have 784"),
        (RawTensor(b"x" * 785), "has 785 bytes"),
        (RawTensor(b"x" * 784, shape="2,28,28"), "2 × 28 × 28 of uint8 have 1568"),
        (RawTensor(b"", shape="0,28,28"), "has 0 bytes"),
        (RawTensor(b"x" * 784, shape="1,14,56"), "takes n×28×28"),
        (RawTensor(b"x" * 784, shape="1,3,28,28"), "takes n×28×28"),
        (RawTensor(b"x" * 784, shape="one"), "is no list of sizes"),
        (RawTensor(b"x" * 784, shape="-1,28,28"), "is no list of sizes"),
        (RawTensor(b"x" * 784, "float64"), "send uint8 or float32"),
        (RawTensor(np.full(784, np.nan, "<f4").tobytes(), "float32"), "outside 0 to 255"),
        (RawTensor(np.full(784, 256, "<f4").tobytes(), "float32"), "outside 0 to 255"),
        (RawTensor(np.full(784, -1, "<f4").tobytes(), "float32"), "outside 0 to 255"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(tensor: RawTensor, complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        tensor.to_model_input(DECODER)


def test_too_many_pictures_are_refused_before_they_are_read() -> None:
    with pytest.raises(TooLargeError, match="at most 5"):
        RawTensor(b"", shape="999999999,28,28").to_model_input(DECODER)
