"""Lines over the steps of a training, such as the loss of each epoch, on an axis of whole numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from mlplatform.web.charts.scales import ValueScale, value_scale
from mlplatform.web.charts.svg import (
    CANVAS_WIDTH,
    DataTable,
    drawing,
    element,
    figure,
    legend_of,
    percent,
    stretched_canvas,
)

_TOP: Final = 16
_PLOT_HEIGHT: Final = 180
_AXIS_HEIGHT: Final = 22
MAX_POINTS: Final = 200
"""More points of one line are thinned out: a chart is some hundred pixels wide."""
MAX_VALUE: Final = 1e100
"""Values beyond are drawn and told as this."""
MAX_LINES: Final = 4
"""Lines that have a colour of their own."""


@dataclass(frozen=True)
class StepLine:
    """Values by step, in order of the steps."""

    name: str
    points: Sequence[tuple[int, float]]


def step_chart(title: str, lines: Sequence[StepLine], text: Callable[[float], str], *, note: str = "") -> Markup:
    """The chart of at most MAX_LINES lines as a figure; lines without a point are left out."""
    drawn = [StepLine(line.name, _clipped(thinned(line.points))) for line in lines if line.points][:MAX_LINES]
    steps = [step for line in drawn for step, _ in line.points] or [0]
    first, last = min(steps), max(steps)

    def across(step: int) -> float:
        return CANVAS_WIDTH * (0.02 + 0.96 * ((step - first) / (last - first) if last > first else 0.5))

    heights = value_scale([value for line in drawn for _, value in line.points], _TOP, _PLOT_HEIGHT, least=0.0)
    bottom = _TOP + _PLOT_HEIGHT
    picture = drawing(
        bottom + _AXIS_HEIGHT,
        _summary(title, drawn, text),
        *_grid(heights, text),
        element("line", class_="axis", x1="0", x2="100%", y1=bottom, y2=bottom),
        *(
            element("text", f"{step:,}", class_="tick", x=percent(across(step)), y=bottom + 16, text_anchor="middle")
            for step in _ticks(first, last)
        ),
        stretched_canvas(
            bottom,
            *(
                element(
                    "polyline",
                    points=" ".join(f"{across(step):.1f},{heights.place(value):.1f}" for step, value in line.points),
                    class_=f"line series-{number}",
                    vector_effect="non-scaling-stroke",
                )
                for number, line in enumerate(drawn, 1)
                if len(line.points) > 1
            ),
        ),
        *(
            element(
                "circle",
                element("title", f"{line.name}, step {step:,}: {text(value)}"),
                class_=f"dot series-{number}",
                cx=percent(across(step)),
                cy=heights.place(value),
                r=2.5,
            )
            for number, line in enumerate(drawn, 1)
            for step, value in line.points
        ),
    )
    rows = sorted((step, line.name, value) for line in drawn for step, value in line.points)
    table = DataTable(("Step", "What", "Value"), [(f"{step:,}", name, text(value)) for step, name, value in rows])
    legend = legend_of([(f"line series-{number}", line.name) for number, line in enumerate(drawn, 1)])
    return figure(title, picture, table, note=note, legend=legend)


def thinned(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """At most MAX_POINTS of them, evenly apart, the first and the last among them."""
    if len(points) <= MAX_POINTS:
        return points
    stride = (len(points) - 1) / (MAX_POINTS - 1)
    return [points[round(place * stride)] for place in range(MAX_POINTS)]


def _clipped(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """The points within what a scale can hold: the difference of two huge values is no number."""
    return [(step, min(MAX_VALUE, max(-MAX_VALUE, value))) for step, value in points]


def _ticks(first: int, last: int) -> list[int]:
    """At most six whole steps, both ends among them."""
    count = min(6, last - first + 1)
    return sorted({first + round(place * (last - first) / max(1, count - 1)) for place in range(count)})


def _grid(heights: ValueScale, text: Callable[[float], str]) -> list[Markup]:
    shapes = []
    for tick in heights.ticks:
        y = heights.place(tick)
        shapes.append(element("line", class_="grid", x1="0", x2="100%", y1=y, y2=y))
        shapes.append(element("text", text(tick), class_="tick", x="2", y=y - 3))
    return shapes


def _summary(title: str, lines: Sequence[StepLine], text: Callable[[float], str]) -> str:
    last = "; ".join(f"{line.name} {text(line.points[-1][1])} at step {line.points[-1][0]:,}" for line in lines)
    return f"{title}: {last or 'no values yet'}"
