"""Watches one stream of answers with a detector for each source of labels; they alarm by the sum of their evidence.

Labels of two sources are two samples of the same answers, drawn in different ways, and on two scales: an audit label
weighs one over the chance of its answer to be drawn, a delayed label is there for every answer and weighs 1. In one
purse the errors of one sample would be bet against with the weights of the other. So each source has a detector, which
reads every label of it whether or not the answer has one of the other, and earns an equal part of the budget from when
its first label comes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from monitors.decisions.detectors.outcome_blocks import NO_SIZES, BlockSizes, OutcomeBlock, mean_loss
from monitors.errors import WindowError
from monitors.statistics import e_detector
from monitors.statistics.e_detector import (
    CompositeNull,
    Detector,
    Observation,
    joint_evidence,
    joint_wealth,
    restart_detector,
    start_detector,
    update_detector,
)

SourceBlock = tuple[str, OutcomeBlock]


@dataclass(frozen=True)
class LabelDetector:
    """The detectors of one stream by source, with the sizes of the blocks they have read."""

    null: CompositeNull
    at: datetime
    by_source: Mapping[str, Detector] = field(default_factory=dict)
    sizes: Mapping[str, BlockSizes] = field(default_factory=dict)
    blocks: int = 0
    alarmed_at: datetime | None = None
    changed_at: datetime | None = None

    @property
    def n(self) -> int:
        """How many labels it has read, those of each source counted."""
        return sum(detector.n for detector in self.by_source.values())

    @property
    def evidence(self) -> float:
        """The evidence against health; 1 is an alarm, and an alarm stays one until `restart`."""
        total = joint_evidence(self.null, self.by_source.values())
        return total if self.alarmed_at is None else max(1.0, total)

    @property
    def leading_source(self) -> str | None:
        """The source whose detector holds most of the evidence; None before the first label."""
        return max(sorted(self.by_source), key=lambda source: self.by_source[source].evidence, default=None)

    def labels_until_alarm(self, share: float, earned: float) -> int | None:
        """How many more labels of the leading source call an alarm if this share of them is wrong."""
        source = self.leading_source
        if source is None:
            return None
        others = [detector for name, detector in self.by_source.items() if name != source]
        held = joint_wealth(self.null, others)
        return e_detector.labels_until_alarm(self.by_source[source], share, earned / len(self.by_source), held)

    def to_json(self) -> dict[str, Any]:
        """The state as JSON values; `from_json` gives back an equal detector."""
        return {
            "null": self.null.to_json(),
            "at": self.at.isoformat(),
            "sources": {source: detector.to_json() for source, detector in sorted(self.by_source.items())},
            "sizes": {source: list(vars(sizes).values()) for source, sizes in sorted(self.sizes.items())},
            "blocks": self.blocks,
            "alarmed_at": None if self.alarmed_at is None else self.alarmed_at.isoformat(),
            "changed_at": None if self.changed_at is None else self.changed_at.isoformat(),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "LabelDetector":
        """The detector of `to_json`; raises WindowError naming what does not fit."""
        try:
            alarmed, changed = raw["alarmed_at"], raw["changed_at"]
            return cls(
                null=CompositeNull.from_json(raw["null"]),
                at=datetime.fromisoformat(raw["at"]),
                by_source={source: Detector.from_json(state) for source, state in raw["sources"].items()},
                sizes={source: BlockSizes(*map(float, numbers)) for source, numbers in raw["sizes"].items()},
                blocks=int(raw["blocks"]),
                alarmed_at=None if alarmed is None else datetime.fromisoformat(alarmed),
                changed_at=None if changed is None else datetime.fromisoformat(changed),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WindowError(f"{dict(raw)!r} is no detector's state ({error}); begin a new detector") from error


def update_label_detector(
    detector: LabelDetector,
    blocks: Sequence[SourceBlock],
    per_second: float,
    min_samples: int,
    budget_share: float = 1.0,
) -> LabelDetector:
    """The detector after these blocks, each with its source, in the order in which they are read.

    `per_second` is the budget in false alarms, of which the stream has `budget_share`; the sources that have spoken
    share that in equal parts. Blocks after an alarm are passed over.
    """
    for source, run in groupby(blocks, key=lambda pair: pair[0]):
        if detector.alarmed_at is not None:
            return detector
        detector = _read_source(detector, source, [block for _, block in run], per_second, min_samples, budget_share)
    return detector


def _read_source(
    detector: LabelDetector,
    source: str,
    blocks: Sequence[OutcomeBlock],
    per_second: float,
    min_samples: int,
    budget_share: float,
) -> LabelDetector:
    parts = dict(detector.by_source)
    if source not in parts:
        # What was earned so far was earned by the others.
        start = max((part.at for part in parts.values()), default=detector.at)
        parts[source] = start_detector(detector.null, start)
    sizes, observations = observe_blocks(source, blocks, detector.sizes.get(source, NO_SIZES))
    others = [part for name, part in parts.items() if name != source]
    after = update_detector(
        parts[source],
        observations,
        per_second,
        max(0, min_samples - sum(part.n for part in others)),
        budget_share / len(parts),
        joint_wealth(detector.null, others),
    )
    return replace(
        detector,
        by_source={**parts, source: after},
        sizes={**detector.sizes, source: sizes},
        blocks=detector.blocks + len(blocks),
        alarmed_at=after.alarmed_at,
    )


def restart(detector: LabelDetector, at: datetime) -> LabelDetector:
    """The detectors begun anew, after an alarm has been settled; how large blocks are is remembered."""
    parts = {source: restart_detector(part, at) for source, part in detector.by_source.items()}
    return LabelDetector(detector.null, at, parts, detector.sizes)


def observe_blocks(
    source: str, blocks: Sequence[OutcomeBlock], sizes: BlockSizes
) -> tuple[BlockSizes, list[Observation]]:
    """Each block as one observation: its mean loss, weighing its size over the largest allowed."""
    observations = []
    for block in blocks:
        weights = [row.share if source == "audit" else 1.0 for row in block.rows]
        size = sum(weights)
        sizes = sizes.add(size)
        loss = mean_loss(block, weights)
        observations.append(Observation(block.read_at, loss, sizes.share(size), len(block.rows)))
    return sizes, observations
