"""What a picture becomes on an edge device and in the API server: the same pixels, whatever it is."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from mlplatform.errors import InvalidInputError, TooLargeError
from mlplatform.serve.inference.request_decoder import ImageDecoder
from pipelines.edge.edge_server import EdgeModel, RequestRejectedError

HEIGHT, WIDTH = 28, 24
SERVER = ImageDecoder(HEIGHT, WIDTH, max_images=8, max_pixels=25e6)
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
SIZES = ((WIDTH, HEIGHT), (60, 31), (9, 40), (1, 500))


def device() -> EdgeModel:
    """An edge model that only decodes."""
    model = EdgeModel.__new__(EdgeModel)
    model.height, model.width = HEIGHT, WIDTH
    return model


def picture(mode: str, size: tuple[int, int]) -> Image.Image:
    draw = np.random.default_rng(sum(size))
    colours = Image.fromarray(draw.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8), "RGBA")
    if mode == "I;16":
        return Image.fromarray(draw.integers(0, 2**16, (size[1], size[0]), dtype=np.uint16))
    if mode == "P":
        palette = colours.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
        palette.info["transparency"] = 3
        return palette
    return colours.convert(mode)


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
def test_a_png_of_any_kind_and_size_becomes_the_same_pixels(mode: str, size: tuple[int, int]) -> None:
    data = encoded(picture(mode, size), "PNG")
    [served] = SERVER.decode_images([data])
    assert served.shape == (HEIGHT, WIDTH)
    assert np.array_equal(device().decode_image(data, "it"), served)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_becomes_the_same_pixels(mode: str) -> None:
    data = encoded(picture("RGB", (60, 31)).convert(mode), "JPEG")
    assert np.array_equal(device().decode_image(data, "it"), SERVER.decode_images([data])[0])


@pytest.mark.parametrize("kind", [int, float, np.float32, lambda value: value + 0.4])
def test_numbers_become_the_same_pixels(kind: type) -> None:
    numbers = [[kind((7 * row + column) % 250) for column in range(WIDTH)] for row in range(HEIGHT)]
    assert np.array_equal(device().decode_image(numbers, "it"), SERVER.decode_images([numbers])[0])


@pytest.mark.parametrize(
    "item",
    [b"", b"GIF89a", encoded(picture("L", (20, 20)), "PNG")[:60], "no base64!", [[300] * WIDTH] * HEIGHT, [[1]],
     [["1"] * WIDTH] * HEIGHT, None, [[True] * WIDTH] * HEIGHT, [[float("nan")] * WIDTH] * HEIGHT],
    ids=str,
)  # fmt: skip
def test_what_one_refuses_the_other_refuses(item: object) -> None:
    with pytest.raises((InvalidInputError, TooLargeError)):
        SERVER.decode_images([item])
    with pytest.raises(RequestRejectedError):
        device().decode_image(item, "it")
