"""Decides column by column whether too many values are missing, unknown or outside the range.

What is judged is how far a share of the window's rows lies above the same share of the rows that the version was made
with, which is known from the first hour on. The limits of that rise are differences of exact limits of both shares
(Clopper and Pearson 1934), each with half of the chance to be wrong, and Holm's procedure (1979) shares that chance
among the columns. So a look at which no column's true rise is above the threshold blames any with at most that chance,
where rows are wrong independently of each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from monitors.decisions.columns.watched_columns import nothing_noted, watched_columns
from monitors.decisions.finding import (
    Detectors,
    Finding,
    Findings,
    make_finding,
    samples_missing,
    state_by_window,
    verdict_sentence,
)
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, percent_text
from monitors.statistics.holm import holm_levels
from monitors.statistics.intervals import clopper_pearson
from monitors.windows.column_window import CellLayout, ColumnCounts, ColumnWindow
from monitors.windows.window import Baseline
from monitors.windows.window_counts import WindowCounts


@dataclass(frozen=True)
class _Fault:
    """What is counted of a column: how many of the reference and of the window, and the words for it."""

    count: Callable[[ColumnCounts], tuple[int, int]]
    applies: Callable[[CellLayout], bool]
    noun: str
    text: Callable[[ColumnCounts, int], str]


def _missing_text(_column: ColumnCounts, _version: int) -> str:
    return "have no value"


def _unseen_text(_column: ColumnCounts, version: int) -> str:
    return f"have a category that version {version} does not know"


def _outside_text(column: ColumnCounts, _version: int) -> str:
    """Outside which range, and on which side."""
    below, above = column.cells.names[-3:-1]
    sides = ", ".join(f"{n:,} {name}" for name, n in ((below, column.newest[-3]), (above, column.newest[-2])) if n)
    return f"lie outside the range ({sides})" if sides else "lie outside the range"


_MISSING: Final = _Fault(lambda column: column.missing, lambda _: True, "a name", _missing_text)
_UNSEEN: Final = _Fault(
    lambda column: column.unseen, lambda cells: cells.is_category, "categories that are known", _unseen_text
)
_OUTSIDE: Final = _Fault(lambda column: column.outside, lambda cells: cells.has_range, "a range", _outside_text)


_FAULTS: Final = {"column_missing": _MISSING, "column_unseen": _UNSEEN, "column_range": _OUTSIDE}


def judged_columns(rule: Rule, window: ColumnWindow) -> tuple[ColumnCounts, ...]:
    """The columns that a rule about shares decides about."""
    return tuple(column for column in window.named(rule.column) if _FAULTS[rule.metric].applies(column.cells))


def column_missing(rule: Rule, tally: WindowCounts, _baseline: Baseline, _detectors: Detectors) -> Findings:
    """Whether a column has more missing values than the rows that the version was made with."""
    return nothing_noted(rule, tally) or _decide(rule, tally)


def column_unseen(rule: Rule, tally: WindowCounts, _baseline: Baseline, _detectors: Detectors) -> Findings:
    """Whether a column has more categories that the version does not know."""
    return _decide(rule, tally)


def column_range(rule: Rule, tally: WindowCounts, _baseline: Baseline, _detectors: Detectors) -> Findings:
    """Whether a column has more numbers outside its range."""
    return _decide(rule, tally)


def _decide(rule: Rule, tally: WindowCounts) -> Findings:
    fault = _FAULTS[rule.metric]
    watched = watched_columns(rule, tally, fault.applies, fault.noun)
    if isinstance(watched, Finding):
        return (watched,)
    window, columns = watched
    levels = _holm_levels(rule, window.rows, columns, fault)
    return tuple(_one_column(rule, tally, window, column, fault, levels[column.name]) for column in columns)


def _holm_levels(rule: Rule, rows: int, columns: Sequence[ColumnCounts], fault: _Fault) -> dict[str, float]:
    """The level at which each column is judged in the end."""
    by_name = {column.name: column for column in columns}

    def reject(names: Sequence[str], level: float) -> list[str]:
        lows = {name: rise_limits(rows, by_name[name], fault.count(by_name[name]), 1 - level)[0] for name in names}
        return [name for name, low in lows.items() if low > rule.threshold]

    return holm_levels(by_name, 1 - rule.confidence, reject)


def rise_limits(rows: int, column: ColumnCounts, counts: tuple[int, int], confidence: float) -> tuple[float, float]:
    """Limits of how far a share of the window lies above the reference's, each with that confidence.

    `counts` are those of the reference and of the window. Without a reference its share is taken as nothing.
    """
    before, now = counts
    if not column.reference_rows:
        return clopper_pearson(now, rows, confidence)
    half = (1 + confidence) / 2
    low, high = clopper_pearson(now, rows, half)
    low_before, high_before = clopper_pearson(before, column.reference_rows, half)
    return low - high_before, high - low_before


def _one_column(
    rule: Rule, tally: WindowCounts, window: ColumnWindow, column: ColumnCounts, fault: _Fault, level: float
) -> Finding:
    before, now = fault.count(column)
    share, first = now / window.rows, before / column.reference_rows if column.reference_rows else 0.0
    low, high = rise_limits(window.rows, column, (before, now), 1 - level)
    state = state_by_window(rule, window.rows, share - first, low)
    reference = f", against {percent_text(first)} of the {column.reference_rows:,} {window.reference_text}"
    if not column.reference_rows:
        reference = ""
    sentence = (
        f"Column {column.name}: {now:,} of {count_text(window.rows, 'row')} {fault.text(column, tally.version)}, "
        f"{percent_text(share)}{reference}. {verdict_sentence(rule, state, low, None)}"
    )
    needed = samples_missing(rule, window.rows, state)
    return make_finding(
        rule, tally, state, window.rows, sentence, share - first, low, high, first, needed, key=column.name
    )
