"""How a rule's value went up to a notice: as a line of block characters, and as a picture where one was drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from monitors.rules import quantities
from monitors.rules.alerts_config import Rule

BLOCKS: Final = "▁▂▃▄▅▆▇█"
MAX_BLOCKS: Final = 32
MIN_VALUES: Final = 2
"""Fewer say nothing of a course."""


@dataclass(frozen=True)
class Trend:
    """Values in order of time, oldest first, what was allowed, and all of it in words; `png` may be empty."""

    values: tuple[float, ...]
    allowed: float
    caption: str
    png: bytes = b""

    @property
    def blocks(self) -> str:
        """The values as block characters, from the lowest of values and limit to the highest."""
        values = thinned(self.values, MAX_BLOCKS)
        low, high = min(*values, self.allowed), max(*values, self.allowed)
        steps = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
        return "".join(BLOCKS[round((value - low) * steps)] for value in values)

    @property
    def text(self) -> str:
        """The line of blocks with its caption."""
        return f"{self.blocks} {self.caption}"


def trend_of(rule: Rule, values: Sequence[float], noun: str) -> Trend | None:
    """The course of a rule's value, `noun` what it is about; None where there is none to show."""
    if len(values) < MIN_VALUES:
        return None
    first, last, allowed = (
        quantities.metric_value_text(rule.metric, value) for value in (values[0], values[-1], rule.threshold)
    )
    about = f" of {noun}" if noun else ""
    count = quantities.count_text(len(values), "evaluation")
    caption = f"{rule.metric}{about}, {count}: {first} to {last}; allowed {allowed}"
    return Trend(tuple(values), rule.threshold, quantities.single_line(caption))


def thinned(values: Sequence[float], most: int) -> list[float]:
    """At most so many of the values, evenly chosen, the last one always."""
    if len(values) <= most:
        return list(values)
    return [values[round(place * (len(values) - 1) / (most - 1))] for place in range(most)]
