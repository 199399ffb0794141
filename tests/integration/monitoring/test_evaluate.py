"""One turn of the loop: what follows from a window, written whole or not at all."""

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mlplatform.alerting import alert_records, detector_state, evaluations
from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import FencedError
from mlplatform.feedback import label_records
from mlplatform.monitoring.evaluate import evaluate, stale_alerts, worst_state
from mlplatform.monitoring.evaluation_report import measure_with_evidently, write_report
from mlplatform.operations.doctor.detection_diagnostics import label_reading_states
from mlplatform.operations.operator_actions import silence_alerts
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from mlplatform.retraining import retraining_endings
from monitors.alerts import Silence
from monitors.decisions.detectors.label_detector import LabelDetector
from monitors.decisions.finding import Finding
from monitors.errors import MetricsError
from monitors.rules.alerts_config import Rule
from monitors.windows.window import EvidentlyMetrics, Window
from tests.support.monitoring_world import (
    RULES,
    all_alerts,
    all_evaluations,
    all_retrainings,
    answer,
    counting,
    lease_of,
    look,
    notices,
    open_tasks,
    promote,
    reports,
    rule,
    tick,
    with_rules,
)
from tests.support.platform_world import prediction, recorded

pytestmark = pytest.mark.both_databases


@pytest.fixture
def world(context: AppContext) -> AppContext:
    """A platform with rules and version 1 as champion."""
    promote(with_rules(context))
    return context


def written(context: AppContext) -> tuple[int, int, int, int]:
    """How many evaluations, alerts, notices and retrainings the store holds."""
    return len(all_evaluations(context)), len(all_alerts(context)), len(notices(context)), len(all_retrainings(context))


def at_once(*jobs: Callable[[], object]) -> list[object]:
    """Run jobs on threads of their own; what they returned or raised."""
    outcomes: list[object] = []

    def run(job: Callable[[], object]) -> None:
        try:
            outcomes.append(job())
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            outcomes.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_without_a_champion_nothing_is_evaluated(context: AppContext) -> None:
    assert look(with_rules(context)) is None
    assert written(context) == (0, 0, 0, 0)


def test_a_breach_fires_one_alert_tells_each_configured_channel_and_asks_for_one_retraining(world: AppContext) -> None:
    answer(world, 18, 12)
    evaluation = look(world)
    assert evaluation is not None
    assert evaluation.state == "breach"
    [alert] = all_alerts(world)
    assert (alert.state, alert.rule, alert.version, alert.notices) == ("firing", "accuracy-drop", 1, 1)
    assert {message.channel: message.idempotency_key for message in notices(world)} == {
        name: f"{alert.id}-firing-1-{name}" for name in ("team-slack", "mail", "events")
    }
    [retraining] = all_retrainings(world)
    assert (retraining.state, retraining.trigger, retraining.alert_id) == ("queued", "alert", alert.id)
    assert retraining.reason.startswith("accuracy-drop: Accuracy is 60.0 % on 30 labelled answers")


@pytest.mark.parametrize(
    ("cap", "said"),
    [
        (2, "Nothing to do now: a retraining is asked for"),
        (0, "does not start yet: alerts may start no retraining (daily_cap: 0)"),
    ],
)
def test_a_notice_says_whether_the_retraining_may_start(context: AppContext, cap: int, said: str) -> None:
    promote(with_rules(context, RULES.replace("daily_cap: 2", f"daily_cap: {cap}")))
    answer(context, 18, 12)
    look(context)
    [event] = [message for message in notices(context) if message.channel == "events"]
    assert said in event.payload["body"]["data"]["instruction"]


def test_a_breach_keeps_its_evidence_and_leaves_a_trail(world: AppContext) -> None:
    answer(world, 18, 12)
    evaluation = look(world)
    assert evaluation is not None
    assert evaluation.report is not None
    assert [str(path.resolve()) for path in reports(world)] == [evaluation.report]
    assert evaluation.id in evaluation.report
    [alert] = all_alerts(world)
    with world.database.read() as connection:
        assert [change.to_state for change in alert_records.list_transitions(connection, alert.id)] == ["firing"]
        assert [entry["action"] for entry in audit_entries.recent_entries(connection)][:2] == ["retrain", "alert"]


