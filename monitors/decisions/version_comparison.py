"""Decides whether a new version is proved worse than the one before, by the labels of answers that both versions gave.

Two kinds of labels are two streams, each with half of the level: those of answers that were drawn, weighed by their
chances, and delayed ones, which weigh one. A delayed label counts when its answer is `mature`, whether it came soon or
late; an answer on which the versions differ and that has none by then counts for the new version. So neither labels
that come in an order that depends on being right, nor right answers that are never labelled, can send a version back.

Each stream is looked at in two ways (`monitors.statistics.paired_test`): after whole weeks, and at any time, where ten
times as much evidence of more than the margin is asked for.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from monitors.errors import WindowError
from monitors.statistics.paired_test import PairedBlock, early_evidence, whole_week_evidence

WEEK: Final = timedelta(days=7)
EARLY_FACTOR: Final = 10.0
"""So many times the evidence is asked for before whole weeks are over."""
REVIEW_PERIOD: Final = timedelta(days=2)
"""For so long a look at whole weeks waits for the labels of answers that were drawn."""


@dataclass(frozen=True)
class DifferingAnswer:
    """An answer on which the two versions differ, and what its labels say.

    `difference` is 1 where only the version before is right, -1 where only the new one is and 0 where neither is; None
    without a label. `weight` is one over the chance to be drawn for review, 0 where that is not known, and `is_drawn`
    whether it was. `reviewed_at` and `delayed_at` are when a label of either kind came. `closes_at`: when its block is
    complete.
    """

    at: datetime
    block: str
    closes_at: datetime
    difference: int | None = None
    weight: float = 0.0
    is_drawn: bool = False
    reviewed_at: datetime | None = None
    delayed_at: datetime | None = None


@dataclass(frozen=True)
class ComparisonTerms:
    """What a comparison was begun with: `level` is the chance of a false verdict, over all looks and both streams.

    `until` ends it, None: never. `margin` is by how much the versions may differ in a part of a week. `mature` is how
    old an answer is when its delayed label has come or is given up.
    """

    started_at: datetime
    until: datetime | None
    level: float
    margin: float
    mature: timedelta

    def whole_weeks(self, moment: datetime) -> int:
        """How many whole weeks of the comparison are over at a moment."""
        end = moment if self.until is None else min(moment, self.until)
        return max(0, (end - self.started_at) // WEEK)

    def week_level(self, week: int) -> float:
        """The part of a stream's level for the look after so many weeks; all looks together spend nine tenths."""
        share = 1 / (week * (week + 1)) if self.until is None else 1 / max(1, self.whole_weeks(self.until))
        return self.level / 2 * (1 - 1 / EARLY_FACTOR) * share

    @property
    def early_level(self) -> float:
        return self.level / 2 / EARLY_FACTOR


