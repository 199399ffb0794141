"""A changed threshold leaves a trace, with what it was before; the same rules leave none."""

import pytest

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.monitoring.config_changes import audit_rule_changes, describe_changes
from tests.support.monitoring_world import RULES, SECRET, with_rules
from tests.support.store_rows import verify_audit_log


@pytest.mark.both_databases
def test_rules_are_noted_when_first_seen_and_when_they_change(context: AppContext) -> None:
    with_rules(context)
    assert audit_rule_changes(context) == ["first seen"]
    assert audit_rule_changes(context) == []
    with_rules(context, RULES.replace("above: 0.5 points", "above: 5 points").replace(", for: 2m", ""))
    changes = audit_rule_changes(context)
    assert len(changes) == 2
    assert changes[0].startswith("rules.accuracy-drop.above: ")
    assert changes[1].endswith("-> unset")
    with context.database.read() as connection:
        newest, first = audit_entries.recent_entries(connection)
    assert (newest["actor"], newest["action"], newest["subject"]) == ("watcher", "load-rules", "rules/digits")
    assert newest["details"]["changes"] == changes
    assert newest["details"]["digest"] != first["details"]["digest"]
    assert verify_audit_log(context.database).ok


def test_a_rule_that_moved_in_the_file_changed_no_value_but_the_file(context: AppContext) -> None:
    with_rules(context)
    audit_rule_changes(context)
    with_rules(context, RULES + "# a remark\n")
    assert audit_rule_changes(context) == []
    with context.database.read() as connection:
        assert len(audit_entries.recent_entries(connection)) == 2


def test_no_secret_is_noted(context: AppContext) -> None:
    with_rules(context)
    audit_rule_changes(context)
    with context.database.read() as connection:
        told = str(audit_entries.recent_entries(connection))
    assert SECRET not in told
    assert "slack.test" not in told


def test_rules_that_appear_and_vanish_are_told() -> None:
    assert describe_changes({"a": "1", "b": "2"}, {"b": "3", "c": "4"}) == [
        "a: 1 -> unset",
        "b: 2 -> 3",
        "c: unset -> 4",
    ]
