"""The kinds of metric a rule may watch, an entry each: units, words, keys, limits; it measures and decides nothing.

A new metric is an entry here and a function in `monitors.detect.DECISIONS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Action = Literal["retrain", "tune-serving", "label-audit", "none"]
Unit = Literal["points", "%", "x", ""]
Bad = Literal["high", "low", "either"]
KeyOf = Literal["whole", "class"]
Need = Literal["labels", "latency"]


@dataclass(frozen=True)
class MetricKind:
    """What rules, sentences and notices need to know of one metric.

    `units`: how a threshold may be written; the first is how values are shown. `example`: one, for messages.
    `subject` and `noun`: "the drop" and the "label" that is counted. `bad`: which way is worse. `needs`: what of a
    window it is computed from. `key`: what its findings are about one by one, and `together` how a promise over all
    of them is worded. `detects`: detectors decide it where the rule has a budget of false alarms. `early`: a warning
    before the labels, which may start no retraining. `least`: the smallest threshold that makes sense, and why.
    """

    units: tuple[Unit, ...]
    example: str
    subject: str
    noun: str = "label"
    bad: Bad = "high"
    needs: frozenset[Need] = frozenset({"labels"})
    key: KeyOf = "whole"
    together: str = ""
    detects: bool = False
    early: bool = False
    actions: tuple[Action, ...] = ("retrain", "none")
    held_against: Literal["%", "ms"] = "%"
    least: tuple[float, str] | None = None

    @property
    def allowed_actions(self) -> tuple[Action, ...]:
        """What an alert of it may start; an early warning starts nothing."""
        return ("none",) if self.early else self.actions

    @property
    def labels(self) -> bool:
        """Whether it is computed from labels, so that their sources and the errors among them matter."""
        return "labels" in self.needs


KINDS: Final[Mapping[str, MetricKind]] = {
    "accuracy_drop": MetricKind(
        units=("points", "%"),
        example='"0.5 points" (or "0.5 %", both mean percentage points)',
        subject="the drop",
        detects=True,
    ),
    "latency_ratio": MetricKind(
        units=("x",),
        example='"2 x"',
        subject="the ratio",
        noun="call",
        needs=frozenset({"latency"}),
        together=", for each class of hosts",
        actions=("retrain", "tune-serving", "none"),
        held_against="ms",
        least=(1, "would fire on a healthy server; a latency ratio must be at least 1 x"),
    ),
    "class_error": MetricKind(
        units=("%",),
        example='"10 %"',
        subject="the error rate",
        key="class",
        together=", over all classes together",
        detects=True,
        actions=("retrain", "label-audit", "none"),
    ),
}


def kind_of(metric: str) -> MetricKind:
    """The kind of that name; raises ValueError for one that is not known."""
    if metric not in KINDS:
        raise ValueError(f"is not allowed; allowed: {', '.join(sorted(KINDS))}")
    return KINDS[metric]
