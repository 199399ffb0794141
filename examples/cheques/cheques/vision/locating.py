"""Finds the cheque in a picture, turns it flat and upright, and says where its fields are.

Each outline that may be a cheque is turned flat, both ways up; the one on which most is found is taken: a code line
whose check digits fit, then a code line at all, then a frame for the amount.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cheques.code_line import CodeLine, parse_code_line
from cheques.errors import CodeLineError
from cheques.vision.amount_field import find_amount_frame, find_writing
from cheques.vision.cheque_outline import cheque_outlines
from cheques.vision.code_line_reading import PrintedLine, read_code_line
from cheques.vision.geometry import Box, Pixels, flattened, grey, half_turned

COMPLETE: Final = 3


@dataclass(frozen=True, eq=False)
class LocatedCheque:
    """A cheque that was turned flat (HEIGHT, WIDTH, 3), and what was found on it."""

    pixels: Pixels
    frame: Box | None
    writing: Box | None
    line: PrintedLine | None
    code: CodeLine | None
    code_fault: str

    @property
    def found(self) -> int:
        """How much of a cheque there is: 2 for a code line that fits, 1 for a frame."""
        return 2 * (self.code is not None) + (self.frame is not None)

    @property
    def amount_picture(self) -> Pixels | None:
        """The greys of what is written in the amount's field; None where nothing is."""
        return None if self.writing is None else self.writing.cut(grey(self.pixels))


def locate_cheque(pixels: Pixels) -> LocatedCheque:
    """The likeliest cheque in a picture (height, width, 3); where nothing is found, the whole picture."""
    best: LocatedCheque | None = None
    for corners in cheque_outlines(pixels):
        flat = flattened(pixels, corners)
        for upright in (flat, half_turned(flat)):
            looked = _look(upright)
            if best is None or looked.found > best.found or (looked.found == best.found == 0):
                best = looked
            if best.found == COMPLETE:
                return best
    assert best is not None  # the whole picture is always tried
    return best


def _look(flat: Pixels) -> LocatedCheque:
    greys = grey(flat)
    frame = find_amount_frame(greys)
    writing = None if frame is None else find_writing(greys, frame)
    line = read_code_line(greys)
    if line is None:
        return LocatedCheque(flat, frame, writing, None, None, "no code line was found at the foot of the cheque")
    try:
        return LocatedCheque(flat, frame, writing, line, parse_code_line(line.text), "")
    except CodeLineError as error:
        return LocatedCheque(flat, frame, writing, line, None, str(error))
