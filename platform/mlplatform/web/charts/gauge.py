"""How full something is, as a bar."""

from typing import Final

from markupsafe import Markup

from mlplatform.web.charts.svg import CANVAS_WIDTH, drawing, element, percent

_GAUGE_HEIGHT: Final = 12


def gauge(share: float, label: str, kind: str) -> Markup:
    """How full something is, from 0 to 1."""
    filled = CANVAS_WIDTH * min(1.0, max(0.0, share))
    return drawing(
        _GAUGE_HEIGHT,
        label,
        element("title", label),
        element("rect", class_="gauge-track", width="100%", height=_GAUGE_HEIGHT, rx="3"),
        element("rect", class_=f"gauge-fill {kind}", width=percent(filled), height=_GAUGE_HEIGHT, rx="3"),
        class_="gauge",
    )
