"""The rows of one model version between two moments, and what they are compared with."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitors.errors import WindowError


def _require_timezone(name: str, moment: datetime) -> None:
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise WindowError(f"{name} {moment.isoformat()} has no time zone; pass an aware datetime, such as UTC")


@dataclass(frozen=True)
class Row:
    """One answer of the model, with the truth where it has become known."""

    prediction_id: str
    at: datetime
    label: str
    confidence: float
    latency_ms: float | None
    """Of the request; None for all but one answer of a request, whose times are one observation."""
    truth: str | None = None
    truth_source: str | None = None
    weight: float = 1.0
    """Of the label: one over the chance that its answer had to be drawn for review."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What was said of the input when it was sent; `client` is the client's id."""
    truth_probability: float | None = None
    """Of the true class, as the model gave it; read for metrics that need `probabilities`."""

    def __post_init__(self) -> None:
        _require_timezone(f"time of prediction {self.prediction_id}", self.at)
        if not 0 <= self.confidence <= 1:
            raise WindowError(
                f"prediction {self.prediction_id}: confidence {self.confidence} is not in 0..1; check the row"
            )
        if self.truth_probability is not None and not 0 <= self.truth_probability <= 1:
            raise WindowError(
                f"prediction {self.prediction_id}: probability {self.truth_probability} is not in 0..1; check the row"
            )
        if self.latency_ms is not None and not (math.isfinite(self.latency_ms) and self.latency_ms >= 0):
            raise WindowError(f"prediction {self.prediction_id}: latency {self.latency_ms} ms cannot be; check the row")
        if (self.truth is None) != (self.truth_source is None):
            raise WindowError(
                f"prediction {self.prediction_id}: a truth and its source go together; give both or neither"
            )

    @property
    def correct(self) -> bool:
        return self.truth == self.label


@dataclass(frozen=True)
class Window:
    """The rows with start <= at < end, in the order of time."""

    model: str
    version: int
    classes: tuple[str, ...]
    start: datetime
    end: datetime
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        _require_timezone("window start", self.start)
        _require_timezone("window end", self.end)
        if self.start >= self.end:
            raise WindowError(f"window {self.start} to {self.end} is empty; start must be before end")
        classes = frozenset(self.classes)
        if len(classes) != len(self.classes) or not classes:
            raise WindowError(f"classes {self.classes} must be given, each once")
        for row in self.rows:
            self._check(row, classes)
        object.__setattr__(self, "rows", tuple(sorted(self.rows, key=lambda row: row.at)))

    def _check(self, row: Row, classes: frozenset[str]) -> None:
        if not self.start <= row.at < self.end:
            raise WindowError(
                f"prediction {row.prediction_id} at {row.at} lies outside the window; select rows by time"
            )
        strange = {row.label, row.truth or row.label} - classes
        if strange:
            remedy = f"pass the classes of version {self.version}"
            raise WindowError(f"prediction {row.prediction_id}: {sorted(strange)} not in {self.classes}; {remedy}")

    def labelled(self, sources: Collection[str]) -> tuple[Row, ...]:
        """The rows whose truth came from one of these sources."""
        return tuple(row for row in self.rows if row.truth is not None and row.truth_source in sources)


@dataclass(frozen=True)
class HostLatency:
    """The 95th percentile of one picture's latency on one class of hosts, and how many calls it rests on."""

    p95_ms: float
    calls: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.p95_ms) and self.p95_ms > 0) or self.calls < 0:
            raise WindowError(f"baseline latency {self.p95_ms} ms of {self.calls} calls cannot be; measure it again")


@dataclass(frozen=True)
class ErrorByConfidence:
    """How likely an answer of each step of confidence is wrong, and how many of the golden answers lie on each."""

    error_by_bin: Mapping[int, float]
    golden_counts: Mapping[int, int]

    def __post_init__(self) -> None:
        strange = [step for step in self.golden_counts if step not in self.error_by_bin]
        if (
            strange
            or not sum(self.golden_counts.values())
            or not all(0 <= share <= 1 for share in self.error_by_bin.values())
        ):
            raise WindowError(
                f"chances of {len(self.error_by_bin)} steps and golden answers on {strange} cannot be; fit anew"
            )


@dataclass(frozen=True)
class ReferenceMix:
    """How often a version named each class in the hours of its first days that a window is compared with.

    `until` is the end of the whole reference, `text` says which hours: "the same hours of its first 7 days".
    """

    class_counts: Mapping[str, int]
    until: datetime
    text: str


@dataclass(frozen=True)
class Baseline:
    """What a version is held against.

    Its counts on the golden set, latency by class of serving hosts, what its confidence is worth, its first days.
    """

    accuracy_correct: int
    accuracy_total: int
    latency: Mapping[str, HostLatency] = field(default_factory=dict)
    error_by_confidence: ErrorByConfidence | None = None
    reference_mix: ReferenceMix | None = None
    golden_versions: int = 1
    """How many versions had been compared on the golden set when this one was made champion, itself included."""
    golden_losses: Mapping[float, int] = field(default_factory=dict)
    """How many golden rows have each loss, from 0 for a right answer to 1 for the worst mistake; none: all cost 1."""

    def __post_init__(self) -> None:
        if self.golden_losses and sum(self.golden_losses.values()) != self.accuracy_total:
            rows = sum(self.golden_losses.values())
            raise WindowError(f"losses of {rows} golden rows where {self.accuracy_total} were counted; count again")
        if not 0 <= self.accuracy_correct <= self.accuracy_total:
            counts = f"{self.accuracy_correct} correct of {self.accuracy_total}"
            raise WindowError(f"baseline of {counts} cannot be; pass the counts of the golden set")

    @property
    def loss_counts(self) -> dict[float, int]:
        """How many golden rows have each loss; where no losses are known every mistake counts as the worst."""
        counted = self.golden_losses or {
            0.0: self.accuracy_correct,
            1.0: self.accuracy_total - self.accuracy_correct,
        }
        return {loss: rows for loss, rows in counted.items() if rows}

    def latency_of(self, host_class: str) -> HostLatency | None:
        """The baseline of that host class, else of the slowest one that was measured."""
        slowest = max(self.latency.values(), key=lambda latency: latency.p95_ms, default=None)
        return self.latency.get(host_class, slowest)


@dataclass(frozen=True)
class EvidentlyMetrics:
    """The metrics computed on a window; `sampled` when only its newest rows were used."""

    n_predictions: int
    n_labelled: int
    accuracy: float | None
    class_recall: Mapping[str, float]
    latency_p95_ms: float | None
    sampled: bool = False
