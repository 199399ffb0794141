"""The unit that is one observation of a rule's detector: a request, a client's hour, a length of time, an entity.

Labels of one request, one client or one stormy day are often wrong together. A detector that takes each for an
observation of its own believes in more evidence than there is.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from monitors.rules.quantities import duration_text, parse_duration

BlockKind = Literal["label", "request", "client-hour", "period", "entity"]
BLOCK_PATTERN: Final = r"^\s*(label|request|client-hour|entity:[a-z][a-z0-9_]{0,31}|\d{1,9}\s*[smhdw])\s*$"
_ENTITY = re.compile(r"entity:([a-z][a-z0-9_]{0,31})")
_MIN_PERIOD: Final = timedelta(minutes=1)
_MAX_PERIOD: Final = timedelta(days=31)
_NAMED_KINDS: Final[tuple[BlockKind, ...]] = ("label", "request", "client-hour")


@dataclass(frozen=True)
class BlockUnit:
    """What is one observation.

    `period` is the stretch of time that a block lies in, None for a request or a label, which end with themselves;
    `tag` names the entity.
    """

    kind: BlockKind
    period: timedelta | None = None
    tag: str = ""

    @property
    def text(self) -> str:
        """As it is written in alerts.yaml."""
        match self.kind:
            case "period":
                return duration_text(self.period or timedelta(0))
            case "entity":
                return f"entity:{self.tag}"
            case _:
                return self.kind

    @property
    def noun(self) -> str:
        """What one observation is, in words: "day", "request", "customer and day"."""
        match self.kind:
            case "period":
                lengths = {timedelta(days=1): "day", timedelta(hours=1): "hour", timedelta(weeks=1): "week"}
                return lengths.get(self.period or timedelta(0), f"block of {self.text}")
            case "client-hour":
                return "client and hour"
            case "entity":
                return f"{self.tag} and day"
            case _:
                return self.kind

    @property
    def step_text(self) -> str:
        """How a proof proceeds: "request by request", "by client and hour"."""
        is_one_word = self.kind in ("label", "request") or (self.kind == "period" and " " not in self.noun)
        return f"{self.noun} by {self.noun}" if is_one_word else f"by {self.noun}"


LABEL_UNIT: Final = BlockUnit("label")
REQUEST_UNIT: Final = BlockUnit("request")
DAY_UNIT: Final = BlockUnit("period", timedelta(days=1))


def parse_block_unit(written: object) -> BlockUnit:
    """Turn "request", "client-hour", "1d", "entity:customer" or "label" into a unit."""
    if isinstance(written, BlockUnit):
        return written
    text = written.strip() if isinstance(written, str) else ""
    if text in _NAMED_KINDS:
        kind = next(name for name in _NAMED_KINDS if name == text)
        return BlockUnit(kind, timedelta(hours=1) if kind == "client-hour" else None)
    if (entity := _ENTITY.fullmatch(text)) is not None:
        return BlockUnit("entity", timedelta(days=1), entity[1])
    try:
        period = parse_duration(text)
    except ValueError as error:
        raise ValueError(
            "is no unit of observation; write request, client-hour, a length of time such as 1d, "
            "entity: and a tag such as entity:customer, or label"
        ) from error
    if not _MIN_PERIOD <= period <= _MAX_PERIOD:
        raise ValueError("is no length of a block; write one from 1m to 31d")
    return BlockUnit("period", period)


def default_block_unit(*, is_table_with_time: bool = False) -> BlockUnit:
    """The unit of a rule that names none: a day for tables with a time, whose rows fail together; else a request."""
    return DAY_UNIT if is_table_with_time else REQUEST_UNIT