def test_a_healthy_window_writes_its_evaluation_and_nothing_else(world: AppContext) -> None:
    answer(world, 30)
    evaluation = look(world)
    assert evaluation is not None
    assert (evaluation.state, evaluation.report) == ("ok", None)
    assert (written(world), reports(world)) == ((1, 0, 0, 0), [])


def test_a_second_turn_for_the_same_slot_does_nothing(world: AppContext) -> None:
    answer(world, 18, 12)
    slot = world.clock()
    assert evaluate(world, rule(world, "accuracy-drop"), slot) is not None
    before = written(world)
    tick(world, hours=5)  # past the repeat interval
    assert evaluate(world, rule(world, "accuracy-drop"), slot) is None
    assert written(world) == before == (1, 1, 3, 1)


def test_a_reminder_of_an_alert_that_fires_on_asks_for_a_retraining_again(world: AppContext) -> None:
    answer(world, 18, 12)
    look(world)
    [first] = all_retrainings(world)
    with world.database.write() as connection:
        retraining_endings.cancel(connection, first.id, "tester", world.clock())
    tick(world, minutes=10)
    look(world)
    assert len(all_retrainings(world)) == 1, "not before the repeat interval"
    tick(world, hours=4)
    look(world)
    assert [row.state for row in all_retrainings(world)] == ["cancelled", "queued"]


def test_watchers_at_once_evaluate_a_slot_once(world: AppContext) -> None:
    answer(world, 18, 12)
    slot, the_rule = world.clock(), rule(world, "accuracy-drop")
    outcomes = at_once(*[lambda: evaluate(world, the_rule, slot)] * 4)
    [made] = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(made, evaluations.Evaluation)
    assert written(world) == (1, 1, 3, 1)


def test_a_check_beside_the_watcher_opens_no_second_alert(world: AppContext) -> None:
    answer(world, 18, 12)
    slot, the_rule = world.clock(), rule(world, "accuracy-drop")
    slots = [slot, slot + timedelta(microseconds=1), slot + timedelta(microseconds=2)]
    outcomes = at_once(*[lambda at=at: evaluate(world, the_rule, at) for at in slots])
    assert all(isinstance(outcome, evaluations.Evaluation) for outcome in outcomes), outcomes
    assert written(world) == (3, 1, 3, 1)


def test_a_lost_lease_leaves_nothing_written(world: AppContext) -> None:
    answer(world, 18, 12)
    lease = lease_of(world, "paused")
    tick(world, seconds=16)
    lease_of(world, "the next leader")
    with pytest.raises(FencedError, match="paused"):
        evaluate(world, rule(world, "accuracy-drop"), world.clock(), lease)
    assert (written(world), reports(world)) == ((0, 0, 0, 0), [])


def test_a_held_lease_lets_the_turn_through(world: AppContext) -> None:
    answer(world, 30)
    assert evaluate(world, rule(world, "accuracy-drop"), world.clock(), lease_of(world)) is not None


def test_an_alert_that_goes_on_reminds_after_its_interval_and_acts_no_more(world: AppContext) -> None:
    answer(world, 18, 12)
    look(world)
    tick(world, minutes=10)
    look(world)
    assert written(world) == (2, 1, 3, 1)
    tick(world, hours=4)
    answer(world, 18, 12)
    look(world)
    [alert] = all_alerts(world)
    kinds = [message.idempotency_key.removeprefix(alert.id) for message in notices(world)]
    assert kinds[3:] == ["-repeat-2-team-slack", "-repeat-2-mail", "-repeat-2-events"]
    assert len(all_retrainings(world)) == 1


def test_recovery_resolves_the_alert_and_says_so_once(world: AppContext) -> None:
    answer(world, 18, 12)
    look(world)
    tick(world, hours=2)
    answer(world, 30)
    look(world)
    tick(world, minutes=1)
    look(world)
    [alert] = all_alerts(world)
    assert alert.state == "resolved"
    assert [m.idempotency_key for m in notices(world)][3:] == [
        f"{alert.id}-resolved-2-{name}" for name in ("team-slack", "mail", "events")
    ]


