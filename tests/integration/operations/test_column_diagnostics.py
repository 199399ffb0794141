"""What the doctor says of rules about columns."""

from dataclasses import replace

from mlplatform.context import AppContext
from registry.model_contract import TableInputs
from tests.support.diagnostics_world import look
from tests.support.monitoring_world import with_rules
from tests.support.table_world import COLUMNS, CONTRACT, answer_rows, customers, promote_table

RULES = """\
version: 1
model: digits
rules:
  - {name: gaps, metric: column_missing, above: 1 %, window: 6h, min_samples: 100}
  - {name: unseen, metric: column_unseen, column: age, above: 1 %, window: 6h, min_samples: 100}
  - {name: years, metric: column_range, column: years, above: 1 %, window: 6h, min_samples: 100}
  - {name: skew, metric: column_skew, above: 30 %, window: 6h, min_samples: 100}
"""


def test_each_rule_about_columns_says_what_it_can_find(deployment: AppContext) -> None:
    context = with_rules(deployment, RULES)
    promote_table(context, 2)
    few = dict(zip(("gaps", "unseen", "years", "skew"), look(context, "columns"), strict=True))
    assert few["gaps"] == ("note", "rule gaps: 0 rows in its 6h; it decides from 100 on")
    answer_rows(context, customers(500, 1), context.clock(), version=2)
    lines = dict(zip(("gaps", "unseen", "years", "skew"), look(context, "columns"), strict=True))
    assert lines["gaps"][0] == "ok"
    assert "with 500 rows in its 6h, a rise by" in lines["gaps"][1]
    assert "in one of 2 columns is found at a look in 9 of 10 cases" in lines["gaps"][1]
    assert lines["unseen"] == ("note", "rule unseen: it decides about no column of version 2")
    assert lines["years"] == ("problem", "rule years: there is no column 'years' that is counted; there are age, plan")
    assert lines["skew"] == ("ok", "rule skew: 500 rows in its 6h, 2 columns")


def test_a_version_that_noted_nothing_can_show_neither_gaps_nor_skew(deployment: AppContext) -> None:
    bare = tuple(replace(column, profile=None) for column in COLUMNS)
    context = with_rules(deployment, RULES)
    promote_table(context, 2, replace(CONTRACT, inputs=TableInputs(bare)))
    answer_rows(context, customers(500, 1), context.clock(), version=2)
    said = look(context, "columns")
    for _, sentence in (said[0], said[-1]):
        assert sentence.endswith("did not note how its rows were spread; train a new one")


def test_rules_about_columns_are_none_of_pictures(deployment: AppContext) -> None:
    context = with_rules(deployment, RULES)
    assert {mark for mark, _ in look(context, "columns")} == {"problem"}
    with_rules(context, RULES.split("rules:")[0] + RULES_OF_PICTURES)
    assert look(context, "columns") == [("ok", "no rule is about the columns of a table")]


RULES_OF_PICTURES = "rules:\n  - {name: drop, metric: accuracy_drop, above: 1 points, window: 1h, min_samples: 20}\n"
