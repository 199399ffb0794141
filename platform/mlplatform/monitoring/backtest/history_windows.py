"""Windows and labels as they stood at a moment of the past, moved on from slot to slot."""

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from mlplatform.feedback.label_history import LabelEvent
from mlplatform.feedback.outcome_counts import counted_source, source_cells
from mlplatform.predictions.latency_history import LatencyByHost
from mlplatform.predictions.prediction_counts import minute_index, minute_start
from monitors.rules.alerts_config import Source
from monitors.windows.window_counts import LabelCount, Outcome

_LAST: Final = chr(0x10FFFF)
"""Behind every prediction id."""
LabelCell = tuple[str, str, str, float]


def _cell_of_row(row: Outcome) -> LabelCell:
    return counted_source(row.source_sequence, row.source), row.counted_truth, row.counted_label, row.weight


@dataclass
class LabelTimeline:
    """One version's labels as they stood at the moment reached; `since` reads as `outcomes.outcomes_after` does."""

    events: Sequence[LabelEvent]
    minutes: dict[int, Counter[LabelCell]] = field(default_factory=lambda: defaultdict(Counter))
    changes: list[tuple[int, LabelCell, int]] = field(default_factory=list)
    _prediction_by_number: list[str] = field(default_factory=list)
    _estimating_numbers: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _current_rows: dict[str, tuple[int, Outcome]] = field(default_factory=dict)
    _answer_order: list[tuple[datetime, str]] = field(default_factory=list)
    _position: int = 0

    def advance_to(self, moment: datetime) -> None:
        """Take in what counted by then; moments do not go back."""
        while self._position < len(self.events) and self.events[self._position].at <= moment:
            self._apply(self.events[self._position])
            self._position += 1

    def since(self, cursor: int, limit: int) -> tuple[list[Outcome], int]:
        """At most so many rows with a number above the cursor, as they stand now, and the cursor after them."""
        rows: list[Outcome] = []
        while cursor < len(self._prediction_by_number) and len(rows) < limit:
            cursor += 1
            number, row = self._current_rows[self._prediction_by_number[cursor - 1]]
            if number == cursor:
                rows.append(row)
        return rows, cursor

    def up_to(self, cursor: int, limit: int) -> list[Outcome]:
        """The last rows up to the cursor, in order, at most so many, as they stand now: `outcomes.outcomes_up_to`."""
        rows: list[Outcome] = []
        while cursor > 0 and len(rows) < limit:
            number, row = self._current_rows[self._prediction_by_number[cursor - 1]]
            if number == cursor:
                rows.append(row)
            cursor -= 1
        return rows[::-1]

    def between(self, after: datetime | None, until: datetime) -> list[Outcome]:
        """The rows on predictions made after a moment and up to another, oldest first: `outcomes.outcomes_between`."""
        first = 0 if after is None else bisect_right(self._answer_order, (after, _LAST))
        keys = self._answer_order[first : bisect_right(self._answer_order, (until, _LAST))]
        rows = (self._current_rows[prediction_id][1] for _, prediction_id in keys)
        return sorted(rows, key=lambda row: (row.at, row.seq))

    def count_labels(self, start: datetime, end: datetime, source: Source) -> list[LabelCount]:
        """The labels of predictions in [start, end) by whole minutes, as `outcome_counts.source_label_counts` does."""
        first, last = minute_index(start), minute_index(end)
        cells: Counter[LabelCell] = Counter()
        for minute, held in self.minutes.items():
            if first <= minute <= last:
                cells.update(held)
        return source_cells(((*cell, n) for cell, n in cells.items()), source)

    def last_label_at(self, sources: Collection[str]) -> datetime | None:
        """When the last label became known that may estimate, of these sources."""
        last = max((self._last_number(source) for source in sources), default=0)
        return self._current_rows[self._prediction_by_number[last - 1]][1].known_at if last else None

    def _last_number(self, source: str) -> int:
        """The highest number of a source that still stands; 0 for none."""
        numbers = self._estimating_numbers[source]
        while numbers:
            held, row = self._current_rows[self._prediction_by_number[numbers[-1] - 1]]
            if (held, row.source) == (numbers[-1], source):
                return held
            numbers.pop()  # a better label has come: this number is gone for good
        return 0

    def _apply(self, event: LabelEvent) -> None:
        row = event.outcome
        number, before = self._current_rows.get(row.prediction_id, (0, None))
        numbers = {} if before is None else dict(before.source_sequence)
        if before is not None:
            self._count(before, -1)
        if before is None:
            insort(self._answer_order, (row.at, row.prediction_id))
        if event.new_sources:
            self._prediction_by_number.append(row.prediction_id)
            number = len(self._prediction_by_number)
            numbers |= dict.fromkeys(event.new_sources, number)
            if row.weight > 0:
                self._estimating_numbers[row.source].append(number)
        current = replace(row, seq=number, source_sequence=numbers)
        self._count(current, 1)
        self._current_rows[row.prediction_id] = (number, current)

    def _count(self, row: Outcome, n: int) -> None:
        minute, cell = minute_index(row.at), _cell_of_row(row)
        self.minutes[minute][cell] += n
        self.changes.append((minute, cell, n))


