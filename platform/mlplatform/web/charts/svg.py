"""Builds SVG and HTML elements with escaped attributes and texts, and the figure that every chart stands in.

A chart is as wide as its place and of a fixed height: places across are given in per cent, heights in pixels. Lines and
areas, which know no per cent, lie in a canvas of CANVAS_WIDTH that is stretched. Texts keep their size on a telephone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from markupsafe import Markup, escape

CANVAS_WIDTH: Final = 1000
"""The width of the stretched canvas; one unit is a tenth of a per cent."""


@dataclass(frozen=True)
class DataTable:
    """The data of a chart: a header, and a row of texts for each thing it shows."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def element(name: str, *children: str | Markup, **attributes: str | float | None) -> Markup:
    """An element; `class_` is its class, `font_size` is `font-size`, an attribute of None is left out.

    A page has thousands: they are joined as plain text, each child and value escaped unless it is markup already.
    """
    written = "".join(
        f' {_attribute_name(key)}="{_attribute_text(value)}"' for key, value in attributes.items() if value is not None
    )
    return Markup(f"<{name}{written}>{''.join(map(escape, children))}</{name}>")  # noqa: S704 - all of it is escaped


@cache
def _attribute_name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def percent(canvas_x: float) -> str:
    """A place on the canvas as a share of the chart's width."""
    return f"{canvas_x * 100 / CANVAS_WIDTH:.2f}%"


def stretched_canvas(height: float, *shapes: Markup) -> Markup:
    """Paths and areas that are stretched to the chart's width."""
    return element(
        "svg",
        *shapes,
        width="100%",
        height=height,
        viewBox=f"0 0 {CANVAS_WIDTH} {height:g}",
        preserveAspectRatio="none",
    )


def drawing(height: float, label: str, *shapes: Markup, class_: str = "chart") -> Markup:
    """The outermost element of a chart, which screen readers read as one picture."""
    return element("svg", *shapes, class_=class_, width="100%", height=height, role="img", aria_label=label)


def figure(title: str, picture: Markup, table: DataTable, *, note: str = "", legend: Markup | None = None) -> Markup:
    """A chart with its title, legend, note and data."""
    caption = element("figcaption", element("strong", title), *([" ", element("span", note)] if note else []))
    return element("figure", caption, legend or Markup(""), picture, _data(table), class_="chart-figure")


def legend_of(names: Iterable[tuple[str, str]]) -> Markup:
    """What the classes of a chart's shapes mean: pairs of a class and a text."""
    items = (element("li", element("span", class_=f"key {class_}", aria_hidden="true"), text) for class_, text in names)
    return element("ul", *items, class_="legend")


def _data(table: DataTable) -> Markup:
    header = element("tr", *(element("th", name, scope="col") for name in table.header))
    rows = (element("tr", *(element("td", cell) for cell in row)) for row in table.rows)
    listing = element("table", element("thead", header), element("tbody", *rows))
    return element("details", element("summary", "Data"), element("div", listing, class_="scroll"), class_="data")


def _attribute_text(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else f"{value:.6g}"
