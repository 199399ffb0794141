"""Says which labels a rule's detectors read next, each source for itself, and each label once.

Pure. A rule has read of a source the labels numbered up to its cursor, on answers given up to a moment. Both only move
on, so what lies between where they were and where they are is what is new: labels that came, and labels that were
waiting for their answers to mature. A delayed label waits, because errors are often known first; an audit label is
asked for in random order, and waits only for its block to be over and filled.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from monitors.decisions.detectors.outcome_blocks import last_closed_moment, mature_until
from monitors.errors import WindowError
from monitors.rules.alerts_config import Rule
from monitors.rules.block_unit import BlockUnit
from monitors.statistics.label_maturity import LabelLags, derived_maturity, uncovered_share
from monitors.windows.window_counts import Outcome, SourceWindow

EVERY_ANSWER: Final = datetime.max.replace(tzinfo=UTC)
"""Later than every answer."""
_NO_WAIT: Final = timedelta(0)


@dataclass(frozen=True)
class ReadPosition:
    """How far a rule has read: labels up to a number, of each source those on answers given up to a moment.

    `read_at` is up to when labels had to be known; `lags` how late the labels of each source came so far.
    """

    cursor: int = 0
    read_at: datetime | None = None
    until: Mapping[str, datetime] = field(default_factory=dict)
    lags: Mapping[str, LabelLags] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The position as JSON values, without the cursor; `from_json` gives back an equal one."""
        return {
            "read_at": None if self.read_at is None else self.read_at.isoformat(),
            "until": {source: moment.isoformat() for source, moment in sorted(self.until.items())},
            "lags": {source: lags.to_json() for source, lags in sorted(self.lags.items())},
        }

    @classmethod
    def from_json(cls, cursor: int, raw: Mapping[str, Any]) -> "ReadPosition":
        """The position of `to_json`; raises WindowError naming what does not fit."""
        try:
            read_at = raw["read_at"]
            return cls(
                cursor,
                None if read_at is None else datetime.fromisoformat(read_at),
                {source: datetime.fromisoformat(moment) for source, moment in raw["until"].items()},
                {source: LabelLags.from_json(lags) for source, lags in raw["lags"].items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WindowError(f"{dict(raw)!r} is no position among labels ({error}); begin anew") from error


@dataclass(frozen=True)
class Reading:
    """One step of reading: from where to where, and how old answers must be, by source.

    A source is missing from `maturity` while that cannot be told; then none of its labels is read.
    """

    before: ReadPosition
    after: ReadPosition
    unit: BlockUnit
    maturity: Mapping[str, timedelta]
    now: datetime

    def is_new(self, row: Outcome, source: str) -> bool:
        """Whether this step reads the row's label of that source."""
        return self.has_read(row, source) and not _has_read(self.before, row, source)

    def has_read(self, row: Outcome, source: str) -> bool:
        """Whether the row's label of that source has been read by the end of this step."""
        return _has_read(self.after, row, source)

    @property
    def matured_span(self) -> tuple[datetime | None, datetime] | None:
        """After which moment and up to which answers have matured whose labels came before; None for none."""
        spans = [
            (self.before.until.get(source), until)
            for source, until in self.after.until.items()
            if until != EVERY_ANSWER and until != self.before.until.get(source)
        ]
        if not spans or not self.before.cursor:
            return None
        starts = [start for start, _ in spans]
        start = None if None in starts else min(moment for moment in starts if moment is not None)
        return start, max(end for _, end in spans)

    def limited_to(self, moment: datetime) -> "Reading":
        """The step cut short: answers that matured after this moment are left for the next."""
        until = {
            source: max(min(end, moment), self.before.until.get(source, moment)) if end != EVERY_ANSWER else end
            for source, end in self.after.until.items()
        }
        return replace(self, after=replace(self.after, until=until))


def known_by(unit: BlockUnit, now: datetime) -> datetime:
    """Up to when labels had to be known to be read now: blocks of a period are read when a period is over."""
    return last_closed_moment(unit, now)


def plan_reading(
    rule: Rule,
    position: ReadPosition,
    new_rows: Sequence[Outcome],
    now: datetime,
    complete_until: datetime = EVERY_ANSWER,
) -> Reading:
    """The next step, given the rows numbered after the cursor, in order; those known too late are left for later.

    Of answers after `complete_until` some have no delayed labels yet, whose absence would say something.
    """
    unit = rule.block
    closed = known_by(unit, now)
    known = [row for row in new_rows if row.known_at <= closed]
    cursor = max((row.seq for row in known), default=position.cursor)
    read = [row for row in new_rows if row.seq <= cursor]
    lags: dict[str, LabelLags] = {source: _lags_with(position, source, read) for source in rule.sources}
    maturity, until = dict[str, timedelta](), dict(position.until)
    for source in rule.sources:
        wait = _maturity(rule, unit, source, lags[source], now)
        if wait is None:
            continue
        maturity[source] = wait
        end = EVERY_ANSWER if unit.period is None and source != "delayed" else mature_until(unit, wait, now)
        if source == "delayed" and complete_until != EVERY_ANSWER:
            end = min(end, mature_until(unit, _NO_WAIT, complete_until))
        until[source] = max(end, until.get(source, end))
    return Reading(position, ReadPosition(cursor, closed, until, lags), unit, maturity, now)


def _has_read(position: ReadPosition, row: Outcome, source: str) -> bool:
    number, until = row.source_sequence.get(source), position.until.get(source)
    return number is not None and until is not None and number <= position.cursor and row.at <= until


def _maturity(rule: Rule, unit: BlockUnit, source: str, lags: LabelLags, now: datetime) -> timedelta | None:
    """How old answers must be before their labels of a source are read; None while that cannot be told."""
    if source == "delayed":
        return rule.mature if rule.mature is not None else derived_maturity(lags, now)
    if unit.period is None:
        return _NO_WAIT
    return derived_maturity(lags, now) or _NO_WAIT


def _lags_with(position: ReadPosition, source: str, rows: Iterable[Outcome]) -> LabelLags:
    """The lags of a source with those of the rows whose label of that source came last."""
    came = [
        (row.at, row.known_at, row.label == row.truth)
        for row in rows
        if row.source_sequence.get(source) == row.seq > position.cursor
    ]
    before = position.lags.get(source, LabelLags())
    return before.add(came) if came else before


def source_windows(
    rule: Rule, reading: Reading | None, now: datetime, complete_until: datetime = EVERY_ANSWER
) -> dict[str, SourceWindow]:
    """The answers whose labels the rule's window counts, by source: those of the last `window` that may be read.

    A rule without detectors has no reading; then a delayed label counts when its answer is as old as the rule says and
    not after `complete_until`. A source is missing while it cannot be told how old its answers must be.
    """
    windows = dict[str, SourceWindow]()
    for source in rule.sources:
        late_share = None
        if reading is None:
            maturity = rule.mature if source == "delayed" and rule.mature is not None else _NO_WAIT
            end = min(now - maturity, complete_until) if source == "delayed" else now - maturity
        elif source in reading.maturity:
            maturity, end = reading.maturity[source], min(reading.after.until[source], now)
            if source == "delayed":
                late_share = uncovered_share(reading.after.lags[source], maturity)
        else:
            continue
        windows[source] = SourceWindow(end - rule.window, end, maturity, late_share)
    return windows


def waiting_sources(rule: Rule, reading: Reading | None) -> tuple[str, ...]:
    """The sources that have labels none of which is read, because it cannot be told yet how late they come."""
    if reading is None:
        return ()
    return tuple(
        source
        for source in rule.sources
        if source not in reading.maturity and reading.after.lags[source].first_at is not None
    )


def windows_since(windows: Mapping[str, SourceWindow], moment: datetime) -> dict[str, SourceWindow]:
    """The windows without the answers given before a moment."""
    return {
        source: replace(window, start=min(max(window.start, moment), window.end)) for source, window in windows.items()
    }
