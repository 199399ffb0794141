"""Shares by row and time as a map of shades."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from markupsafe import Markup

from mlplatform.web.charts.scales import TimeScale
from mlplatform.web.charts.svg import CANVAS_WIDTH, DataTable, drawing, element, figure, percent

HEAT_STEPS: Final = 8
"""Shades of a heat map, from 0 for nothing to this for all."""
_AXIS_HEIGHT: Final = 20
_HEAT_ROW_HEIGHT: Final = 22
_HEAT_LABELS: Final = 130.0
"""How much of the canvas the names of a heat map's rows take."""


def heat_map(
    title: str,
    scale: TimeScale,
    rows: Sequence[str],
    cells: Mapping[tuple[str, datetime], tuple[float, str]],
    length: Callable[[datetime], datetime],
    note: str = "",
    noun: str = "Class",
) -> Markup:
    """Shares from 0 to 1 by row and start of a stretch of time, each with a text; `length` gives a stretch's end.

    `noun` says what the rows are.
    """
    shapes, data = [], []
    width = CANVAS_WIDTH - _HEAT_LABELS

    def place(moment: datetime) -> float:
        return _HEAT_LABELS + scale.place(moment) * width / CANVAS_WIDTH

    for number, row in enumerate(rows):
        y = number * _HEAT_ROW_HEIGHT
        shapes.append(element("text", row[:14], class_="tick", x="2", y=y + 15))
        for (name, start), (share, text) in cells.items():
            if name != row:
                continue
            left, right = place(start), place(length(start))
            tip = element("title", f"{row}, {start:%Y-%m-%d %H:%M} UTC: {text}")
            where = {"x": percent(left), "width": percent(max(1.0, right - left - 1))}
            shapes.append(
                element(
                    "rect", tip, class_=f"heat heat-{heat_step(share)}", y=y + 1, height=_HEAT_ROW_HEIGHT - 2, **where
                )
            )
            data.append((row, f"{start:%Y-%m-%d %H:%M}", text))
    bottom = len(rows) * _HEAT_ROW_HEIGHT
    for moment, label in scale.ticks:
        x = place(moment)
        anchor = "end" if x > CANVAS_WIDTH - 50 else "middle"
        shapes.append(element("text", label, class_="tick", x=percent(x), y=bottom + 15, text_anchor=anchor))
    picture = drawing(bottom + _AXIS_HEIGHT, f"{title}: {len(data)} cells", *shapes)
    return figure(title, picture, DataTable((noun, "From (UTC)", "Value"), data), note=note)


def heat_step(share: float) -> int:
    """The shade of a share; whatever is above nothing is seen."""
    return 0 if share <= 0 else min(HEAT_STEPS, 1 + int(share * (HEAT_STEPS - 1) + 0.5))
