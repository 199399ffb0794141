"""Decides column by column whether values are still spread as in the version's first days, or as where it was made.

A column is blamed when two things are shown at once: the distance, beyond what luck makes of it, is over the threshold,
and luck alone would hardly ever make such counts (`monitors.statistics.cell_counts`, exact for independent rows).
Holm's procedure shares the chance that a look may be wrong among the columns. `column_drift` compares the same hours of
the week; `column_skew` compares what is served with the rows that the version was made with, from its first hour on,
and finds what training and serving compute in different ways.
"""

from collections.abc import Sequence

from monitors.decisions.columns.watched_columns import MAX_NAMED, nothing_noted, watched_columns
from monitors.decisions.drift import SUSPECT_LEVEL, drift_state, drift_verdict, evaluation_level
from monitors.decisions.finding import Detectors, Finding, Findings, make_finding
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, percent_text
from monitors.statistics.cell_counts import cells_p_value, distance_beyond_luck
from monitors.statistics.holm import holm_rejections
from monitors.windows.column_window import ColumnCounts, ColumnWindow
from monitors.windows.window import Baseline
from monitors.windows.window_counts import WindowCounts


def column_drift(rule: Rule, tally: WindowCounts, _baseline: Baseline, _detectors: Detectors) -> Findings:
    """How far each column lies from the same hours of the version's first days."""
    return _decide(rule, tally)


def column_skew(rule: Rule, tally: WindowCounts, _baseline: Baseline, _detectors: Detectors) -> Findings:
    """How far each column lies from the rows that the version was made with."""
    return nothing_noted(rule, tally) or _decide(rule, tally)


def _decide(rule: Rule, tally: WindowCounts) -> Findings:
    watched = watched_columns(rule, tally, lambda _: True, "a name")
    if isinstance(watched, Finding):
        return (watched,)
    window, columns = watched
    first = max(column.reference_rows for column in columns)
    if first < rule.min_samples:
        sentence = (
            f"There are {first:,} {window.reference_text} to compare with; the rule compares from "
            f"{rule.min_samples:,} on. A longer `window` or `reference`, or a smaller `min_samples`, makes it decide."
        )
        return (make_finding(rule, tally, "insufficient", window.rows, sentence),)
    compared = [column for column in columns if column.reference_rows]
    p_values = [cells_p_value(column.reference, column.newest, column.cells.in_order) for column in compared]
    proved = holm_rejections(p_values, evaluation_level(rule))
    likely = holm_rejections(p_values, SUSPECT_LEVEL)
    return tuple(
        _one_column(rule, tally, window, column, is_proved, is_likely)
        for column, is_proved, is_likely in zip(compared, proved, likely, strict=True)
    )


def _one_column(
    rule: Rule, tally: WindowCounts, window: ColumnWindow, column: ColumnCounts, is_proved: bool, is_likely: bool
) -> Finding:
    distance = distance_beyond_luck(column.reference, column.newest)
    is_over = distance > rule.threshold
    state = drift_state(is_over and is_proved, is_over and is_likely)
    sentence = (
        f"Column {column.name}: {percent_text(distance)} of {count_text(window.rows, 'row')} would have to have "
        f"another value to be like the {column.reference_rows:,} {window.reference_text}, "
        "beyond what luck makes. Most changed: "
        f"{'; '.join(largest_shifts(column))}. {drift_verdict(rule, state, window.rows)}"
    )
    return make_finding(rule, tally, state, window.rows, sentence, distance, key=column.name)


def largest_shifts(column: ColumnCounts) -> Sequence[str]:
    """The cells whose shares changed most, in words."""
    first, newest = sum(column.reference), sum(column.newest)
    shares = [
        (now / newest, before / first, name)
        for name, before, now in zip(column.cells.names, column.reference, column.newest, strict=True)
    ]
    largest = sorted(shares, key=lambda share: -abs(share[0] - share[1]))[:MAX_NAMED]
    return [f"{name} {percent_text(now)} (then {percent_text(before)})" for now, before, name in largest]