def test_a_new_breach_after_recovery_is_a_new_alert_that_acts_again(world: AppContext) -> None:
    answer(world, 18, 12)
    look(world)
    for right, wrong in ((30, 0), (18, 12)):
        tick(world, hours=2)
        answer(world, right, wrong)
        look(world)
    assert [alert.state for alert in all_alerts(world)] == ["firing", "resolved"]
    [retraining] = all_retrainings(world)
    assert [cause["alert"] for cause in retraining.causes] == [alert.id for alert in all_alerts(world)][::-1]


@pytest.mark.parametrize("labels", [0, 5])
def test_missing_data_never_resolves(world: AppContext, labels: int) -> None:
    answer(world, 18, 12)
    look(world)
    tick(world, hours=2)
    answer(world, labels)
    evaluation = look(world)
    assert evaluation is not None
    assert evaluation.state == ("insufficient" if labels else "no-data")
    assert [alert.state for alert in all_alerts(world)] == ["firing"]


def test_a_new_champion_supersedes_the_alerts_of_the_old(world: AppContext) -> None:
    answer(world, 18, 12)
    look(world)
    promote(world, 2)
    tick(world, minutes=1)
    look(world)
    [alert] = all_alerts(world)
    assert (alert.version, alert.state) == (1, "superseded")
    kinds = [message.payload["kind"] for message in notices(world)]
    assert kinds == ["firing"] * 3 + ["promoted"] * 3 + ["superseded"] * 3
    with world.database.read() as connection:
        assert alert_records.list_transitions(connection, alert.id)[-1].reason == "version 1 no longer serves"


def test_a_breach_of_the_new_champion_is_an_alert_of_its_own(world: AppContext) -> None:
    answer(world, 18, 12)
    look(world)
    promote(world, 2)
    answer(world, 18, 12, version=2)
    look(world)
    assert [(alert.version, alert.state) for alert in all_alerts(world)] == [(2, "firing"), (1, "superseded")]


def test_an_evaluation_of_a_champion_replaced_since_is_not_measured(world: AppContext) -> None:
    answer(world, 18, 12)
    made = evaluate(world, rule(world, "accuracy-drop"), world.clock())
    assert made is not None
    promote(world, 2)
    assert write_report(world, rule(world, "accuracy-drop"), made, counting) == made
    assert reports(world) == []


def test_a_silence_suppresses_notices_but_not_the_action(world: AppContext) -> None:
    silence_alerts(world, Silence("accuracy-*", world.clock() + timedelta(hours=1), reason="known"), "me")
    answer(world, 18, 12)
    look(world)
    assert written(world) == (1, 1, 0, 1)
    tick(world, hours=4, minutes=1)
    answer(world, 18, 12)
    look(world)
    assert len(notices(world)) == 3  # the silence is over: the reminder goes


def test_a_silence_of_another_rule_suppresses_nothing(world: AppContext) -> None:
    silence_alerts(world, Silence("latency", world.clock() + timedelta(hours=1), reason=""), "me")
    answer(world, 18, 12)
    look(world)
    assert len(notices(world)) == 3


def test_a_bad_class_opens_one_label_audit_per_alert(world: AppContext) -> None:
    answer(world, 30, 30)
    for _ in range(2):
        look(world, "class-error")
        tick(world, minutes=1)
    [alert], [task] = all_alerts(world), open_tasks(world)
    assert (alert.key, task.kind, task.alert_id, task.details["class"]) == ("3", "label-audit", alert.id, "3")
    assert len(notices(world)) == 1


def pin_latency(context: AppContext, p95_ms: float) -> None:
    with context.database.write() as connection:
        numbers = {"p95_ms": p95_ms, "calls": 500}
        evaluations.store_baseline(connection, "digits", 1, "latency", "host", numbers, context.clock())


