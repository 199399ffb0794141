"""However a digit is drawn and sent, the server answers and records the same picture."""

import base64
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps

from mlplatform.context import AppContext
from mlplatform.serve.api_server import ApiServer, build_server
from pipelines.data import images_of
from pipelines.datasets.image_folder import load_image_folder
from pipelines.edge.edge_server import EdgeModel
from pipelines.image.grey_png import decode_png
from tests.support.api_server import encoded, loaded, running

SEVEN = np.zeros((28, 28), np.uint8)
SEVEN[5:9, 7:21] = 255
SEVEN[9:24, 16:20] = 255
PLAIN = Image.fromarray(SEVEN)
INK = Image.new("L", (28, 28), 0)
TURNED = Image.Exif()
TURNED[0x0112] = 6
DRAWN = {
    "light on dark": encoded(PLAIN),
    "dark on light": encoded(ImageOps.invert(PLAIN)),
    "ink on clear ground": encoded(Image.merge("RGBA", (INK, INK, INK, PLAIN))),
    "colours": encoded(Image.merge("RGB", (ImageOps.invert(PLAIN),) * 3)),
    "sixteen bits": encoded(Image.fromarray((255 - SEVEN).astype(np.uint16) * 257)),
    "turned": encoded(PLAIN.transpose(Image.Transpose.ROTATE_90), exif=TURNED.tobytes()),
}


def recorded(server: ApiServer, client: httpx.Client, sent: dict[str, object]) -> np.ndarray:
    answer = client.post("/v1/predict", **sent)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    [made] = answer.json()["predictions"]
    assert server.recorder.flush(60)
    return decode_png(client.get(f"/v1/predictions/{made['id']}/image").content)


@pytest.mark.parametrize("name", DRAWN)
def test_a_digit_is_the_same_however_it_is_drawn_and_sent(server: ApiServer, client: httpx.Client, name: str) -> None:
    data = DRAWN[name]
    ways: list[dict[str, object]] = [
        {"content": data, "headers": {"content-type": "image/png"}},
        {"files": {"files": ("a.png", BytesIO(data))}},
        {"json": {"images": [base64.b64encode(data).decode()]}},
    ]
    for sent in ways:
        assert np.array_equal(recorded(server, client, sent), SEVEN)


@pytest.mark.parametrize(("polarity", "kept"), [("light-on-dark", 255 - SEVEN), ("dark-on-light", SEVEN)])
def test_the_setting_decides_where_it_is_set(lite: AppContext, polarity: str, kept: np.ndarray) -> None:
    settings = lite.settings.model_copy(update={"polarity": polarity})
    context = lite.replace(settings=settings)
    server = build_server(context)
    server.model_slot.swap(loaded(1))
    sent = {"content": DRAWN["dark on light"], "headers": {"content-type": "image/png"}}
    with running(server) as client:
        assert np.array_equal(recorded(server, client, sent), kept)  # type: ignore[arg-type]
        numbers = {"json": {"images": [SEVEN.tolist()]}}  # these say themselves what is ink
        assert np.array_equal(recorded(server, client, numbers), SEVEN)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(28, 28), (75, 60), (9, 40)])
@pytest.mark.parametrize("name", DRAWN)
def test_trainings_and_devices_read_what_servers_read(
    server: ApiServer, client: httpx.Client, tmp_path: Path, name: str, size: tuple[int, int]
) -> None:
    folder = tmp_path / "rows" / "7"
    folder.mkdir(parents=True)
    with Image.open(BytesIO(DRAWN[name])) as opened:
        exif = opened.info.get("exif", b"")
        data = DRAWN[name] if size == (28, 28) else encoded(opened.resize(size), exif=exif)
    (folder / "a.png").write_bytes(data)
    served = recorded(server, client, {"content": data, "headers": {"content-type": "image/png"}})
    [learnt] = images_of(load_image_folder(folder.parent, {"7": 0}, height=28, width=28).batch)
    device = EdgeModel.__new__(EdgeModel)
    device.height, device.width = 28, 28
    assert np.array_equal(learnt, served)
    assert np.array_equal(device.decode_image(data, "it"), served)