@dataclass(frozen=True)
class VersionComparison:
    """How a comparison stands: answers put to both versions, those that differ, and what their labels say.

    `unlabelled` are mature answers without a delayed label, where others have one. `evidence` is the most that any look
    has, as a multiple of what it needs.
    """

    compared: int = 0
    differing: int = 0
    labelled: int = 0
    lost: int = 0
    won: int = 0
    unlabelled: int = 0
    evidence: float = 0.0
    proved_worse: bool = False

    def to_json(self) -> dict[str, Any]:
        """The numbers as JSON values; `from_json` gives back an equal comparison."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "VersionComparison":
        """The comparison of `to_json`; raises WindowError naming what does not fit."""
        names = ("compared", "differing", "labelled", "lost", "won", "unlabelled")
        try:
            numbers = {name: int(raw[name]) for name in names}
            return cls(**numbers, evidence=float(raw["evidence"]), proved_worse=bool(raw["proved_worse"]))
        except (KeyError, TypeError, ValueError) as error:
            raise WindowError(f"{dict(raw)!r} is no comparison ({error}); begin a new one") from error

    def sentence(self, new: int, before: int) -> str:
        """The counts in words, for people."""
        text = (
            f"Of {self.compared:,} {'answer' if self.compared == 1 else 'answers'} put to both versions "
            f"{self.differing:,} differ, {self.labelled:,} of them labelled: {self.lost:,} that version {new} read "
            f"wrong are read right by version {before}, and {self.won:,} the other way round."
        )
        if not self.unlabelled:
            return text
        return f"{text} {self.unlabelled:,} whose label is overdue count for version {new}."


def compare_versions(
    answers: Sequence[DifferingAnswer], compared: int, mature_compared: int, terms: ComparisonTerms, now: datetime
) -> VersionComparison:
    """How the comparison stands now, by the answers that differ; `compared` answers were put to both versions.

    `mature_compared` of these are old enough for their delayed labels to count.
    """
    has_delayed = any(answer.delayed_at is not None for answer in answers)
    mature = [answer for answer in answers if answer.at + terms.mature <= now] if has_delayed else []
    evidence = [
        early_evidence(_reviewed_blocks(answers, now), compared, terms.margin) * terms.early_level,
        early_evidence(_mature_blocks(answers, terms, now), mature_compared, terms.margin) * terms.early_level
        if has_delayed
        else 0.0,
        _week_evidence_of_reviews(answers, terms, now),
        _week_evidence_of_delayed(answers, terms, now) if has_delayed else 0.0,
    ]
    labelled = [answer.difference for answer in answers if answer.difference is not None]
    return VersionComparison(
        compared=compared,
        differing=len(answers),
        labelled=len(labelled),
        lost=labelled.count(1),
        won=labelled.count(-1),
        unlabelled=sum(not _came_in_time(answer, terms) for answer in mature),
        evidence=max(evidence),
        proved_worse=max(evidence) >= 1,
    )


def is_settled(answers: Iterable[DifferingAnswer], terms: ComparisonTerms, now: datetime) -> bool:
    """Whether no label that a comparison with an end still waits for can change its verdict."""
    if terms.until is None or now < terms.until:
        return False
    answers = list(answers)
    waits_for_review = now < terms.until + REVIEW_PERIOD and any(
        answer.is_drawn and answer.reviewed_at is None for answer in answers
    )
    has_delayed = any(answer.delayed_at is not None for answer in answers)
    return not waits_for_review and not (has_delayed and now < terms.until + terms.mature)


def _reviewed_blocks(answers: Sequence[DifferingAnswer], now: datetime) -> list[PairedBlock]:
    """All blocks; those whose drawn answers are not all labelled yet say nothing so far."""
    blocks = _by_block(answer for answer in answers if answer.weight > 0)
    return [_reviewed_block(block, now if _is_complete(block, now) else None) for block in blocks.values()]


def _is_complete(block: Sequence[DifferingAnswer], now: datetime) -> bool:
    is_labelled = all(answer.reviewed_at is not None for answer in block if answer.is_drawn)
    return is_labelled and all(answer.closes_at <= now for answer in block)


def _week_evidence_of_reviews(answers: Sequence[DifferingAnswer], terms: ComparisonTerms, now: datetime) -> float:
    """The evidence of drawn answers after the whole weeks that are over, as a multiple of what is needed."""
    weeks = terms.whole_weeks(now)
    if not weeks:
        return 0.0
    end = terms.started_at + weeks * WEEK
    of_weeks = [answer for answer in answers if answer.weight > 0 and answer.at < end]
    deadline = end + REVIEW_PERIOD
    if now < deadline and any(answer.is_drawn and answer.reviewed_at is None for answer in of_weeks):
        return 0.0
    level = terms.week_level(weeks)
    blocks = [_reviewed_block(block, deadline) for block in _by_block(of_weeks).values()]
    return whole_week_evidence(blocks, level) * level


def _mature_blocks(answers: Sequence[DifferingAnswer], terms: ComparisonTerms, now: datetime) -> list[PairedBlock]:
    """The blocks whose delayed labels have come or are given up."""
    return [
        _delayed_block(block, terms)
        for block in _by_block(answers).values()
        if all(max(answer.at + terms.mature, answer.closes_at) <= now for answer in block)
    ]


def _week_evidence_of_delayed(answers: Sequence[DifferingAnswer], terms: ComparisonTerms, now: datetime) -> float:
    """The evidence of delayed labels after the whole weeks that are mature, as a multiple of what is needed."""
    weeks = terms.whole_weeks(now - terms.mature)
    if not weeks:
        return 0.0
    end, level = terms.started_at + weeks * WEEK, terms.week_level(weeks)
    blocks = _by_block(answer for answer in answers if answer.at < end)
    return whole_week_evidence([_delayed_block(block, terms) for block in blocks.values()], level) * level


def _by_block(answers: Iterable[DifferingAnswer]) -> dict[str, list[DifferingAnswer]]:
    blocks: dict[str, list[DifferingAnswer]] = defaultdict(list)
    for answer in answers:
        blocks[answer.block].append(answer)
    return blocks


def _reviewed_block(block: Sequence[DifferingAnswer], until: datetime | None) -> PairedBlock:
    """What the labels of a block's drawn answers say that came by a moment; nothing where there is none."""
    excess = sum(
        answer.weight * (answer.difference or 0)
        for answer in block
        if answer.is_drawn and answer.reviewed_at is not None and until is not None and answer.reviewed_at <= until
    )
    size = sum(answer.weight for answer in block)
    return PairedBlock(excess, size, len(block) ** 2 + size - len(block))


def _delayed_block(block: Sequence[DifferingAnswer], terms: ComparisonTerms) -> PairedBlock:
    """What a block's delayed labels say; an answer without one counts for the new version."""
    excess = sum((answer.difference or 0) if _came_in_time(answer, terms) else -1 for answer in block)
    return PairedBlock(excess, len(block))


def _came_in_time(answer: DifferingAnswer, terms: ComparisonTerms) -> bool:
    return answer.delayed_at is not None and answer.delayed_at <= answer.at + terms.mature