def test_slow_answers_wait_for_their_time_then_open_one_tuning_task_and_tell_no_unconfigured_channel(
    world: AppContext,
) -> None:
    pin_latency(world, 2.0)
    answer(world, 100, latency_ms=9.0)
    look(world, "latency")
    assert ([alert.state for alert in all_alerts(world)], open_tasks(world)) == (["pending"], [])
    for _ in range(2):
        tick(world, minutes=2)
        look(world, "latency")
    [alert], [task] = all_alerts(world), open_tasks(world)
    assert (alert.state, task.kind, task.alert_id) == ("firing", "tune-serving", alert.id)
    assert task.details == {"version": 1, "ratio": pytest.approx(4.5, rel=0.01), "baseline_ms": 2.0}
    assert notices(world) == []


def test_an_alert_of_one_rule_is_left_alone_by_another(world: AppContext) -> None:
    answer(world, 18, 12)
    look(world)
    evaluation = look(world, "class-error")
    assert evaluation is not None
    assert sorted((alert.rule, alert.state) for alert in all_alerts(world)) == [
        ("accuracy-drop", "firing"),
        ("class-error", "firing"),
    ]


@pytest.mark.parametrize("failure", [MetricsError, OSError])
def test_an_error_in_evidently_or_a_full_disk_silences_no_alert(world: AppContext, failure: type[Exception]) -> None:
    answer(world, 18, 12)

    def broken(window: Window, rule: Rule, report: Path | None) -> EvidentlyMetrics:
        counting(window, rule, report)
        raise failure("this window could not be done")

    evaluation = look(world, measure=broken)
    assert evaluation is not None
    assert (evaluation.state, evaluation.report, evaluation.measured) == ("breach", None, None)
    assert (written(world), reports(world)) == ((1, 1, 3, 1), [])


def test_the_real_evidently_agrees_with_the_counts_and_writes_the_report(world: AppContext) -> None:
    answer(world, 18, 12)
    evaluation = look(world, measure=measure_with_evidently)
    assert evaluation is not None
    assert evaluation.findings[0]["value"] == pytest.approx(0.39)
    assert evaluation.measured is not None
    assert evaluation.measured["accuracy"] == pytest.approx(0.6)
    assert all_evaluations(world) == [evaluation]
    assert evaluation.report is not None
    assert "<html" in Path(evaluation.report).read_text(encoding="utf-8")[:2000].lower()


def test_a_window_without_answers_is_measured_without_loading_evidently(
    world: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "monitors.windows.evidently_adapter", None)  # importing it fails
    evaluation = look(world, measure=measure_with_evidently)
    assert evaluation is not None
    assert evaluation.measured is not None
    assert (evaluation.measured["n_predictions"], evaluation.measured["accuracy"]) == (0, None)


def test_an_alert_whose_rule_is_no_longer_written_is_closed(world: AppContext) -> None:
    answer(world, 18, 12)
    look(world)
    with_rules(world, RULES.replace("name: accuracy-drop", "name: accuracy-loss").replace("0.5 points", "99 points"))
    look(world, "accuracy-loss")
    assert [(alert.rule, alert.state) for alert in all_alerts(world)] == [("accuracy-drop", "superseded")]
    assert [message.payload["kind"] for message in notices(world)] == ["firing"] * 3 + ["superseded"] * 3


def test_a_class_without_new_labels_is_still_reminded_of(world: AppContext) -> None:
    answer(world, 10, 20)
    look(world, "class-error")
    tick(world, hours=5)
    answer(world, 0)
    look(world, "class-error")
    assert [alert.state for alert in all_alerts(world)] == ["firing"]
    assert [notice.idempotency_key.split("-")[-4] for notice in notices(world)] == ["firing", "repeat"]


def test_retiring_spares_the_alerts_of_the_champion(world: AppContext) -> None:
    answer(world, 18, 12)
    look(world)
    assert stale_alerts(all_alerts(world), 1, world.clock()) == ()
    [ended] = stale_alerts(all_alerts(world), 2, world.clock())
    assert ended.step.alert is not None
    assert (ended.before.state, ended.step.alert.state) == ("firing", "superseded")


def test_a_rule_without_an_action_only_tells(context: AppContext) -> None:
    world = with_rules(context, RULES.replace("action: retrain", "action: none"))
    promote(world)
    answer(world, 18, 12)
    look(world)
    assert written(world) == (1, 1, 3, 0)


