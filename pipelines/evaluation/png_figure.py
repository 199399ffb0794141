"""Turns figures into PNG bytes, without matplotlib's global state."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 110


def literal_text(text: str) -> str:
    """A text that is drawn as it is: between dollar signs matplotlib reads formulas, and fails at what is none."""
    return text.replace("$", r"\$")


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
