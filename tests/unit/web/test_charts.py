"""Charts: where things lie, that texts are escaped, and that the data stands beside the picture."""

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from mlplatform.web.charts.bar_chart import Bar, bar_chart
from mlplatform.web.charts.gauge import gauge
from mlplatform.web.charts.heat_map import HEAT_STEPS, heat_map, heat_step
from mlplatform.web.charts.line_chart import Event, Level, LineChart, Point, Series, Span, line_chart
from mlplatform.web.charts.scales import TimeScale, value_scale
from mlplatform.web.charts.sparkline import sparkline
from mlplatform.web.charts.step_chart import MAX_POINTS, StepLine, step_chart, thinned
from mlplatform.web.charts.svg import CANVAS_WIDTH, element

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DAY = TimeScale(NOW - timedelta(days=1), NOW)
EVIL = "<script>alert(1)</script>\"'&"


def per_cent(value: float) -> str:
    return f"{100 * value:.0f} %"


def point(hours_ago: float, value: float, low: float | None = None, high: float | None = None) -> Point:
    return Point(NOW - timedelta(hours=hours_ago), value, low, high)


def chart(*points: Point, **changes: object) -> str:
    series = [Series("estimate", points, gap_seconds=7200)]
    made = {"title": "Accuracy", "scale": DAY, "series": series, "text": per_cent} | changes
    return str(line_chart(LineChart(**made)))  # type: ignore[arg-type]


def parsed(markup: str | Markup) -> ET.Element:
    return ET.fromstring(f"<root>{markup}</root>")


def test_an_element_escapes_its_texts_and_its_attributes() -> None:
    made = element("text", EVIL, class_=EVIL, font_size=1.5, x=None)
    assert "<script>" not in made
    [text] = parsed(made)
    assert text.text == EVIL
    assert text.attrib == {"class": EVIL, "font-size": "1.5"}


def test_times_and_values_lie_where_they_belong_and_outsiders_at_the_edge() -> None:
    assert [DAY.place(NOW - timedelta(hours=hours)) for hours in (24, 12, 0, 48)] == [0, 500, CANVAS_WIDTH, 0]
    heights = value_scale([0.0, 1.0], 10, 100, least=0.0, most=1.0)
    assert [heights.place(value) for value in (1.0, 0.5, 0.0, 7.0)] == [10, 60, 110, 10]


@pytest.mark.parametrize("length", [timedelta(minutes=5), timedelta(hours=2), timedelta(days=1), timedelta(days=400)])
def test_a_time_axis_has_few_ticks_all_within_it(length: timedelta) -> None:
    scale = TimeScale(NOW - length, NOW)
    moments = [moment for moment, _ in scale.ticks]
    assert 1 <= len(moments) <= 6
    assert all(scale.start <= moment <= scale.end for moment in moments)


@pytest.mark.parametrize("values", [[], [0.0], [0.97, 0.98], [5.0, 5.0], [-3.0, 12_000.0]])
def test_a_value_axis_has_round_ticks_within_it(values: list[float]) -> None:
    scale = value_scale(values, 0, 100)
    assert 2 <= len(scale.ticks) <= 12
    assert all(scale.low - 1e-9 <= tick <= scale.high + 1e-9 for tick in scale.ticks)


def test_a_gap_breaks_the_line_and_its_band_and_a_single_point_keeps_its_limits() -> None:
    made = chart(point(10, 0.9, 0.8, 0.95), point(9, 0.8, 0.7, 0.9), point(2, 0.5, 0.4, 0.6))
    kinds = re.findall(r'class="(line|band|whisker|dot) series-1"', made)
    assert kinds == ["band", "line", "dot", "dot", "whisker", "dot"]


def test_the_data_of_a_chart_stands_in_a_table_in_order_of_time() -> None:
    made = chart(
        point(3, 0.9, 0.8, 0.95),
        point(2, 0.5),
        events=[Event("promotion: version 2", NOW - timedelta(hours=4), "promotion", "v2")],
        spans=[Span("alert: drop", NOW - timedelta(hours=1), NOW, "critical")],
    )
    rows = [[cell.text for cell in row] for row in parsed(made).iter("tr")][1:]
    assert rows == [
        ["2026-11-30 08:00", "event", "promotion: version 2"],
        ["2026-11-30 09:00", "estimate", "90 % (80 % to 95 %)"],
        ["2026-11-30 10:00", "estimate", "50 %"],
        ["2026-11-30 11:00", "span", "alert: drop, until 2026-11-30 12:00 UTC"],
    ]


