"""Why an alert fired, in words and numbers."""

from datetime import timedelta

import pytest

from mlplatform.alerting import outbox
from mlplatform.alerting.retry_policy import RetryPolicy
from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.operations.alert_explanation import (
    AlertExplanation,
    _rule_lines,
    guarantee_text,
    load_explanation,
)
from mlplatform.operations.operator_actions import acknowledge_alert
from mlplatform.settings import Settings
from monitors.alerts import Alert
from tests.support.misread_world import misread_world
from tests.support.monitor_examples import NOON
from tests.support.monitor_examples import rule as example
from tests.support.monitoring_world import RULES, all_alerts, answer, notices, promote, rule, tick, with_rules


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"public_url": "https://platform.test"})


@pytest.fixture
def world(context: AppContext) -> AppContext:
    """A platform whose accuracy alert just fired."""
    promote(with_rules(context))
    answer(context, 18, 12)
    evaluate(context, rule(context, "accuracy-drop"), context.clock())
    return context


def explained(context: AppContext) -> AlertExplanation:
    """The newest alert, explained."""
    return load_explanation(context, all_alerts(context)[0].id)


def test_it_says_why_in_the_findings_words_and_numbers(world: AppContext) -> None:
    why = explained(world).sections["Why it fired"]
    assert why[0].startswith("Accuracy is 60.0 % on 30 labelled answers, against 99.0 % on the golden set")
    assert why[1] == "Decided 2026-01-01 12:00:01 UTC on what came since 2026-01-01 11:00:01 UTC."
    assert why[2].startswith("value: 39.0 points")
    assert why[3].startswith("interval (99 % each side): ")
    assert why[4:7] == ["baseline: 99.0 %", "allowed: 0.5 points", "samples: 30"]


def test_it_restates_the_rule_and_what_it_promises(world: AppContext) -> None:
    sections = explained(world).sections
    assert sections["The rule"] == [
        "accuracy_drop above 0.5 points, in a window of 1h",
        "decides from 20 samples on, with 99 % confidence",
        "labels from: audit, delayed",
        "fires after 0s, ends at 0.5 points or less",
        "action: retrain; tells: team-slack, mail, events, nobody, every 4h",
    ]
    assert "at most 1 %" in sections["What the rule promises"][0]


def test_it_says_what_is_one_observation_and_when_a_delayed_label_is_read() -> None:
    alert = Alert("a", "a-rule", "", "digits", 1, "warning", "firing", NOON, NOON, threshold=0.005)
    by_default = list(_rule_lines(example(false_alarms="1 per 90d"), alert))
    assert "one observation: the labels of one request from one source" in by_default
    assert (
        "delayed labels are read when their answers are as old as 95 % of the labels of right answers took to come"
        in by_default
    )
    stated = list(_rule_lines(example(false_alarms="1 per 90d", block="1d", mature="14d"), alert))
    assert "one observation: the labels of one day from one source" in stated
    assert "delayed labels are read when their answers are 2w old" in stated
    audited = list(_rule_lines(example(false_alarms="1 per 90d", sources=["audit"]), alert))
    assert not [line for line in audited if line.startswith("delayed")]
    assert "labels of one day for one observation" in guarantee_text(example(false_alarms="1 per 90d", block="1d"))


def test_the_promise_is_in_time_where_the_rule_has_a_budget() -> None:
    assert "at most 1 per 90d on average" in guarantee_text(example(false_alarms="1 per 90d"))
    assert "at most 1 %, over all classes together" in guarantee_text(example("class_error"))
    assert "at most 5 %, over all classes of hosts together" in guarantee_text(
        example("latency_ratio", confidence=0.95)
    )
    assert guarantee_text(example("volume", below="9 answers", above=None)).startswith(
        "What is counted, not estimated, has no"
    )
    early = guarantee_text(example("expected_drop", false_alarms="1 per 90d"))
    assert early.startswith(
        "While the model is as sure of its answers as on the golden set, false warnings come at most 1"
    )
    assert early.endswith("a model that is sure and wrong hides its errors. Only labels prove any.")
    watched = guarantee_text(example("latency_ratio", false_alarms="1 per 90d"))
    assert "at most 1 per 90d on average, over all classes of hosts together" in watched
    assert "observations that depend on each other" in watched


