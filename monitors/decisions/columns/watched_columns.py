"""Says which columns of a window a rule decides about, or why it cannot decide yet."""

from collections.abc import Callable

from monitors.decisions.finding import Finding, Findings, make_finding, no_predictions_sentence
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, duration_text, join_names
from monitors.windows.column_window import CellLayout, ColumnCounts, ColumnWindow
from monitors.windows.window_counts import WindowCounts

MAX_NAMED = 3


def nothing_noted(rule: Rule, tally: WindowCounts) -> Findings:
    """The finding that the version did not note how its own rows were; none where it did."""
    window = tally.columns
    if window is None or not window.columns or any(column.reference_rows for column in window.columns):
        return ()
    sentence = (
        f"Version {tally.version} did not note how the values of its own rows were spread; a version that is trained "
        "anew does."
    )
    return (make_finding(rule, tally, "no-data", 0, sentence),)


def watched_columns(
    rule: Rule, tally: WindowCounts, applies: Callable[[CellLayout], bool], noun: str
) -> tuple[ColumnWindow, tuple[ColumnCounts, ...]] | Finding:
    """The columns that the rule names, or all, of those that it applies to; else the finding that there are none.

    `noun` says what the columns must have: "a range". Too few rows, or a reference that is not complete, leave a
    finding too.
    """
    window = tally.columns
    if window is None:
        return make_finding(rule, tally, "no-data", 0, f"Version {tally.version} takes no table, so it has no columns.")
    if unknown := window.unknown(rule.column):
        known = join_names([column.name for column in window.columns], 20)
        sentence = f"Version {tally.version} has no column {unknown[0]!r} that is counted; it has {known}."
        return make_finding(rule, tally, "no-data", 0, sentence)
    columns = tuple(column for column in window.named(rule.column) if applies(column.cells))
    if not columns:
        return make_finding(rule, tally, "no-data", 0, f"No column that the rule watches has {noun}.")
    if not window.is_reference_complete:
        sentence = (
            f"Version {tally.version} has not served for {duration_text(rule.reference)} yet, its reference; the rule "
            "compares what comes later with it."
        )
        return make_finding(rule, tally, "insufficient", window.rows, sentence)
    if not window.rows:
        return make_finding(rule, tally, "no-data", 0, no_predictions_sentence(tally))
    if window.rows < rule.min_samples:
        sentence = f"The rule decides from {count_text(rule.min_samples, 'row')} on; there are {window.rows:,}."
        needed = rule.min_samples - window.rows
        return make_finding(rule, tally, "insufficient", window.rows, sentence, needed=needed)
    return window, columns
