"""Amounts over time as bars, the parts of each stretch of time on top of each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from markupsafe import Markup

from mlplatform.web.charts.scales import TimeScale, time_ticks, value_scale
from mlplatform.web.charts.svg import DataTable, drawing, element, figure, legend_of, percent

_BAR_PLOT_HEIGHT: Final = 110
_AXIS_HEIGHT: Final = 20


@dataclass(frozen=True)
class Bar:
    """A stretch of time, and how much of each part lies in it, by the part's name."""

    start: datetime
    end: datetime
    parts: Mapping[str, float]


def bar_chart(
    title: str,
    scale: TimeScale,
    bars: Sequence[Bar],
    parts: Sequence[tuple[str, str]],
    text: Callable[[float], str],
    note: str = "",
) -> Markup:
    """Amounts over time, the parts of each stretch on top of each other; `parts` are names with their class."""
    heights = value_scale([0.0, *(sum(bar.parts.values()) for bar in bars)], 4, _BAR_PLOT_HEIGHT, least=0.0)
    bottom = 4 + _BAR_PLOT_HEIGHT
    shapes = []
    for tick in heights.ticks:
        y = heights.place(tick)
        shapes.append(element("line", class_="grid", x1="0", x2="100%", y1=y, y2=y))
    for bar in bars:
        left, right, base = scale.place(bar.start), scale.place(bar.end), 0.0
        for name, kind in parts:
            amount = bar.parts.get(name, 0.0)
            if not amount:
                continue
            top, foot = heights.place(base + amount), heights.place(base)
            tip = element("title", f"{bar.start:%Y-%m-%d %H:%M} UTC, {name}: {text(amount)}")
            place = {"x": percent(left), "width": percent(max(1.0, right - left - 1))}
            shapes.append(element("rect", tip, class_=f"bar {kind}", y=top, height=foot - top, **place))
            base += amount
    shapes += [
        element("text", text(tick), class_="tick", x="2", y=heights.place(tick) + 12) for tick in heights.ticks[1:]
    ]
    shapes += time_ticks(scale, bottom + 15)
    rows = [
        (f"{bar.start:%Y-%m-%d %H:%M}", name, text(amount))
        for bar in bars
        for name, amount in bar.parts.items()
        if amount
    ]
    total = text(sum(amount for bar in bars for amount in bar.parts.values()))
    picture = drawing(bottom + _AXIS_HEIGHT, f"{title}: {total} in all", *shapes)
    legend = legend_of((f"bar {kind}", name) for name, kind in parts) if len(parts) > 1 else None
    return figure(title, picture, DataTable(("From (UTC)", "What", "Amount"), rows), note=note, legend=legend)
