"""How weighted numbers are told beside the counts they rest on, so that no sentence contradicts itself."""

from collections.abc import Sequence

from monitors.rules.formatting import percent_text
from monitors.statistics.weighted_share import WeightedCount


def weighting_note(cells: Sequence[WeightedCount]) -> str:
    """That a share of right answers is weighted, and what it is as counted; nothing for labels of one weight."""
    if len(cells) < 2:
        return ""
    n, wrong = sum(cell.n for cell in cells), sum(cell.wrong for cell in cells)
    return f", weighted by their chance to be drawn ({percent_text(1 - wrong / n)} as counted)"