def test_the_worst_state_is_the_gravest_and_no_findings_are_no_data(world: AppContext) -> None:
    answer(world, 18, 12)
    evaluation = look(world)
    assert evaluation is not None
    found = Finding(**evaluation.findings[0])
    assert worst_state([replace(found, state="ok"), found, replace(found, state="suspect")]) == "breach"
    assert worst_state([replace(found, state="insufficient"), replace(found, state="no-data")]) == "insufficient"
    assert worst_state([]) == "no-data"


def test_a_promotion_by_hand_goes_the_same_way(world: AppContext) -> None:
    world.catalog.add("digits", 2)  # type: ignore[attr-defined]
    made = promotion_service(world).promote(PromotionRequest("digits", 2, 1, "promote", "me", "by hand"))
    assert made.to_version == 2


# --- rules with a budget of false alarms

BUDGET = RULES.replace("min_samples: 20, severity", "false_alarms: 1 per 90d, min_samples: 20, severity").replace(
    "min_samples: 10, action: label-audit", "false_alarms: 1 per 90d, min_samples: 10, action: label-audit"
)


@pytest.fixture
def budgeted(context: AppContext) -> AppContext:
    promote(with_rules(context, BUDGET))
    return context


def detector(context: AppContext) -> LabelDetector:
    """The detector of the rule on accuracy."""
    return LabelDetector.from_json(memory(context).streams[""])


def memory(context: AppContext, name: str = "accuracy-drop") -> detector_state.DetectorState:
    with context.database.read() as connection:
        found = detector_state.load_state(connection, "digits", 1, name)
    assert found is not None
    return found


def test_a_detector_reads_each_label_once_over_many_turns(budgeted: AppContext) -> None:
    for _ in range(4):
        answer(budgeted, 5)
        look(budgeted)
        tick(budgeted, minutes=1)
    look(budgeted)
    assert (memory(budgeted).cursor, detector(budgeted).n) == (20, 20)


def test_a_proof_fires_stays_while_unclear_and_ends_with_a_fresh_detector(budgeted: AppContext) -> None:
    answer(budgeted, 15, 15)
    look(budgeted)
    assert [alert.state for alert in all_alerts(budgeted)] == ["firing"]
    tick(budgeted, hours=3)
    look(budgeted)
    assert [alert.state for alert in all_alerts(budgeted)] == ["firing"], "an empty window is no recovery"
    answer(budgeted, 30)
    look(budgeted)
    assert [alert.state for alert in all_alerts(budgeted)] == ["resolved"]
    assert (detector(budgeted).n, detector(budgeted).alarmed_at) == (0, None)
    tick(budgeted, minutes=1)
    look(budgeted)
    assert len(all_alerts(budgeted)) == 1


def test_each_source_of_labels_is_read_once_whichever_came_first(budgeted: AppContext) -> None:
    ids = answer(budgeted, 20)
    look(budgeted)
    with budgeted.database.write() as connection:
        given = [label_records.SubmittedLabel(key, "3", "delayed", "x", budgeted.clock()) for key in ids]
        label_records.insert_labels(connection, given, budgeted.clock())
    tick(budgeted, minutes=1)
    for _ in range(2):
        look(budgeted)
        tick(budgeted, minutes=1)
        parts = detector(budgeted).by_source
        assert {source: part.n for source, part in parts.items()} == {"audit": 20, "delayed": 20}


def confirm(context: AppContext, right: int, wrong: int = 0) -> list[str]:
    """Answers on images of a 3, each with a delayed label at once; the clock then moves on by a second."""
    now = context.clock()
    ids = recorded(context.database, *(prediction(now, label=label) for label in ["3"] * right + ["5"] * wrong))
    with context.database.write() as connection:
        given = [label_records.SubmittedLabel(key, "3", "delayed", "", now) for key in ids]
        label_records.insert_labels(connection, given, now)
    tick(context, seconds=1)
    return ids


def sentence_now(context: AppContext) -> str:
    """What the rule on accuracy says when it is evaluated now."""
    tick(context, minutes=1)
    evaluation = evaluate(context, rule(context, "accuracy-drop"), context.clock())
    assert evaluation is not None
    return str(evaluation.findings[0]["sentence"])


