"""What got worse or better from one rendered card to another, by the numbers of its tables; it knows no model."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

INTERVAL: Final = "95 % interval"
_LIMITS = re.compile(r"^(-?\d+(?:\.\d+)?) to (-?\d+(?:\.\d+)?)$")
_LOW_IS_GOOD = re.compile(r"error|nll|brier|loss|gap", re.IGNORECASE)
_COUNTS: Final = ("Rows", "Group rows")


@dataclass(frozen=True)
class Number:
    """One number of a card with its limits."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Change:
    """The same number on both cards; `gain` is positive where the later card is better."""

    name: str
    before: Number
    after: Number

    @property
    def gain(self) -> float:
        difference = self.after.value - self.before.value
        return -difference if _LOW_IS_GOOD.search(self.name) else difference

    @property
    def is_certain(self) -> bool:
        """Whether the intervals lie apart, so that chance does not explain the change."""
        return self.after.high < self.before.low or self.after.low > self.before.high

    @property
    def text(self) -> str:
        return f"{self.name}: {_shown(self.before)} before, {_shown(self.after)} now"


def summary(before: str, after: str) -> str:
    """The changes of two cards in the order of their gravity; empty where no number with an interval changed."""
    old, new = dict(_numbers(before)), dict(_numbers(after))
    changes = [Change(name, old[name], new[name]) for name in new if name in old]
    changes = sorted((each for each in changes if each.gain), key=lambda each: each.gain)
    parts = {
        "Worse, beyond its uncertainty": [each for each in changes if each.is_certain and each.gain < 0],
        "Better, beyond its uncertainty": [each for each in reversed(changes) if each.is_certain and each.gain > 0],
    }
    within = sum(not each.is_certain for each in changes)
    lines = [f"{title}:\n" + "\n".join(f"  {each.text}" for each in some) for title, some in parts.items() if some]
    if within:
        lines.append(f"Within its uncertainty: {within} more number{'s' if within > 1 else ''}.")
    return "\n".join(lines)


def _numbers(card: str) -> Iterator[tuple[str, Number]]:
    """Every number that stands beside its interval, by its section and the words of its row."""
    section, header = "", list[str]()
    for line in card.splitlines():
        if line.startswith("## "):
            section, header = line[3:], []
        elif not line.startswith("|"):
            header = []
        else:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not header:
                header = cells
            elif (number := _number(header, cells)) is not None:
                yield f"{section}, {_name(header, cells)}", number


def _number(header: Sequence[str], cells: Sequence[str]) -> Number | None:
    if INTERVAL not in header or len(cells) != len(header):
        return None
    place = header.index(INTERVAL)
    limits = _LIMITS.match(cells[place])
    try:
        return None if limits is None else Number(float(cells[place - 1]), float(limits[1]), float(limits[2]))
    except ValueError:
        return None


def _name(header: Sequence[str], cells: Sequence[str]) -> str:
    """The words of a row before its number, each further one with the name of its column: "contrast level 3"."""
    place = header.index(INTERVAL) - 1
    words = [(title, cell) for title, cell in zip(header[:place], cells, strict=False) if cell and title not in _COUNTS]
    named = [cell if number == 0 else f"{title.lower()} {cell}" for number, (title, cell) in enumerate(words)]
    return f"{' '.join(named)} ({header[place].lower()})"


def _shown(number: Number) -> str:
    return f"{number.value:g} ({number.low:g} to {number.high:g})"