def test_what_people_wrote_becomes_no_markup_in_a_chart() -> None:
    made = chart(
        point(1, 0.5),
        title=EVIL,
        note=EVIL,
        levels=[Level(EVIL, 0.4, "golden")],
        events=[Event(EVIL, NOW, "promotion", EVIL, f"alerts/{EVIL}")],
        spans=[Span(EVIL, NOW - timedelta(hours=1), NOW, "critical")],
    )
    assert "<script" not in made
    assert EVIL in "".join(parsed(made).itertext())


def test_an_empty_chart_says_that_there_is_nothing() -> None:
    assert 'aria-label="Accuracy: no values in this time"' in chart(series=[])


def test_no_chart_styles_itself() -> None:
    made = chart(point(3, 0.9, 0.8, 0.95), point(2, 0.5)) + sparkline([1.0, 3.0, 2.0], "volume")
    assert not re.search(r"\s(style|on\w+)=", made)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 1.0], [3.0, 1.0, 2.0]])
def test_a_sparkline_goes_across_whatever_there_is(values: list[float]) -> None:
    [line] = parsed(sparkline(values, "volume")).iter("polyline")
    places = line.attrib["points"].split()
    assert len(places) == (2 if len(values) == 1 else len(values))
    if places:
        assert places[0].startswith("0.0,")
        assert places[-1].startswith(f"{CANVAS_WIDTH}.0,")


def test_bars_stand_on_each_other_and_none_is_drawn_for_nothing() -> None:
    bars = [Bar(NOW - timedelta(hours=2), NOW - timedelta(hours=1), {"3": 4.0, EVIL: 2.0, "5": 0.0})]
    made = bar_chart(
        "Volume", DAY, bars, [("3", "series-1"), (EVIL, "series-2"), ("5", "series-3")], lambda n: f"{n:g}"
    )
    shapes = list(parsed(made).iter("rect"))
    assert len(shapes) == 2
    lower, upper = ((float(shape.attrib["y"]), float(shape.attrib["height"])) for shape in shapes)
    assert upper[0] + upper[1] == pytest.approx(lower[0], abs=0.01)
    assert "<script" not in made


@pytest.mark.parametrize(("share", "width"), [(-1.0, "0.00%"), (0.0, "0.00%"), (0.5, "50.00%"), (7.0, "100.00%")])
def test_a_gauge_is_never_fuller_than_full(share: float, width: str) -> None:
    _, filled = parsed(gauge(share, EVIL, "breach")).iter("rect")
    assert filled.attrib["width"] == width


def test_a_heat_map_has_a_cell_for_each_value_and_shows_whatever_is_above_nothing() -> None:
    hour = NOW - timedelta(hours=3)
    cells = {("3", hour): (0.0, "0 of 9 wrong"), (EVIL, hour): (0.001, EVIL)}
    made = heat_map("Errors", DAY, ["3", EVIL], cells, lambda start: start + timedelta(hours=1))
    assert re.findall(r'class="heat (heat-\d)"', made) == ["heat-0", "heat-1"]
    assert "<script" not in made
    assert heat_step(1.0) == HEAT_STEPS


def test_a_step_chart_draws_a_line_for_each_metric_and_keeps_the_values_as_a_table() -> None:
    lines = [StepLine(f"train {EVIL}", [(1, 0.8), (2, 0.4), (3, 0.3)]), StepLine("validation", [(1, 0.9)])]
    root = parsed(step_chart("Loss", [*lines, StepLine("empty", [])], "{:.2f}".format))
    assert len(root.findall(".//polyline")) == 1, "one point is a dot, and no line"
    assert len(root.findall(".//circle")) == 4
    rows = [[cell.text for cell in row] for row in root.findall(".//tbody/tr")]
    assert rows[0] == ["1", f"train {EVIL}", "0.80"]
    assert len(rows) == 4
    assert "empty" not in "".join(root.itertext())


def test_a_step_chart_without_a_value_says_so() -> None:
    assert "Loss: no values yet" in step_chart("Loss", [], str)


def test_many_steps_are_thinned_and_keep_both_ends() -> None:
    points = [(step, 1.0 / step) for step in range(1, 5001)]
    kept = thinned(points)
    assert (len(kept), kept[0], kept[-1]) == (MAX_POINTS, points[0], points[-1])
    assert [step for step, _ in kept] == sorted({step for step, _ in kept})


def test_losses_of_any_size_are_drawn() -> None:
    huge = [StepLine("loss", [(1, 1e308), (2, -1e308), (3, 0.5)])]
    assert step_chart("Loss", huge, "{:.3g}".format).count("<circle") == 3
