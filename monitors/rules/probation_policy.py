"""The terms of a new version's probation, as alerts.yaml states them."""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from monitors.rules.block_unit import BLOCK_PATTERN, REQUEST_UNIT, BlockUnit, parse_block_unit
from monitors.rules.channel_config import StrictModel, WholeNumber
from monitors.rules.quantities import DURATION_PATTERN, parse_duration, parse_threshold

ROLLBACK_CHANCE_PATTERN: Final = r"^\s*\d{1,4}\s+per\s+\d{1,6}\s+promotions\s*$"
RATIO_PATTERN: Final = r"^\s*\d{1,9}(\.\d{1,9})?\s*x\s*$"
MARGIN_PATTERN: Final = r"^\s*\d{1,2}(\.\d{1,9})?\s*points\s*$"
_MARGIN = re.compile(r"(\d{1,2}(?:\.\d{1,9})?)\s*points")
_ROLLBACK_CHANCE = re.compile(r"(\d{1,4})\s+per\s+(\d{1,6})\s+promotions")
LABEL_SHARE: Final = 0.8
"""The part of the chance of a false rollback that is spent on labels; latency, which is rarely close, has the rest."""
MAX_INITIAL_BUDGET: Final = 0.1
"""The most of an alarm that a detector may begin with while a version is on probation."""


def parse_rollback_chance(text: object) -> float:
    """Turn "1 per 100 promotions" into 0.01."""
    match = _ROLLBACK_CHANCE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError("is not a chance of false rollbacks; write for example 1 per 100 promotions")
    count, promotions = int(match[1]), int(match[2])
    if not 0 < 5 * count <= promotions:
        raise ValueError("would roll back too many good versions, or none at all; write from 1 per 5 promotions down")
    return count / promotions


def _parse_ratio(text: object) -> object:
    return None if text is None else parse_threshold(text, "latency_ratio")


def _parse_margin(text: object) -> float:
    """Turn "5 points" into 0.05."""
    match = _MARGIN.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or float(match[1]) >= 100:
        raise ValueError("is not a margin; write for example 5 points: percentage points from 0 to below 100")
    return float(match[1]) / 100


def _schema(kind: str, pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, "pattern": pattern, "examples": [example]})


Period = Annotated[timedelta, BeforeValidator(parse_duration), _schema("string", DURATION_PATTERN, "7d")]
RollbackChance = Annotated[
    float, BeforeValidator(parse_rollback_chance), _schema("string", ROLLBACK_CHANCE_PATTERN, "1 per 100 promotions")
]
Ratio = Annotated[float | None, BeforeValidator(_parse_ratio), _schema("string", RATIO_PATTERN, "2 x")]
Block = Annotated[BlockUnit, BeforeValidator(parse_block_unit), _schema("string", BLOCK_PATTERN, "request")]
Margin = Annotated[float, BeforeValidator(_parse_margin), _schema("string", MARGIN_PATTERN, "5 points")]


class Probation(StrictModel):
    """How long a new version is held against the one before, and how often a good one may be sent back.

    Before a whole week is over it is sent back only where it is proved to lose more than `early_margin`. The version
    before is asked about some `compared_per_day` answers; those of one `block` are one observation.
    """

    period: Period = timedelta(days=7)
    false_rollbacks: RollbackChance = 0.01
    latency_ratio_max: Ratio = None
    early_margin: Margin = 0.05
    block: Block = REQUEST_UNIT
    compared_per_day: WholeNumber = Field(default=5_000, ge=100, le=10_000_000)
    notify: tuple[str, ...] = ()

    @property
    def label_level(self) -> float:
        """The chance that labels send back a version which is at least as good, over the whole probation."""
        return LABEL_SHARE * self.false_rollbacks

    @property
    def latency_level(self) -> float:
        """The chance that latency sends back a version which is fast enough, over the whole probation."""
        return (1 - LABEL_SHARE) * self.false_rollbacks

    def initial_budget_period(self, least: timedelta, per_second: float) -> timedelta:
        """How much time's worth of its budget a rule's detector has at once: the whole probation's, within reason."""
        return max(least, min(self.period, timedelta(seconds=MAX_INITIAL_BUDGET / per_second)))
