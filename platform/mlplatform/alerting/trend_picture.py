"""Reads how an alert's value went, and draws it as a small picture for mail."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from PIL import Image, ImageDraw
from sqlalchemy import Connection, select

from mlplatform.store.tables.alerting import evaluations
from monitors.alerts import Alert
from monitors.notices.notice import keys_text
from monitors.notices.trend import Trend, trend_of
from monitors.rules.alerts_config import Rule

MAX_VALUES: Final = 60
WIDTH, HEIGHT, MARGIN, SCALE = 480, 80, 6, 2
"""In pixels as they are shown; the picture has SCALE times as many each way, and is made smaller once to be smooth."""
PAPER, LINE, LIMIT, LAST = (255, 255, 255), (31, 84, 153), (176, 58, 46), (31, 84, 153)
DASH: Final = 8


def load_trend(connection: Connection, rule: Rule, alert: Alert) -> Trend | None:
    """The alert's value at the newest evaluations of its rule and version, drawn; None where too few had one."""
    query = (
        select(evaluations.c.findings)
        .where(
            evaluations.c.model_name == alert.model,
            evaluations.c.rule == rule.name,
            evaluations.c.model_version == alert.version,
        )
        .order_by(evaluations.c.slot.desc())
        .limit(MAX_VALUES)
    )
    newest_first = [
        one["value"]
        for findings in connection.scalars(query)
        for one in findings
        if one["key"] == alert.key and one["value"] is not None
    ]
    trend = trend_of(rule, newest_first[::-1], keys_text(rule, [alert.key]))
    return None if trend is None else replace(trend, png=draw_trend(trend.values, trend.allowed))


def draw_trend(values: Sequence[float], allowed: float) -> bytes:
    """A PNG of the values as a line, the limit dashed across it, and the last value as a dot."""
    low, high = min(*values, allowed), max(*values, allowed)
    width, height, margin = WIDTH * SCALE, HEIGHT * SCALE, MARGIN * SCALE
    steps = (width - 2 * margin) / max(1, len(values) - 1)

    def place(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return height - margin - share * (height - 2 * margin)

    picture = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(picture)
    for start in range(0, width, 2 * DASH * SCALE):
        pen.line([(start, place(allowed)), (start + DASH * SCALE, place(allowed))], LIMIT, SCALE)
    points = [(margin + steps * number, place(value)) for number, value in enumerate(values)]
    pen.line(points, LINE, 2 * SCALE, joint="curve")
    x, y = points[-1]
    pen.ellipse([x - margin / 1.5, y - margin / 1.5, x + margin / 1.5, y + margin / 1.5], LAST)
    file = io.BytesIO()
    picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).quantize(32).save(file, "PNG", optimize=True)
    return file.getvalue()
