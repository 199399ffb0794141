"""Worst errors of a table on the pages of model and alert and in notices: rows by column, whatever their texts hold."""

import email
import email.policy
from collections.abc import Sequence
from datetime import timedelta

import pytest

from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.settings import Settings
from mlplatform.web.alert_page import alert_page
from mlplatform.web.model_page import model_page
from monitors.notices.notice import MAX_CELL_LENGTH, MAX_CELLS, Thumbnail
from tests.support.misread_world import body_for
from tests.support.monitoring_world import all_alerts, notices, rule, with_rules
from tests.support.page_world import no_forecasts
from tests.support.table_world import Values, answer_rows, promote_table

HOSTILE = "<script>alert(1)</script>*_`\u202e\n&amp;"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"public_url": "https://platform.test/"})


@pytest.fixture
def world(context: AppContext) -> AppContext:
    """A table whose answers are wrong for a plan with a name that wants to be a page's code."""
    with_rules(context)
    promote_table(context)
    rows: Sequence[Values] = [(float(age), HOSTILE if age % 2 else None) for age in range(18, 58)]
    ids = answer_rows(context, rows, context.clock() - timedelta(minutes=5))
    with context.database.write() as connection:
        labels = [
            label_records.SubmittedLabel(key, "yes" if number % 2 else "no", "audit", "ann", context.clock())
            for number, key in enumerate(ids)
        ]
        label_records.insert_labels(connection, labels, context.clock())
    evaluate(context, rule(context, "accuracy-drop"), context.clock())
    return context


def test_pages_show_the_rows_that_were_answered_wrongly_as_text(world: AppContext) -> None:
    [alert] = all_alerts(world)
    for page in (model_page(world, "digits", "24h", no_forecasts(world)), alert_page(world, alert.id, "token")):
        assert "<dt>age</dt><dd>" in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "<script>alert" not in page
        assert "/image" not in page, "a row has no picture"


def test_notices_tell_the_rows_as_text(world: AppContext) -> None:
    [mail] = [notice for notice in notices(world) if notice.channel == "mail"]
    message = email.message_from_string(mail.payload["message"], policy=email.policy.default)
    html, text = message.get_body(("html",)), message.get_body(("plain",))
    assert html is not None
    assert text is not None
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html.get_content()
    assert "<script>alert" not in html.get_content()
    assert "\u202e" not in html.get_content()
    assert "(age: " in text.get_content()
    assert "<script" not in str(body_for(world, "team-slack"))


def test_a_wide_row_is_shortened() -> None:
    wide = tuple((f"column {number}", "x" * 500) for number in range(30))
    shown = Thumbnail("p", "no read as yes, 98 %", None, cells=wide)
    assert len(shown.text) < MAX_CELLS * 100
    assert "18 more columns" in shown.text
    assert list(shown.shown_cells) == [f"column {number}" for number in range(MAX_CELLS)]  # what webhooks send
    assert {len(value) for value in shown.shown_cells.values()} == {MAX_CELL_LENGTH}
