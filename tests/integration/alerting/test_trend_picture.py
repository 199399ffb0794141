"""How an alert's value went is read from its evaluations, and drawn."""

import io
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image

from mlplatform.alerting import evaluations
from mlplatform.alerting.trend_picture import HEIGHT, LINE, MAX_VALUES, WIDTH, draw_trend, load_trend
from mlplatform.context import AppContext
from tests.support.notice_examples import THE_RULE, fired
from tests.support.platform_world import START

pytestmark = pytest.mark.both_databases


def evaluated(context: AppContext, values: list[float | None], version: int = 3) -> None:
    """An evaluation of the rule every hour, each with a finding of another key beside."""
    with context.database.write() as connection:
        for number, value in enumerate(values):
            at = START + timedelta(hours=number, minutes=version)
            findings: list[dict[str, Any]] = [{"key": "other", "value": 9.0}, {"key": "", "value": value}]
            row = evaluations.Evaluation(
                f"e{version}-{number:04}",
                THE_RULE.name,
                at,
                at,
                "digits",
                version,
                at,
                at,
                "ok",
                findings,
                None,
                "test",
            )
            evaluations.add(connection, row)


def test_the_newest_values_of_the_alerts_key_and_version_are_read_in_order(context: AppContext) -> None:
    evaluated(context, [None, 0.01, None, 0.02, 0.03])
    evaluated(context, [0.5], version=2)
    with context.database.read() as connection:
        trend = load_trend(connection, THE_RULE, fired())
    assert trend is not None
    assert trend.values == (0.01, 0.02, 0.03)
    with Image.open(io.BytesIO(trend.png)) as picture:
        assert picture.size == (WIDTH, HEIGHT)


def test_old_evaluations_are_left_out_and_one_value_is_no_course(context: AppContext) -> None:
    evaluated(context, [0.02], version=2)
    evaluated(context, [float(number) for number in range(MAX_VALUES + 5)])
    with context.database.read() as connection:
        trend = load_trend(connection, THE_RULE, fired())
    assert trend is not None
    assert trend.values == tuple(float(number) for number in range(5, MAX_VALUES + 5))


def _distance(picture: Image.Image, x: int, y: int) -> int:
    """How far a pixel is from the colour of the line."""
    pixel = picture.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return sum(abs(int(one) - other) for one, other in zip(pixel, LINE, strict=True))


def test_a_rising_value_is_a_rising_line() -> None:
    with Image.open(io.BytesIO(draw_trend([0.0, 1.0], 2.0))) as opened:
        picture = opened.convert("RGB")
        places = (WIDTH // 4, WIDTH // 2, 3 * WIDTH // 4)
        dark = [[y for y in range(HEIGHT) if _distance(picture, x, y) < 90][-1] for x in places]
    assert dark == sorted(dark, reverse=True)
    assert len(set(dark)) == 3


@pytest.mark.parametrize("values", [[0.0, 0.0], [1e-300, 1e300], [-1.0, 5.0, 5.0], [0.1] * 60])
def test_any_values_are_drawn(values: list[float]) -> None:
    assert draw_trend(values, 0.0).startswith(b"\x89PNG")
