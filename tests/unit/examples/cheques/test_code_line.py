"""A code line is taken only whole and with check digits that fit."""

import pytest

pytest.importorskip("cv2", reason="examples/cheques needs OpenCV (pip install opencv-python-headless)")

from cheques.code_line import CodeLine, parse_code_line
from cheques.errors import CodeLineError

CODE = CodeLine("004711", "2600", "0012345678")


def test_a_printed_line_names_its_cheque_again() -> None:
    assert parse_code_line(CODE.text) == CODE
    assert parse_code_line(f" {CODE.text[:9]} {CODE.text[9:]}\n") == CODE
    assert CODE.account_key == "26000012345678"


@pytest.mark.parametrize("place", [at for at, character in enumerate(CODE.text) if character != "<"])
def test_every_single_wrong_digit_is_seen(place: int) -> None:
    for digit in set("0123456789") - {CODE.text[place]}:
        with pytest.raises(CodeLineError, match="check digits"):
            parse_code_line(CODE.text[:place] + digit + CODE.text[place + 1 :])


def test_every_swap_of_two_neighbours_is_seen() -> None:
    for place in range(len(CODE.text) - 1):
        first, second = CODE.text[place], CODE.text[place + 1]
        if first != second and "<" not in (first, second):
            with pytest.raises(CodeLineError):
                parse_code_line(CODE.text[:place] + second + first + CODE.text[place + 2 :])


@pytest.mark.parametrize("text", ["", "<", CODE.text[:-1], CODE.text + "0", "٣" * 6 + CODE.text[6:], "4" * 5000])
def test_what_is_no_line_is_refused_with_its_form(text: str) -> None:
    with pytest.raises(CodeLineError, match="not of the form"):
        parse_code_line(text)
