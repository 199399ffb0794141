"""What a page of two versions shows of rows gained and lost: inputs with both answers, and counts of the golden set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mlplatform.context import AppContext
from mlplatform.feedback.changed_rows import SCAN_LIMIT, ChangedRow, changed_rows
from mlplatform.operations.views import VersionView
from mlplatform.predictions.input_views import RowCell, load_rows
from mlplatform.web.time_ranges import TimeRange
from registry.errors import GateError, RegistryError
from registry.gate.row_outcomes import ROWS_FILE, GateRowOutcomes, RowOutcomes

MAX_SHOWN: Final = 24
"""Inputs of each list that are shown, the newest ones."""
MAX_CELLS: Final = 30


@dataclass(frozen=True)
class ChangeList:
    """One list of changed rows: how many there are, and the newest of them."""

    name: str
    total: int
    rows: Sequence[ChangedRow]


@dataclass(frozen=True)
class VersionChanges:
    """Both lists, of how many compared inputs, the values of inputs that are no pictures, and the golden set in words.

    `is_cut` says that only the newest `scan_limit` labelled answers of a version were read.
    """

    compared: int
    is_cut: bool
    lists: Sequence[ChangeList]
    cells: Mapping[str, Sequence[RowCell]]
    golden: str
    max_cells: int = MAX_CELLS
    scan_limit: int = SCAN_LIMIT


def load_changes(context: AppContext, before: VersionView, after: VersionView, period: TimeRange) -> VersionChanges:
    """Rows that the later version gained and lost against the earlier one, in production and on the golden set."""
    now = context.clock()
    with context.database.read() as connection:
        found = changed_rows(connection, before.name, (before.version, after.version), period.start(now), now)
        both = (("gained", found.gained), ("lost", found.lost))
        lists = [ChangeList(name, len(rows), rows[:MAX_SHOWN]) for name, rows in both]
        shown = [row.prediction_id for each in lists for row in each.rows]
        cells = load_rows(connection, context.contracts, shown) if shown else {}
    return VersionChanges(found.compared, found.is_cut, lists, cells, _golden_text(context, before, after))


def _golden_text(context: AppContext, before: VersionView, after: VersionView) -> str:
    """How many golden rows were gained and lost, where both runs kept them of the same set; else why not."""
    try:
        marks = [_golden_marks(context, view) for view in (before, after)]
    except (GateError, RegistryError):
        return "Which golden rows each version got right cannot be read now."
    old, new = marks
    if old is None or new is None:
        return "The runs do not both keep which golden rows were right."
    if old.digest != new.digest or old.ids != new.ids:
        return "The golden sets of both versions are not the same."
    gained = sum(marks == ("0", "1") for marks in zip(old.right, new.right, strict=True))
    lost = sum(marks == ("1", "0") for marks in zip(old.right, new.right, strict=True))
    return f"Of {len(old.ids):,} golden rows {gained:,} were gained and {lost:,} lost."


def _golden_marks(context: AppContext, view: VersionView) -> RowOutcomes | None:
    text = context.tracking.read_text(view.run_id, ROWS_FILE)
    return None if text is None else GateRowOutcomes.from_json(text).golden
