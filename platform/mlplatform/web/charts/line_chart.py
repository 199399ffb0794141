"""A line over time with its band of uncertainty, levels to compare with, spans of trouble and events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from markupsafe import Markup

from mlplatform.web.charts.scales import TimeScale, ValueScale, time_ticks, value_scale
from mlplatform.web.charts.svg import DataTable, drawing, element, figure, legend_of, percent, stretched_canvas

_EVENTS_HEIGHT: Final = 20
_PLOT_HEIGHT: Final = 180
_AXIS_HEIGHT: Final = 22


@dataclass(frozen=True)
class Point:
    """A value at a moment, with its limits where it is an estimate, and what it rests on for the table."""

    at: datetime
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Series:
    """Points in order of time; a gap longer than `gap_seconds` breaks the line. `kind` is a class of the style."""

    name: str
    points: Sequence[Point]
    kind: str = "series-1"
    gap_seconds: float | None = None


@dataclass(frozen=True)
class Level:
    """A value that holds for the whole time, such as a threshold."""

    name: str
    value: float
    kind: str


@dataclass(frozen=True)
class Span:
    """A stretch of time behind the line, such as an open alert."""

    name: str
    start: datetime
    end: datetime
    kind: str


@dataclass(frozen=True)
class Event:
    """Something that happened at a moment; `sign` is a character or two above the line, `href` where it leads."""

    name: str
    at: datetime
    kind: str
    sign: str
    href: str = ""


@dataclass(frozen=True)
class LineChart:
    """What a chart shows over a time; `text` writes a value with its unit."""

    title: str
    scale: TimeScale
    series: Sequence[Series]
    text: Callable[[float], str]
    levels: Sequence[Level] = ()
    spans: Sequence[Span] = ()
    events: Sequence[Event] = ()
    least: float | None = None
    most: float | None = None
    note: str = ""


def line_chart(chart: LineChart) -> Markup:
    """The chart as a figure."""
    points = [point for series in chart.series for point in series.points]
    values = [value for point in points for value in (point.value, point.low, point.high) if value is not None]
    heights = value_scale(
        [*values, *(level.value for level in chart.levels)],
        _EVENTS_HEIGHT,
        _PLOT_HEIGHT,
        least=chart.least,
        most=chart.most,
    )
    bottom = _EVENTS_HEIGHT + _PLOT_HEIGHT
    picture = drawing(
        bottom + _AXIS_HEIGHT,
        _summary(chart, points),
        *(_span(span, chart.scale, bottom) for span in chart.spans),
        *_grid(heights, chart.text),
        element("line", class_="axis", x1="0", x2="100%", y1=bottom, y2=bottom),
        *time_ticks(chart.scale, bottom + 16),
        stretched_canvas(bottom, *_bands(chart, heights), *_lines(chart, heights)),
        *(_level(level, heights) for level in chart.levels),
        *_dots(chart, heights),
        *(_event(event, chart.scale, bottom) for event in chart.events),
    )
    return figure(chart.title, picture, _table(chart), note=chart.note, legend=_legend(chart))


def _summary(chart: LineChart, points: Sequence[Point]) -> str:
    if not points:
        return f"{chart.title}: no values in this time"
    last = max(points, key=lambda point: point.at)
    levels = "".join(f"; {level.name} {chart.text(level.value)}" for level in chart.levels)
    return f"{chart.title}: {len(points)} values, the last {chart.text(last.value)}{levels}"


def _span(span: Span, scale: TimeScale, bottom: float) -> Markup:
    left, right = scale.place(span.start), scale.place(span.end)
    return element(
        "rect",
        element("title", span.name),
        class_=f"span {span.kind}",
        x=percent(left),
        y=_EVENTS_HEIGHT,
        width=percent(max(2.0, right - left)),
        height=bottom - _EVENTS_HEIGHT,
    )


def _grid(heights: ValueScale, text: Callable[[float], str]) -> list[Markup]:
    shapes = []
    for tick in heights.ticks:
        y = heights.place(tick)
        shapes.append(element("line", class_="grid", x1="0", x2="100%", y1=y, y2=y))
        shapes.append(element("text", text(tick).replace(".0 %", " %"), class_="tick", x="2", y=y - 3))
    return shapes


def _bands(chart: LineChart, heights: ValueScale) -> list[Markup]:
    shapes = []
    for series in chart.series:
        for run in _runs(series):
            limited = [(point, point.low, point.high) for point in run]
            known = [(point, low, high) for point, low, high in limited if low is not None and high is not None]
            if len(known) < 2:
                continue
            upper = [(chart.scale.place(point.at), heights.place(high)) for point, _, high in known]
            lower = [(chart.scale.place(point.at), heights.place(low)) for point, low, _ in reversed(known)]
            shapes.append(element("polygon", points=_path([*upper, *lower]), class_=f"band {series.kind}"))
    return shapes


def _lines(chart: LineChart, heights: ValueScale) -> list[Markup]:
    return [
        element(
            "polyline",
            points=_path([(chart.scale.place(point.at), heights.place(point.value)) for point in run]),
            class_=f"line {series.kind}",
            vector_effect="non-scaling-stroke",
        )
        for series in chart.series
        for run in _runs(series)
        if len(run) > 1
    ]


def _dots(chart: LineChart, heights: ValueScale) -> list[Markup]:
    """A dot for each point, with its value as a tooltip, and its limits where no neighbour draws a band with it."""
    shapes = []
    for series in chart.series:
        for run in _runs(series):
            for point in run:
                x, y = percent(chart.scale.place(point.at)), heights.place(point.value)
                if len(run) == 1 and point.low is not None and point.high is not None:
                    limits = {"y1": heights.place(point.low), "y2": heights.place(point.high)}
                    shapes.append(element("line", class_=f"whisker {series.kind}", x1=x, x2=x, **limits))
                title = element("title", f"{point.at:%Y-%m-%d %H:%M} UTC: {_point_text(point, chart.text)}")
                shapes.append(element("circle", title, class_=f"dot {series.kind}", cx=x, cy=y, r=2.5))
    return shapes


def _runs(series: Series) -> list[list[Point]]:
    """The points, apart where a gap is too long."""
    runs: list[list[Point]] = []
    for point in series.points:
        gap = series.gap_seconds
        if runs and (gap is None or (point.at - runs[-1][-1].at).total_seconds() <= gap):
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _level(level: Level, heights: ValueScale) -> Markup:
    y = heights.place(level.value)
    return element("line", element("title", level.name), class_=f"level {level.kind}", x1="0", x2="100%", y1=y, y2=y)


def _event(event: Event, scale: TimeScale, bottom: float) -> Markup:
    x = scale.place(event.at)
    anchor = "start" if x < 20 else "end" if x > 980 else "middle"
    shapes = (
        element("line", class_=f"event {event.kind}", x1=percent(x), x2=percent(x), y1=_EVENTS_HEIGHT - 4, y2=bottom),
        element("text", event.sign, class_=f"sign {event.kind}", x=percent(x), y=12, text_anchor=anchor),
    )
    title = element("title", f"{event.at:%Y-%m-%d %H:%M} UTC: {event.name}")
    return element("a", title, *shapes, href=event.href) if event.href else element("g", title, *shapes)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _legend(chart: LineChart) -> Markup:
    lines = [(f"line {series.kind}", series.name) for series in chart.series]
    levels = [(f"level {level.kind}", f"{level.name} ({chart.text(level.value)})") for level in chart.levels]
    spans = {span.kind: span.name.partition(":")[0] for span in chart.spans}
    events = {(event.kind, event.name.partition(":")[0]): None for event in chart.events}
    return legend_of(
        [
            *lines,
            *levels,
            *((f"span {kind}", name) for kind, name in spans.items()),
            *((f"event {kind}", name) for kind, name in events),
        ]
    )


def _point_text(point: Point, text: Callable[[float], str]) -> str:
    limits = "" if point.low is None or point.high is None else f" ({text(point.low)} to {text(point.high)})"
    return f"{text(point.value)}{limits}{f', {point.note}' if point.note else ''}"


def _table(chart: LineChart) -> DataTable:
    points = [
        (point.at, series.name, _point_text(point, chart.text)) for series in chart.series for point in series.points
    ]
    events = [(event.at, "event", event.name) for event in chart.events]
    spans = [(span.start, "span", f"{span.name}, until {span.end:%Y-%m-%d %H:%M} UTC") for span in chart.spans]
    rows = sorted([*points, *events, *spans])
    return DataTable(("Time (UTC)", "What", "Value"), [(f"{at:%Y-%m-%d %H:%M}", what, text) for at, what, text in rows])