@pytest.mark.both_databases
def test_it_tells_what_happened_since_and_by_whom(world: AppContext) -> None:
    [alert] = all_alerts(world)
    tick(world, seconds=59)
    acknowledge_alert(world, alert.id, "ada")
    with world.database.write() as connection:
        first, second, _ = notices(world)
        outbox.mark_delivered(connection, first.id, world.clock())
        outbox.schedule_retry(
            connection, second, "HTTP 503: busy", RetryPolicy(1, {"critical": timedelta(0)}), world.clock()
        )
    found = explained(world)
    history = found.sections["History"]
    assert history[0].startswith("2026-01-01 12:00:01 UTC watcher: firing. Accuracy is 60.0 %")
    assert history[1] == "2026-01-01 12:01:00 UTC ada: firing → acknowledged. acknowledged"
    assert found.sections["Notices"] == [
        "2026-01-01 12:00:01 UTC firing to team-slack: delivered 2026-01-01 12:01:00 UTC, 1 try",
        "2026-01-01 12:00:01 UTC firing to mail: failed, 1 try: HTTP 503: busy",
        "2026-01-01 12:00:01 UTC firing to events: waiting, 0 tries",
    ]
    assert "acknowledged since 2026-01-01 12:01:00 UTC" in found.heading


def test_it_names_the_retraining_or_task_that_was_started(world: AppContext) -> None:
    [action] = explained(world).sections["Actions"]
    assert action.startswith("2026-01-01 12:00:01 UTC retraining ")
    assert action.endswith(": queued")


def test_it_leads_to_report_and_to_the_page_to_acknowledge_on(world: AppContext) -> None:
    [alert] = all_alerts(world)
    links = explained(world).sections["Links"]
    assert f"Acknowledge: https://platform.test/alerts/{alert.id}" in links
    assert any(link.startswith("Report: https://platform.test/v1/evaluations/") for link in links)


def test_a_later_evaluation_is_told_apart_from_the_cause(world: AppContext) -> None:
    assert "Now" not in explained(world).sections
    answer(world, 500)
    evaluate(world, rule(world, "accuracy-drop"), world.clock())
    now = explained(world).sections["Now"]
    assert now[0].startswith("Accuracy is 97.7 % on 530 labelled answers")
    assert "samples: 530" in now


def test_an_alert_of_a_class_is_explained_with_its_task_and_shared_notice(context: AppContext) -> None:
    misread_world(context)
    evaluate(context, rule(context, "class-error"), context.clock())
    found = explained(context)
    assert found.heading.startswith("class-error (class 8) · digits v1 · warning · firing since ")
    assert [line.split()[3] for line in found.sections["Actions"]] == ["label-audit"]


def test_a_rule_that_is_gone_is_said_to_be(world: AppContext) -> None:
    with_rules(world, RULES.replace("name: accuracy-drop", "name: another"))
    found = explained(world)
    assert found.sections["The rule"] == ["accuracy-drop is no longer in alerts.yaml."]
    assert found.sections["Why it fired"][0].startswith("Accuracy is 60.0 %")
    assert "What the rule promises" not in found.sections


def test_a_changed_threshold_is_pointed_out(world: AppContext) -> None:
    with_rules(world, RULES.replace("above: 0.5 points", "above: 3 points"))
    assert "when it was last judged, the rule said 0.5 points" in explained(world).sections["The rule"]


@pytest.mark.parametrize("broken", [None, "version: 1\nmodel: [\n"], ids=["gone", "no YAML"])
def test_rules_that_cannot_be_read_take_only_what_they_would_tell(world: AppContext, broken: str | None) -> None:
    with_rules(world, broken or "")
    if broken is None:
        world.settings.alerts_file.unlink()
    found = explained(world)
    [said] = found.sections["The rule"]
    assert said.startswith(f"The rules cannot be read here: {world.settings.alerts_file}")
    assert found.sections["Why it fired"][0].startswith("Accuracy is 60.0 %")


def test_the_text_holds_every_section(world: AppContext) -> None:
    found = explained(world)
    assert found.text.startswith(f"{found.heading}\nalert {found.alert.id}\n\nWhy it fired\n  Accuracy is")
    assert all(f"\n\n{name}\n  " in found.text for name in found.sections)


def test_an_unknown_alert_is_not_found(world: AppContext) -> None:
    with pytest.raises(NotFoundError, match="alert 'nope' is not known"):
        load_explanation(world, "nope")
