"""Counts of a window: predictions, labels, requests and latencies, which cost the same however many rows there are."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from monitors.errors import WindowError
from monitors.rules.alerts_config import Source
from monitors.statistics.intervals import Estimate, WeightedCount
from monitors.statistics.two_sample import InputComparison
from monitors.windows.column_window import ColumnWindow
from monitors.windows.latency_bins import BinCounts


@dataclass(frozen=True)
class LabelCount:
    """How many answers of a window share their label source, truth, answer and sampling weight.

    `block`: which observation they are a part of; "" where each is one of its own.
    """

    source: Source
    truth: str
    label: str
    weight: float
    n: int
    block: str = ""

    @property
    def correct(self) -> bool:
        return self.truth == self.label


@dataclass(frozen=True)
class Outcome:
    """One answer whose truth became known. `source_sequence`: under which number its truth
    first came from each source so far.

    `weight` is one over the chance to be drawn for review, 1 where nothing was drawn and 0 for an answer that was
    passed over; `share` is the weight over the largest one its sampling plan could give. `request_id`: of the request
    that it was an answer to, "" where that is not known.
    """

    seq: int
    prediction_id: str
    at: datetime
    known_at: datetime
    label: str
    truth: str
    source: Source
    source_sequence: Mapping[str, int]
    confidence: float
    weight: float = 1.0
    share: float = 1.0
    tags: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""
    loss: float = field(kw_only=True)
    """How wrong the answer is, from 0 for a right one to 1 for the worst mistake; 1 for each where none costs less."""
    truth_class: str = field(default="", kw_only=True)
    """What the truth is counted as where that is not itself, such as the length of a text."""
    label_class: str = field(default="", kw_only=True)
    """The same of the answer: that of the truth where it is right, and else never."""

    @property
    def counted_truth(self) -> str:
        """What the truth is counted as."""
        return self.truth_class or self.truth

    @property
    def counted_label(self) -> str:
        """What the answer is counted as."""
        return self.label_class or self.label

    def has_tags(self, part: Mapping[str, str]) -> bool:
        """Whether the answer was sent with all of these tags."""
        return all(self.tags.get(name) == text for name, text in part.items())


@dataclass(frozen=True)
class SourceWindow:
    """Which answers the labels of one source are counted of, from `start` to `end`.

    It ends where answers are not yet `maturity` old, which says when their labels are read. `late_share`: how many of
    the labels of right answers come later still, where that is known.
    """

    start: datetime
    end: datetime
    maturity: timedelta = timedelta(0)
    late_share: float | None = None


@dataclass(frozen=True)
class EstimateFromRows:
    """What a window's newest rows gave: of `n` rows an estimate, or the fault that left none; neither below enough."""

    n: int
    estimate: Estimate | None = None
    problem: str = ""


NO_ESTIMATE: Final = EstimateFromRows(0)


@dataclass(frozen=True)
class LabelLag:
    """How long an answer drawn for review has waited for its label; `is_waiting` when it waits still."""

    seconds: float
    is_waiting: bool


@dataclass(frozen=True)
class WindowCounts:
    """One version's answers from `start` to `end` in whole minutes; latencies by host class and bin.

    `groups` are the labels by the value of a tag, `requests` the prediction requests by HTTP status, `lags` the waits
    of drawn predictions, `predictions_by_confidence` those by class and bin of confidence, `input_comparison` the
    newest inputs against the version's first ones. What a rule does not need may be missing.
    """

    model: str
    version: int
    classes: tuple[str, ...]
    start: datetime
    end: datetime
    predictions: int = 0
    labels: tuple[LabelCount, ...] = ()
    """By source: an answer with labels of two sources is counted by each, as each weighs it."""
    latency: Mapping[str, BinCounts] = field(default_factory=dict)
    since_change: Mapping[str, tuple[LabelCount, ...]] = field(default_factory=dict)
    """For each stream whose detector has alarmed: the labels of answers given since the change it found."""
    groups: Mapping[str, tuple[LabelCount, ...]] = field(default_factory=dict)
    requests: Mapping[int, int] = field(default_factory=dict)
    lags: tuple[LabelLag, ...] = ()
    row_estimate: EstimateFromRows = NO_ESTIMATE
    serving_since: datetime | None = None
    predictions_by_confidence: Mapping[str, BinCounts] = field(default_factory=dict)
    input_comparison: InputComparison | None = None
    columns: ColumnWindow | None = None
    """The values of a table's columns; None where the version takes none, or the rule does not need them."""
    costs: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """The loss of mistakes, by truth and answer, where it is not 1."""
    source_windows: Mapping[str, SourceWindow] = field(default_factory=dict)
    """Of each source that is read: the answers whose labels are counted."""
    waiting_sources: tuple[str, ...] = ()
    """The sources whose labels are not read, because it cannot be told yet how late they come."""

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) or not self.classes:
            raise WindowError(f"classes {self.classes} must be given, each once")
        strange = {name for cell in self.labels for name in (cell.label, cell.truth)} - set(self.classes)
        if strange:
            remedy = f"pass the classes of version {self.version}"
            raise WindowError(f"{sorted(strange)} not in {self.classes}; {remedy}")

    def loss(self, cell: LabelCount) -> float:
        """How wrong each answer of this cell is, from 0 to 1."""
        return 0.0 if cell.correct else self.costs.get((cell.truth, cell.label), 1.0)

    def labels_from(self, sources: Collection[str], stream: str | None = None) -> tuple[LabelCount, ...]:
        """The counts whose truth came from one of these sources, and that may estimate.

        Of a stream that has alarmed only those since its change: the good labels before it must not drown an alarm.
        """
        cells = self.labels if stream is None else self.since_change.get(stream, self.labels)
        return tuple(cell for cell in cells if cell.source in sources and cell.weight > 0)


def counts_by_weight(cells: Iterable[LabelCount]) -> list[WeightedCount]:
    """The labels by weight."""
    n, wrong = Counter[float](), Counter[float]()
    for cell in cells:
        n[cell.weight] += cell.n
        wrong[cell.weight] += 0 if cell.correct else cell.n
    return [WeightedCount(weight, n[weight], wrong[weight]) for weight in sorted(n) if n[weight]]