def test_a_delayed_label_is_read_once_when_its_answer_is_old_enough(budgeted: AppContext) -> None:
    with_rules(budgeted, BUDGET.replace("above: 0.5 points", "mature: 2h, above: 0.5 points"))
    confirm(budgeted, 15, 15)
    assert sentence_now(budgeted) == (
        "None of 30 answers in the window has a label from audit or delayed of answers at least 2.0h old."
    )
    assert detector(budgeted).n == 0
    tick(budgeted, hours=2)
    assert sentence_now(budgeted).startswith(
        "Accuracy is 50.0 % on 30 labelled answers since 2026-01-01 12:00 UTC, when it changed, by delayed labels of "
        "answers at least 2.0h old, against 99.0 %"
    )
    assert [alert.state for alert in all_alerts(budgeted)] == ["firing"]
    assert 20 <= detector(budgeted).n < 30, "those after the alarm are passed over"
    assert detector(budgeted).changed_at is not None


def test_labels_of_a_day_are_one_observation_read_when_it_is_over(budgeted: AppContext) -> None:
    text = BUDGET.replace("above: 0.5 points, window: 1h", "mature: 0s, block: 1d, above: 0.5 points, window: 2d")
    with_rules(budgeted, text)
    confirm(budgeted, 18, 12)
    sentence_now(budgeted)
    assert detector(budgeted).n == 0
    tick(budgeted, days=1)
    confirm(budgeted, 30)
    sentence = sentence_now(budgeted)
    assert "It decides by day: what goes wrong together is one observation" in sentence
    assert "(1 observation so far)" in sentence
    assert (detector(budgeted).n, detector(budgeted).blocks) == (30, 1)


def doctor_on_accuracy(context: AppContext) -> str:
    """What the doctor says of the labels that the rule on accuracy reads."""
    with context.database.read() as connection:
        details = [detail for _, detail in label_reading_states(connection, context.rules)]
    return next(detail for detail in details if detail.startswith("accuracy-drop: "))


def test_the_doctor_and_the_finding_say_that_labels_wait_until_it_is_known_how_late_they_come(
    budgeted: AppContext,
) -> None:
    with_rules(budgeted, BUDGET.replace("window: 1h", "window: 1d"))
    ids = recorded(budgeted.database, *(prediction(budgeted.clock(), label="3") for _ in range(30)))
    tick(budgeted, hours=1)
    with budgeted.database.write() as connection:
        given = [label_records.SubmittedLabel(key, "3", "delayed", "", budgeted.clock()) for key in ids]
        label_records.insert_labels(connection, given, budgeted.clock())
    assert "Delayed labels wait until it is known how late those of right answers come" in sentence_now(budgeted)
    assert "delayed labels are not read" in doctor_on_accuracy(budgeted)
    tick(budgeted, hours=3)
    assert "of answers at least 1.0h old" in sentence_now(budgeted)
    assert detector(budgeted).n == 30
    assert "delayed labels are read when their answers are 1.0h old" in doctor_on_accuracy(budgeted)


def test_a_changed_threshold_reads_the_versions_labels_anew(budgeted: AppContext) -> None:
    answer(budgeted, 29, 1)
    look(budgeted)
    before = memory(budgeted)
    with_rules(budgeted, BUDGET.replace("0.5 points", "2 points"))
    tick(budgeted, minutes=1)
    look(budgeted)
    after = memory(budgeted)
    assert after.definition != before.definition
    assert (after.cursor, detector(budgeted).n) == (30, 30)
    assert after.streams[""]["null"]["best"] == pytest.approx(before.streams[""]["null"]["best"] + 0.015)
    tick(budgeted, minutes=1)
    look(budgeted)
    with budgeted.database.read() as connection:
        entries = [
            entry for entry in audit_entries.recent_entries(connection) if entry["action"] == "restart-detectors"
        ]
    [entry] = entries
    assert (entry["subject"], entry["details"]["version"]) == ("rule/accuracy-drop", 1), "once, and by name"


def test_a_new_version_begins_with_a_detector_of_its_own(budgeted: AppContext) -> None:
    answer(budgeted, 15, 15)
    look(budgeted)
    promote(budgeted, 2)
    answer(budgeted, 30, version=2)
    evaluation = look(budgeted)
    assert evaluation is not None
    assert (evaluation.model_version, evaluation.state) == (2, "ok")


