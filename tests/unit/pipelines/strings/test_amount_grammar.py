"""Which texts are amounts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.strings.amount_grammar import AmountGrammar
from tests.support.amounts import is_amount

AMOUNTS = [
    "0",
    "7",
    "1000",
    "123456789",
    "1.000",
    "12.345.678",
    "123.456,78",
    "5,00",
    "0,50",
    "$15",
    "**1.250#",
    "#7,00*",
    "5.-",
    "5,-",
    "127.",
    "5000.-",
    "1.000.=",
    "800=",
    "17-##",
]
NO_AMOUNTS = [
    " ",
    "00",
    "012",
    "1234567890",
    "1.00",
    "1234.567",
    "1.0000",
    ".5",
    "5,0",
    "5,000",
    "5,00=",
    "$",
    "*",
    "1..000",
    "5--",
    "1$",
    "5,",
    "0.5",
    "#",
    "12a",
    "1.234.56",
]


@pytest.mark.parametrize("text", AMOUNTS)
def test_an_amount_is_accepted(text: str) -> None:
    assert is_amount(text)


@pytest.mark.parametrize("text", NO_AMOUNTS)
def test_what_is_no_amount_is_not(text: str) -> None:
    assert not is_amount(text)


def test_the_empty_text_is_no_amount() -> None:
    assert not is_amount("")


@given(st.integers(0, 10**9 - 1))
def test_every_number_up_to_nine_digits_is_one_written_plainly_and_in_groups(number: int) -> None:
    assert is_amount(str(number))
    assert is_amount(f"{number:,}".replace(",", "."))
    assert is_amount(f"{number:,}".replace(",", ".") + ",05")


@given(st.text("0123456789.,-=*#$", max_size=8))
def test_an_amount_has_no_second_ending(text: str) -> None:
    if is_amount(text):
        assert not is_amount(text + "*1")
        assert is_amount(text + "#")


def test_the_longest_amount_counts_digits_before_the_cents() -> None:
    assert is_amount("1.234,56", AmountGrammar(longest=4))
    assert not is_amount("12.345", AmountGrammar(longest=4))
    with pytest.raises(DataError, match="longest amount is 0"):
        AmountGrammar(longest=0)
