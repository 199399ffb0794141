"""What every form of a prediction request's body must keep: a subclass encodes images, and hands a body to the decoder.

class TestRawTensor(CodecContract):
    def encode(self, images: Images) -> bytes:
        return images.tobytes()

    def decode(self, body: bytes, decoder: ImageDecoder) -> Images:
        return RawTensor(body).to_model_input(decoder)
"""

import random
from contextlib import suppress
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from mlplatform.errors import InvalidInputError, TooLargeError
from mlplatform.serve.inference.request_decoder import ImageDecoder
from tests.support.platform_world import picture

Images = NDArray[np.uint8]
DECODER = ImageDecoder(28, 28, max_images=4, max_pixels=4e6)
DAMAGED_BODIES = 150


class CodecContract:
    """Tests of one form of body."""

    resizes: ClassVar[bool] = False
    """Whether images of another size are scaled to the model's, as those in files are."""

    def encode(self, images: Images) -> bytes:
        """A body with these images (n, height, width), bright ink on dark ground."""
        raise NotImplementedError

    def decode(self, body: bytes, decoder: ImageDecoder) -> Images:
        """What the server makes of that body."""
        raise NotImplementedError

    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_images_come_out_as_they_went_in(self, count: int) -> None:
        images = np.stack([picture(seed) for seed in range(count)])
        decoded = self.decode(self.encode(images), DECODER)
        assert (decoded.shape, decoded.dtype) == ((count, 28, 28), np.dtype(np.uint8))
        assert np.array_equal(decoded, images)

    @pytest.mark.parametrize("value", [0, 1, 127, 255])
    def test_every_level_of_grey_is_kept(self, value: int) -> None:
        images = np.full((1, 28, 28), value, np.uint8)
        images[0, 10:18, 10:18] = 255  # an image of one level says nothing of its ground
        assert np.array_equal(self.decode(self.encode(images), DECODER), images)

    def test_more_images_than_are_allowed_are_refused_with_the_setting(self) -> None:
        images = np.stack([picture(seed) for seed in range(5)])
        with pytest.raises(TooLargeError, match=r"5 images in one request; at most 4 \(PLATFORM_MAX_IMAGES\)"):
            self.decode(self.encode(images), DECODER)

    def test_a_request_without_an_image_is_refused(self) -> None:
        with pytest.raises(InvalidInputError):
            self.decode(self.encode(np.zeros((0, 28, 28), np.uint8)), DECODER)

    def test_images_of_another_size_are_scaled_or_refused(self) -> None:
        body = self.encode(np.full((1, 14, 15), 255, np.uint8))
        if self.resizes:
            assert self.decode(body, DECODER).shape == (1, 28, 28)
        else:
            with pytest.raises(InvalidInputError, match="28"):
                self.decode(body, DECODER)

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.95])
    def test_a_body_that_ends_too_early_is_refused(self, share: float) -> None:
        whole = self.encode(np.stack([picture(1), picture(2)]))
        with pytest.raises((InvalidInputError, TooLargeError)):
            self.decode(whole[: int(len(whole) * share)], DECODER)

    @pytest.mark.filterwarnings("ignore:.*(EXIF|Tag data|APNG|Truncated File):UserWarning")
    def test_a_damaged_body_gives_images_of_the_models_size_or_a_typed_error(self) -> None:
        whole, chance = self.encode(np.stack([picture(1), picture(2)])), random.Random(0)
        for _ in range(DAMAGED_BODIES):
            body = bytearray(whole)
            for _ in range(chance.choice((1, 3))):
                body[chance.randrange(min(len(body), 300))] = chance.randrange(256)
            with suppress(InvalidInputError, TooLargeError):
                decoded = self.decode(bytes(body), DECODER)
                assert decoded.shape[1:] == (28, 28)
                assert decoded.dtype == np.uint8