def test_a_failed_turn_moves_no_cursor(budgeted: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(budgeted, 15, 15)
    lease = lease_of(budgeted, "paused")
    tick(budgeted, seconds=16)
    lease_of(budgeted, "the next leader")
    with pytest.raises(FencedError):
        evaluate(budgeted, rule(budgeted, "accuracy-drop"), budgeted.clock(), lease)
    with pytest.raises(AssertionError):
        memory(budgeted)
    monkeypatch.setattr("mlplatform.monitoring.detector_inputs.MAX_LABELS_PER_READ", 7)
    look(budgeted)
    assert memory(budgeted).cursor == 7
    tick(budgeted, minutes=1)
    look(budgeted)
    assert memory(budgeted).cursor == 14


def test_a_class_is_proved_bad_by_its_own_labels(budgeted: AppContext) -> None:
    answer(budgeted, 10, 20)
    evaluation = look(budgeted, "class-error")
    assert evaluation is not None
    assert [(each["key"], each["state"]) for each in evaluation.findings] == [("3", "breach")]
    [task] = open_tasks(budgeted)
    assert task.kind == "label-audit"


# --- nothing to decide from, inhibition, escalation, mute hours


def test_labels_that_stay_away_are_an_alert_of_their_own_that_starts_no_action(context: AppContext) -> None:
    world = with_rules(context, RULES.replace("severity: critical,", "severity: critical, no_data: 2h,"))
    promote(world)
    answer(world, 30)
    evaluation = look(world)
    assert evaluation is not None
    assert [(each["key"], each["state"]) for each in evaluation.findings] == [("", "ok"), ("no data", "ok")]
    tick(world, hours=3)
    answer(world, 0)
    evaluation = look(world)
    assert evaluation is not None
    assert evaluation.state == "no-data", "the model is not blamed for it"
    [alert] = all_alerts(world)
    assert (alert.key, alert.state, len(notices(world)), all_retrainings(world)) == ("no data", "firing", 3, [])
    answer(world, 30)
    look(world)
    assert [alert.state for alert in all_alerts(world)] == ["resolved"]


def test_an_inhibited_rule_fires_in_silence_and_acts_when_it_is_let_go(context: AppContext) -> None:
    text = RULES.replace("severity: critical,", "severity: critical, inhibited_by: [class-error], repeat: 1h,")
    world = with_rules(context, text)
    promote(world)
    answer(world, 18, 12)
    look(world, "class-error")
    look(world)
    assert sorted((alert.rule, alert.state) for alert in all_alerts(world)) == [
        ("accuracy-drop", "firing"),
        ("class-error", "firing"),
    ]
    assert all_retrainings(world) == []
    assert [message.channel for message in notices(world)] == ["team-slack"]
    tick(world, hours=2)
    answer(world, 28, 2)
    look(world, "class-error")
    look(world)
    assert len(all_retrainings(world)) == 1
    kinds = {message.idempotency_key.split("-")[-3] for message in notices(world)}
    assert "repeat" in " ".join(message.idempotency_key for message in notices(world)), kinds


def test_an_escalation_reaches_its_own_channels(context: AppContext) -> None:
    text = RULES.replace("severity: critical,", "severity: critical, escalate: {after: 30m, notify: [mail]},")
    world = with_rules(context, text)
    promote(world)
    answer(world, 18, 12)
    look(world)
    tick(world, minutes=31)
    look(world)
    last = notices(world)[-1]
    assert (len(notices(world)), last.channel) == (4, "mail")
    assert "nobody has taken this on" in last.payload["message"]


def test_in_mute_hours_people_are_left_alone_and_actions_run(context: AppContext) -> None:
    hours = 'mute: [{from: "00:00", to: "23:59", severities: [critical]}]\n'
    world = with_rules(context, RULES.replace("channels:", f"{hours}channels:", 1))
    promote(world)
    answer(world, 18, 12)
    look(world)
    assert (notices(world), len(all_retrainings(world))) == ([], 1)
