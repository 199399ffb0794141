"""Compares two rendered model cards: which numbers got better or worse."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

INTERVAL_COLUMN: Final = "95 % interval"
_LIMITS = re.compile(r"^(-?\d+(?:\.\d+)?) to (-?\d+(?:\.\d+)?)$")
_LOWER_IS_BETTER = re.compile(r"error|nll|brier|loss|gap", re.IGNORECASE)
_COUNT_COLUMNS: Final = ("Rows", "Group rows")


@dataclass(frozen=True)
class IntervalValue:
    """One number of a card with its limits."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MetricChange:
    """The same number on both cards; `improvement` is positive where the later card is better."""

    name: str
    before: IntervalValue
    after: IntervalValue

    @property
    def improvement(self) -> float:
        difference = self.after.value - self.before.value
        return -difference if _LOWER_IS_BETTER.search(self.name) else difference

    @property
    def is_significant(self) -> bool:
        """Whether the intervals lie apart, so that chance does not explain the change."""
        return self.after.high < self.before.low or self.after.low > self.before.high

    @property
    def text(self) -> str:
        return f"{self.name}: {_value_text(self.before)} before, {_value_text(self.after)} now"


def change_summary(before: str, after: str) -> str:
    """The changes of two cards in the order of their gravity; empty where no number with an interval changed."""
    old, new = dict(_interval_values(before)), dict(_interval_values(after))
    changes = [MetricChange(name, old[name], new[name]) for name in new if name in old]
    changes = sorted((change for change in changes if change.improvement), key=lambda change: change.improvement)
    parts = {
        "Worse, beyond its uncertainty": [
            change for change in changes if change.is_significant and change.improvement < 0
        ],
        "Better, beyond its uncertainty": [
            change for change in reversed(changes) if change.is_significant and change.improvement > 0
        ],
    }
    within = sum(not change.is_significant for change in changes)
    lines = [f"{title}:\n" + "\n".join(f"  {change.text}" for change in some) for title, some in parts.items() if some]
    if within:
        lines.append(f"Within its uncertainty: {within} more number{'s' if within > 1 else ''}.")
    return "\n".join(lines)


def _interval_values(card: str) -> Iterator[tuple[str, IntervalValue]]:
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
            elif (number := _interval_value(header, cells)) is not None:
                yield f"{section}, {_row_name(header, cells)}", number


def _interval_value(header: Sequence[str], cells: Sequence[str]) -> IntervalValue | None:
    if INTERVAL_COLUMN not in header or len(cells) != len(header):
        return None
    place = header.index(INTERVAL_COLUMN)
    limits = _LIMITS.match(cells[place])
    try:
        return None if limits is None else IntervalValue(float(cells[place - 1]), float(limits[1]), float(limits[2]))
    except ValueError:
        return None


def _row_name(header: Sequence[str], cells: Sequence[str]) -> str:
    """The words of a row before its number, each further one with the name of its column: "contrast level 3"."""
    place = header.index(INTERVAL_COLUMN) - 1
    words = [
        (title, cell)
        for title, cell in zip(header[:place], cells, strict=False)
        if cell and title not in _COUNT_COLUMNS
    ]
    named = [cell if number == 0 else f"{title.lower()} {cell}" for number, (title, cell) in enumerate(words)]
    return f"{' '.join(named)} ({header[place].lower()})"


def _value_text(number: IntervalValue) -> str:
    return f"{number.value:g} ({number.low:g} to {number.high:g})"
