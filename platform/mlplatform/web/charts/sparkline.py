"""A line without axes, for the side of a figure."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from mlplatform.web.charts.scales import value_scale
from mlplatform.web.charts.svg import CANVAS_WIDTH, drawing, element, stretched_canvas

_SPARKLINE_HEIGHT: Final = 36


def sparkline(values: Sequence[float], label: str, kind: str = "series-1") -> Markup:
    """A line without axes; one value is a level line, none an empty picture."""
    heights = value_scale(values, 2, _SPARKLINE_HEIGHT - 4)
    drawn = list(values) * 2 if len(values) == 1 else list(values)
    places = [
        f"{CANVAS_WIDTH * number / max(1, len(drawn) - 1):.1f},{heights.place(value):.1f}"
        for number, value in enumerate(drawn)
    ]
    line = element("polyline", points=" ".join(places), class_=f"line {kind}", vector_effect="non-scaling-stroke")
    return drawing(_SPARKLINE_HEIGHT, label, stretched_canvas(_SPARKLINE_HEIGHT, line), class_="sparkline")
