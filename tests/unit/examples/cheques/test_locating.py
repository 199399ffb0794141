"""A cheque's fields are found whatever the camera did to it, within the angles and the blur that are promised."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("cv2", reason="examples/cheques needs OpenCV (pip install opencv-python-headless)")

from cheques.rendering.cheque_form import AMOUNT_FRAME, CODE_LINE_PLACE, ChequeText, draw_cheque
from cheques.rendering.handwriting import WrittenAmount, bundled_writer, thick_marker
from cheques.rendering.photograph import Shot, photograph
from cheques.vision.amount_field import digit_places
from cheques.vision.geometry import grey
from cheques.vision.locating import locate_cheque
from tests.support.cheques_world import cheque_picture, code_of

ANGLES = (-8.0, -4.0, 0.0, 4.0, 8.0)


def pixels_of(picture: bytes) -> NDArray[np.uint8]:
    with Image.open(BytesIO(picture)) as opened:
        return np.asarray(opened.convert("RGB"))


def assert_found(picture: bytes, serial: int) -> None:
    found = locate_cheque(pixels_of(picture))
    assert found.code == code_of(serial), found.code_fault
    assert found.frame is not None
    assert np.abs(np.array(found.frame) - np.array(AMOUNT_FRAME)).max() <= 14
    assert found.writing is not None
    assert found.line is not None
    assert abs(found.line.box.x - CODE_LINE_PLACE[0]) <= 14
    assert found.line.box.y > 440


@pytest.mark.parametrize("turn", ANGLES)
@pytest.mark.parametrize("tilt", ANGLES)
def test_a_turned_and_tilted_cheque_is_found(turn: float, tilt: float) -> None:
    serial = int(10 * (turn + 8) + tilt + 8)
    assert_found(
        cheque_picture(code_of(serial), Shot(turn=turn, tilt=tilt, pan=-tilt, shade=30, noise=3), serial), serial
    )


@pytest.mark.parametrize("blur", [0.0, 0.7, 1.3, 1.7])
@pytest.mark.parametrize("quality", [50, 90])
def test_a_soft_picture_is_found(blur: float, quality: int) -> None:
    assert_found(cheque_picture(code_of(7), Shot(turn=3, tilt=-5, blur=blur, quality=quality, noise=4), 7), 7)


def test_a_cheque_upside_down_or_on_its_side_is_turned() -> None:
    usual = pixels_of(cheque_picture(code_of(5), Shot(turn=2, tilt=3)))
    for quarter_turns in (1, 2, 3):
        found = locate_cheque(np.ascontiguousarray(np.rot90(usual, quarter_turns)))
        assert found.code == code_of(5), found.code_fault


def test_a_scan_that_is_all_cheque_is_found() -> None:
    rng = np.random.default_rng(4)
    drawn = draw_cheque(bundled_writer()(rng), ChequeText(code_of(9)), rng)
    found = locate_cheque(drawn)
    assert found.code == code_of(9)
    assert found.writing is not None


def test_a_thick_marker_does_not_hide_the_field() -> None:
    rng = np.random.default_rng(4)
    drawn = draw_cheque(thick_marker(bundled_writer()(rng)), ChequeText(code_of(9)), rng)
    assert_found(photograph(drawn, Shot(turn=-4, pan=4), rng), 9)


def test_an_empty_field_holds_no_writing() -> None:
    rng = np.random.default_rng(4)
    nothing = WrittenAmount(np.zeros((40, 120), np.float32), "")
    found = locate_cheque(draw_cheque(nothing, ChequeText(code_of(9)), rng))
    assert found.frame is not None
    assert found.writing is None
    assert found.amount_picture is None


@pytest.mark.parametrize("kind", ["noise", "white", "black", "stripes"])
def test_a_picture_without_a_cheque_shows_no_code_line(kind: str) -> None:
    rng = np.random.default_rng(1)
    shape = (600, 900, 3)
    pictures = {
        "noise": rng.integers(0, 256, shape),
        "white": np.full(shape, 255),
        "black": np.zeros(shape),
        "stripes": np.broadcast_to((np.arange(900) // 9 % 2 * 255)[None, :, None], shape),
    }
    found = locate_cheque(pictures[kind].astype(np.uint8))
    assert found.code is None
    assert found.code_fault


def test_a_smudged_code_line_is_not_guessed() -> None:
    rng = np.random.default_rng(4)
    drawn = draw_cheque(bundled_writer()(rng), ChequeText(code_of(9)), rng)
    drawn[470:515, 300:420] = 120
    found = locate_cheque(drawn)
    assert found.code is None
    assert found.frame is not None


def test_each_digit_that_stands_apart_has_its_own_box() -> None:
    picture = np.full((540, 1200, 3), 240, np.uint8)
    left, top, width, height = AMOUNT_FRAME
    picture[top : top + 3, left : left + width] = picture[top + height - 3 : top + height, left : left + width] = 0
    picture[top : top + height, left : left + 3] = picture[top : top + height, left + width - 3 : left + width] = 0
    for at in (880, 930, 980):
        picture[top + 15 : top + 60, at : at + 20] = 20
    found = locate_cheque(picture)
    assert found.writing is not None
    boxes, is_exact = digit_places(grey(found.pixels), found.writing, 3)
    assert is_exact
    assert [abs(box.x - at) <= 3 for box, at in zip(boxes, (880, 930, 980), strict=True)] == [True] * 3
    shared, is_exact = digit_places(grey(found.pixels), found.writing, 4)
    assert not is_exact
    assert len(shared) == 4


def test_the_same_seed_renders_the_same_picture() -> None:
    shot = Shot(turn=1, noise=3, shade=20)
    assert cheque_picture(code_of(1), shot, 3) == cheque_picture(code_of(1), shot, 3)
    assert cheque_picture(code_of(1), shot, 3) != cheque_picture(code_of(1), replace(shot, turn=2), 3)