@dataclass
class LabelWindow:
    """The labelled answers of a window, counted as `outcome_counts.source_label_counts` counts them."""

    labels: LabelTimeline
    length: timedelta
    _cells: Counter[LabelCell] = field(default_factory=Counter)
    _first: int = 0
    _last: int = -1
    _applied_changes: int = 0

    def advance_to(self, moment: datetime) -> bool:
        """Move the window so that it ends at the moment; returns whether any count changed."""
        before = self._applied_changes
        changed = False
        for minute, cell, n in self.labels.changes[before:]:
            if self._first <= minute <= self._last:
                changed |= self._add(cell, n)
        self._applied_changes = len(self.labels.changes)
        first, last = minute_index(moment - self.length), minute_index(moment)
        if self._last < first:
            self._cells.clear()
            gone, come = range(0), range(first, last + 1)
            changed = True
        else:
            gone, come = range(self._first, first), range(self._last + 1, last + 1)
        for minutes, sign in ((gone, -1), (come, 1)):
            for minute in minutes:
                for cell, n in self.labels.minutes.get(minute, {}).items():
                    changed |= self._add(cell, sign * n)
        self._first, self._last = first, last
        return changed

    def counts(self, source: Source) -> list[LabelCount]:
        """The counts of the labels of one source that are not zero, in the store's order."""
        return source_cells(((*cell, n) for cell, n in self._cells.items()), source)

    def _add(self, cell: LabelCell, n: int) -> bool:
        self._cells[cell] += n
        if not self._cells[cell]:
            del self._cells[cell]
        return n != 0


@dataclass
class LatencyTimeline:
    """One version's latencies by minute; of the minute a moment lies in, those up to the moment.

    Which class of hosts gave an answer is kept by the minute only: where several answered in the last minute, the
    part of it before the moment is left out, and counted in `ambiguous_slots`.
    """

    minutes: Mapping[int, LatencyByHost]
    partial_minutes: Mapping[datetime, Mapping[int, int]]
    ambiguous_slots: int = 0
    _order: Sequence[int] = ()

    def __post_init__(self) -> None:
        self._order = sorted(self.minutes)

    def last_minute(self, moment: datetime) -> LatencyByHost:
        """The answers of the moment's own minute up to it."""
        partial = self.partial_minutes.get(moment)
        hosts = self.minutes.get(minute_index(moment), {})
        if partial is None or not hosts:
            return {}
        if len(hosts) > 1:
            self.ambiguous_slots += 1
            return {}
        return dict.fromkeys(hosts, partial)

    def last_prediction_at(self, moment: datetime) -> datetime | None:
        """The minute of the last answer before the moment."""
        minute = minute_index(moment)
        if moment in self.partial_minutes and minute in self.minutes:
            return minute_start(minute)
        place = bisect_right(self._order, minute - 1)
        return minute_start(self._order[place - 1]) if place else None


@dataclass
class LatencyWindow:
    """The latencies of a window, counted, as `prediction_counts.latency_histograms` counts them."""

    latencies: LatencyTimeline
    length: timedelta
    _hosts: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    _first: int = 0
    _end: int = 0

    def at(self, moment: datetime) -> LatencyByHost:
        """The window that ends at the moment; moments do not go back."""
        first, end = minute_index(moment - self.length), minute_index(moment)
        if self._end <= first:
            self._hosts.clear()
            self._first = self._end = first
        self._add(range(self._end, end), 1)
        self._add(range(self._first, first), -1)
        self._first, self._end = first, end
        partial = self.latencies.last_minute(moment)
        whole = {host: bins for host, bins in self._hosts.items() if bins}
        for host, bins in partial.items():
            whole[host] = Counter(whole.get(host, {})) + Counter(bins)
        return whole

    def _add(self, minutes: Iterable[int], sign: int) -> None:
        for minute in minutes:
            for host, bins in self.latencies.minutes.get(minute, {}).items():
                counts = self._hosts[host]
                for place, n in bins.items():
                    counts[place] += sign * n
                    if not counts[place]:
                        del counts[place]
