"""What rules about columns can find, held against what they do find."""

import numpy as np
import pytest

from monitors.decisions.columns.column_power import smallest_rise_found
from monitors.decisions.decision import decide
from monitors.windows.column_window import CellLayout, ColumnCounts, ColumnWindow
from monitors.windows.window_counts import WindowCounts
from tests.support.monitor_examples import DIGITS, NOON, golden, rule

CELLS = CellLayout(("any value", "below -inf", "above inf", "missing"))


@pytest.mark.parametrize(("rows", "reference"), [(300, 6_000), (2_000, 500)])
def test_the_rise_that_is_promised_is_found_in_nine_of_ten_looks(rows: int, reference: int) -> None:
    made, rng, columns = rule("column_missing", above="1 %"), np.random.default_rng(7), 4
    rise = smallest_rise_found(made, rows, columns, reference)
    assert rise is not None

    def is_found(share: float) -> bool:
        missing = int(rng.binomial(rows, share))
        sick = ColumnCounts("sick", CELLS, (reference, 0, 0, 0), (rows - missing, 0, 0, missing))
        well = [ColumnCounts(f"{n}", CELLS, (reference, 0, 0, 0), (rows, 0, 0, 0)) for n in range(columns - 1)]
        window = ColumnWindow((sick, *well), rows, "rows that version 3 was made with")
        counts = WindowCounts("digits", 3, DIGITS, NOON, NOON, rows, columns=window)
        [finding] = [found for found in decide(made, counts, golden(0, 0)) if found.key == "sick"]
        return finding.state == "breach"

    assert sum(is_found(rise) for _ in range(200)) >= 170
    assert sum(is_found(rise / 2) for _ in range(200)) <= 120


def test_too_few_rows_promise_nothing() -> None:
    made = rule("column_missing", above="1 %")
    assert smallest_rise_found(made, 49, 4, 1_000) is None
    assert smallest_rise_found(made, 100, 0, 1_000) is None
    assert smallest_rise_found(rule("column_missing", above="90 %"), 50, 4, 1_000) is None
