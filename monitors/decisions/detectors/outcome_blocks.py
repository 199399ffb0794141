"""Groups labelled answers into blocks that are one observation each, and says when they may be read.

Pure. An answer belongs to a block by its request, its client's hour, its stretch of time or its entity. A block is read
once it is over and its answers are mature. Later labels form blocks of their own, together with the other late labels
of the same block that come within the same stretch. When a label is read depends on the answer and the label alone,
never on how often somebody looked.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from monitors.rules.block_unit import BlockUnit
from monitors.windows.window_counts import Outcome

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_WAIT: Final = timedelta(0)


@dataclass(frozen=True)
class OutcomeBlock:
    """The labelled answers that are one observation, and when they are read: then, and not before, all is known."""

    read_at: datetime
    rows: tuple[Outcome, ...]
    losses: tuple[float, ...]
    """How wrong each row is, from 0 to 1."""


def last_closed_moment(unit: BlockUnit, moment: datetime) -> datetime:
    """Up to which moment blocks are over: the moment itself for blocks that end with themselves."""
    if unit.period is None:
        return moment
    return _EPOCH + (moment - _EPOCH) // unit.period * unit.period


def mature_until(unit: BlockUnit, maturity: timedelta, now: datetime) -> datetime:
    """Answers given up to this moment may be read: they are old enough, and their block is over."""
    until = last_closed_moment(unit, last_closed_moment(unit, now) - maturity)
    return until if unit.period is None else until - until.resolution


def reading_time(row: Outcome, unit: BlockUnit, maturity: timedelta, now: datetime) -> datetime:
    """When the row may be read: its label is known, its answer mature, its block over; no later than now."""
    if unit.period is None:
        ready = max(row.known_at, row.at + maturity) if maturity > _NO_WAIT else row.known_at
        return min(ready, now)
    closed_at = last_closed_moment(unit, row.at) + unit.period + _whole_periods(maturity, unit.period)
    known_at = _EPOCH + -((_EPOCH - row.known_at) // unit.period) * unit.period
    return min(max(closed_at, known_at), last_closed_moment(unit, now))


def error_of(row: Outcome) -> float:
    """1 for a wrong answer, 0 for a right one."""
    return float(row.label != row.truth)


def loss_of(row: Outcome) -> float:
    """How wrong the answer is, from 0 to 1, by what mistakes cost."""
    return row.loss


def group_into_blocks(
    rows: Iterable[Outcome],
    unit: BlockUnit,
    maturity: timedelta,
    now: datetime,
    measure: Callable[[Outcome], float] = error_of,
) -> list[OutcomeBlock]:
    """The rows as blocks, in the order in which they are read, each row with how wrong it is by the measure.

    Rows without what the unit asks for, such as the tag of an entity, are grouped by their request.
    """
    blocks: dict[tuple[Any, ...], list[Outcome]] = {}
    for row in rows:
        read_at = reading_time(row, unit, maturity, now)
        blocks.setdefault((read_at, *block_key(unit, row.at, row.prediction_id, row.request_id, row.tags)), []).append(
            row
        )
    grouped = [OutcomeBlock(key[0], tuple(rows), tuple(map(measure, rows))) for key, rows in blocks.items()]
    return sorted(grouped, key=lambda block: (block.read_at, min(row.seq for row in block.rows)))


def mean_loss(block: OutcomeBlock, weights: Sequence[float]) -> float:
    """The weighted mean of how wrong a block's answers are (Hájek's mean)."""
    return sum(weight * loss for loss, weight in zip(block.losses, weights, strict=True)) / sum(weights)


@dataclass(frozen=True)
class BlockSizes:
    """What is remembered of the sizes of a stream's blocks, so that a larger one may weigh more.

    A block weighs its size over the largest allowed, which is the size of the block in which a label lies on average:
    so one giant does not make all others weigh nothing, and late labels weigh as little as they are few. Larger blocks
    weigh 1.
    """

    total: float = 0.0
    total_of_squares: float = 0.0

    def add(self, size: float) -> "BlockSizes":
        """The sizes with one more block."""
        return BlockSizes(self.total + size, self.total_of_squares + size * size)

    def share(self, size: float) -> float:
        """What a block of this size weighs, from 0 to 1; the sizes must hold it already."""
        usual = self.total_of_squares / self.total if self.total else 1.0
        return min(1.0, size / max(1.0, usual))


NO_SIZES: Final = BlockSizes()


def block_key(
    unit: BlockUnit, at: datetime, prediction_id: str, request_id: str, tags: Mapping[str, str]
) -> tuple[Any, ...]:
    """What answers of one block have in common."""
    match unit.kind:
        case "request":
            return (request_id or prediction_id,)
        case "client-hour":
            return (last_closed_moment(unit, at), tags.get("client", ""))
        case "period":
            return (last_closed_moment(unit, at),)
        case "entity":
            entity = tags.get(unit.tag)
            key = ("entity", entity) if entity else ("request", request_id or prediction_id)
            return (last_closed_moment(unit, at), *key)
        case "label":
            return (prediction_id,)


def _whole_periods(length: timedelta, period: timedelta) -> timedelta:
    return -(-length // period) * period
