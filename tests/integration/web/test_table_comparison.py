"""Two versions of a table compared: the rows that one gained and lost, by their columns."""

import html
import re
from datetime import timedelta

from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.predictions.shadow_predictions import ShadowPrediction, insert_shadow_predictions
from mlplatform.web.version_pages import comparison_page
from tests.support.monitoring_world import tick, with_rules
from tests.support.rollout_rows import over
from tests.support.stub_tracking import KeptTexts
from tests.support.table_world import answer_rows, promote_table

HOSTILE = "<script>alert(1)</script>"


def test_rows_of_a_table_are_shown_by_their_columns(context: AppContext) -> None:
    world = with_rules(context.replace(tracking=KeptTexts({})))
    for version in (1, 2):
        promote_table(world, version)
    now = world.clock()
    rows = [(41.0, "gold"), (None, HOSTILE), (30.0, "free")]
    ids = answer_rows(world, rows, now, version=1)  # each answered "no"
    truths, said = ("yes", "no", "no"), ("yes", "yes", "no")
    with world.database.write() as connection:
        labels = [
            label_records.SubmittedLabel(each, truth, "audit", "ada", now)
            for each, truth in zip(ids, truths, strict=True)
        ]
        label_records.insert_labels(connection, labels, now)
        shadows = [
            ShadowPrediction(each, 2, "t", now, label, [], 0.9, 1.0) for each, label in zip(ids, said, strict=True)
        ]
        insert_shadow_predictions(connection, shadows)
    over(world.database, 2, 1, now, now + timedelta(hours=1), model_name=world.model_name)
    tick(world, minutes=1)
    page = comparison_page(world, 1, 2)
    shown = [
        re.findall(r"<dt>([^<]*)</dt><dd[^>]*>([^<]*)</dd>", part)
        for part in page.split('<div class="changed-row">')[1:]
    ]
    assert [[html.unescape(text) for _, text in cells] for cells in shown] == [["41", "gold"], ["missing", HOSTILE]]
    assert "Compared: 3." in page
    assert HOSTILE not in page
    assert "/image" not in page
