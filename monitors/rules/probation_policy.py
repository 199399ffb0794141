"""The terms of a new version's probation, as alerts.yaml states them."""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

from monitors.rules.channel_config import StrictModel
from monitors.rules.quantities import DURATION_PATTERN, parse_duration, parse_threshold

ROLLBACK_CHANCE_PATTERN: Final = r"^\s*\d{1,4}\s+per\s+\d{1,6}\s+promotions\s*$"
RATIO_PATTERN: Final = r"^\s*\d{1,9}(\.\d{1,9})?\s*x\s*$"
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


def _schema(kind: str, pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, "pattern": pattern, "examples": [example]})


Period = Annotated[timedelta, BeforeValidator(parse_duration), _schema("string", DURATION_PATTERN, "7d")]
RollbackChance = Annotated[
    float, BeforeValidator(parse_rollback_chance), _schema("string", ROLLBACK_CHANCE_PATTERN, "1 per 100 promotions")
]
Ratio = Annotated[float | None, BeforeValidator(_parse_ratio), _schema("string", RATIO_PATTERN, "2 x")]


class Probation(StrictModel):
    """How long a new version is held against the one before, and how often a good one may be sent back."""

    period: Period = timedelta(days=7)
    false_rollbacks: RollbackChance = 0.01
    latency_ratio_max: Ratio = None
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
