"""The grammar of a written amount, as an automaton that a decoder follows character by character.

    amount  = { fill } [ "$" ] whole [ cents | end ] { fill }
    whole   = "0" | plain | grouped
    plain   = nonzero { digit }                           at most `longest` digits
    grouped = nonzero [ digit [ digit ] ] group { group } at most `longest` digits
    group   = "." digit digit digit
    cents   = "," digit digit
    end     = [ "." ] [ "-" | "=" ] | ",-"
    fill    = "*" | "#"

Fill closes the field against additions. A recogniser of digits alone, such as one taught on ORAND-CAR-A, whose labels
leave out all other strokes, reads "0" or `plain`: no zero in front of other digits, a limited length.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from pipelines.errors import DataError
from pipelines.strings.string_alphabet import DIGITS

FILL: Final = "*#"
CURRENCY: Final = "$"
END: Final = "-="
LONGEST_AMOUNT: Final = 9


class _Place(Enum):
    """Where in an amount a reader stands."""

    FRONT = "before the first digit"
    CURRENCY = "after the currency"
    ZERO = "after a single zero"
    PLAIN = "in digits without dots"
    GROUPED = "in or after a group of three"
    DOT = "after a dot that a group may follow"
    STOP = "after a dot that ends the amount"
    COMMA = "after a comma"
    CENTS = "in the cents"
    CLOSED = "after the end"


class GrammarState(NamedTuple):
    """A place, the digits of the whole part so far, and the digits of the present group or of the cents."""

    place: _Place
    digits: int = 0
    group: int = 0


@dataclass(frozen=True)
class AmountGrammar:
    """Amounts of at most `longest` digits before the cents."""

    longest: int = LONGEST_AMOUNT

    def __post_init__(self) -> None:
        if self.longest < 1:
            raise DataError(f"longest amount is {self.longest} digits; give 1 or more")

    @property
    def start(self) -> GrammarState:
        """Where every amount begins."""
        return GrammarState(_Place.FRONT)

    def following(self, state: GrammarState, character: str) -> GrammarState | None:
        """Where one more character leads; None where no amount goes on with it."""
        if character in DIGITS:
            return self._after_digit(state, character)
        if state.place is _Place.FRONT:
            return {CURRENCY: GrammarState(_Place.CURRENCY), "*": state, "#": state}.get(character)
        if state.place is _Place.COMMA:
            return GrammarState(_Place.CLOSED) if character == "-" else None
        if not self.is_accepting(state):
            return None
        return _after_mark(state, character)

    def is_accepting(self, state: GrammarState) -> bool:
        """Whether an amount may end here."""
        if state.place is _Place.GROUPED:
            return state.group == 3
        if state.place is _Place.CENTS:
            return state.group == 2
        return state.place in (_Place.ZERO, _Place.PLAIN, _Place.DOT, _Place.STOP, _Place.CLOSED)

    def _after_digit(self, state: GrammarState, digit: str) -> GrammarState | None:
        place, digits, group = state
        if place in (_Place.FRONT, _Place.CURRENCY):
            return GrammarState(_Place.ZERO if digit == "0" else _Place.PLAIN, 1)
        if place is _Place.COMMA or (place is _Place.CENTS and group < 2):
            return GrammarState(_Place.CENTS, digits, group + 1)
        if digits >= self.longest:
            return None
        if place is _Place.PLAIN:
            return GrammarState(place, digits + 1)
        if place is _Place.DOT or (place is _Place.GROUPED and group < 3):
            return GrammarState(_Place.GROUPED, digits + 1, group + 1)
        return None


def _after_mark(state: GrammarState, mark: str) -> GrammarState | None:
    """Where a mark leads from a place at which an amount may end."""
    place, digits, _ = state
    if mark in FILL or (mark in END and place not in (_Place.CENTS, _Place.CLOSED)):
        return GrammarState(_Place.CLOSED)
    if mark == "." and place in (_Place.ZERO, _Place.PLAIN, _Place.GROUPED):
        before_group = place is _Place.GROUPED or (place is _Place.PLAIN and digits <= 3)
        return GrammarState(_Place.DOT if before_group else _Place.STOP, digits)
    if mark == "," and place in (_Place.ZERO, _Place.PLAIN, _Place.GROUPED):
        return GrammarState(_Place.COMMA, digits)
    return None
