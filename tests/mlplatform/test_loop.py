"""One turn of the loop: what follows from a window, written whole or not at all."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from mlplatform.build import Parts
from mlplatform.champion import Change
from mlplatform.errors import FencedError
from mlplatform.evidence import Measure
from mlplatform.loop import retire_alerts, turn, worst
from mlplatform.people import silence_rules
from mlplatform.store import alerts, audit, evaluations, retrainings
from mlplatform.store.schema import leases
from monitors.errors import MetricsError
from monitors.rules import Rule
from monitors.window import Measured, Window
from tests.mlplatform.loop_world import (
    RULES,
    all_alerts,
    all_evaluations,
    all_retrainings,
    answer,
    counting,
    lease_of,
    notices,
    open_tasks,
    promote,
    reports,
    rule,
    tick,
    with_rules,
)


@pytest.fixture
def world(parts: Parts) -> Parts:
    """A platform with rules and version 1 as champion."""
    promote(with_rules(parts))
    return parts


def look(parts: Parts, name: str = "accuracy-drop", measure: Measure = counting) -> evaluations.Evaluation | None:
    """One turn for the slot of the moment."""
    return turn(parts, rule(parts, name), parts.clock(), measure=measure)


def written(parts: Parts) -> tuple[int, int, int, int]:
    """How many evaluations, alerts, notices and retrainings the store holds."""
    return len(all_evaluations(parts)), len(all_alerts(parts)), len(notices(parts)), len(all_retrainings(parts))


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


def meeting(parties: int) -> Measure:
    """A measure in which all have read before any goes on to write."""
    barrier = threading.Barrier(parties, timeout=20)

    def measure(window: Window, rule: Rule, report: Path | None) -> Measured:
        if report is None:
            barrier.wait()
        return counting(window, rule, report)

    return measure


def test_without_a_champion_nothing_is_evaluated(parts: Parts) -> None:
    assert look(with_rules(parts)) is None
    assert written(parts) == (0, 0, 0, 0)


def test_a_breach_fires_one_alert_tells_each_configured_channel_and_asks_for_one_retraining(world: Parts) -> None:
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


def test_a_breach_keeps_its_evidence_and_leaves_a_trail(world: Parts) -> None:
    answer(world, 18, 12)
    evaluation = look(world)
    assert evaluation is not None
    assert evaluation.report is not None
    assert [str(path.resolve()) for path in reports(world)] == [evaluation.report]
    assert evaluation.id in evaluation.report
    [alert] = all_alerts(world)
    with world.database.read() as connection:
        assert [change["to_state"] for change in alerts.changes_of(connection, alert.id)] == ["firing"]
        assert [entry["action"] for entry in audit.entries(connection)][:2] == ["retrain", "alert"]


def test_a_healthy_window_writes_its_evaluation_and_nothing_else(world: Parts) -> None:
    answer(world, 30)
    evaluation = look(world)
    assert evaluation is not None
    assert (evaluation.state, evaluation.report) == ("ok", None)
    assert (written(world), reports(world)) == ((1, 0, 0, 0), [])


def test_a_second_turn_for_the_same_slot_does_nothing(world: Parts) -> None:
    answer(world, 18, 12)
    slot = world.clock()
    assert turn(world, rule(world, "accuracy-drop"), slot, measure=counting) is not None
    before = written(world)
    tick(world, hours=5)  # past the repeat interval
    assert turn(world, rule(world, "accuracy-drop"), slot, measure=counting) is None
    assert written(world) == before == (1, 1, 3, 1)


def test_a_reminder_of_an_alert_that_fires_on_asks_for_a_retraining_again(world: Parts) -> None:
    answer(world, 18, 12)
    look(world)
    [first] = all_retrainings(world)
    with world.database.write() as connection:
        retrainings.cancel(connection, first.id, "tester", world.clock())
    tick(world, minutes=10)
    look(world)
    assert len(all_retrainings(world)) == 1, "not before the repeat interval"
    tick(world, hours=4)
    look(world)
    assert [row.state for row in all_retrainings(world)] == ["cancelled", "queued"]


def test_two_watchers_at_once_evaluate_a_slot_once_and_keep_one_report(world: Parts) -> None:
    answer(world, 18, 12)
    measure, slot = meeting(2), world.clock()
    the_rule = rule(world, "accuracy-drop")
    outcomes = at_once(*[lambda: turn(world, the_rule, slot, measure=measure)] * 2)
    [made] = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(made, evaluations.Evaluation)
    assert written(world) == (1, 1, 3, 1)
    assert [str(path.resolve()) for path in reports(world)] == [made.report]


def test_a_check_beside_the_watcher_opens_no_second_alert(world: Parts) -> None:
    answer(world, 18, 12)
    measure, slot = meeting(3), world.clock()
    the_rule = rule(world, "accuracy-drop")
    slots = [slot, slot + timedelta(microseconds=1), slot + timedelta(microseconds=2)]
    outcomes = at_once(*[lambda at=at: turn(world, the_rule, at, measure=measure) for at in slots])
    assert all(isinstance(outcome, evaluations.Evaluation) for outcome in outcomes), outcomes
    assert written(world) == (3, 1, 3, 1)


def test_a_lost_lease_leaves_nothing_written(world: Parts) -> None:
    answer(world, 18, 12)
    lease = lease_of(world, "paused")
    tick(world, seconds=16)
    lease_of(world, "the next leader")
    with pytest.raises(FencedError, match="paused"):
        turn(world, rule(world, "accuracy-drop"), world.clock(), lease, counting)
    assert (written(world), reports(world)) == ((0, 0, 0, 0), [])


def test_a_held_lease_lets_the_turn_through(world: Parts) -> None:
    answer(world, 30)
    assert turn(world, rule(world, "accuracy-drop"), world.clock(), lease_of(world), counting) is not None


def test_a_lease_lost_in_the_middle_of_the_work_is_noticed(world: Parts) -> None:
    answer(world, 18, 12)
    lease = lease_of(world)

    def overtaken(window: Window, rule: Rule, report: Path | None) -> Measured:
        with world.database.write() as connection:
            connection.execute(update(leases).values(holder="another", fence=lease.fence + 1))
        return counting(window, rule, report)

    with pytest.raises(FencedError):
        turn(world, rule(world, "accuracy-drop"), world.clock(), lease, overtaken)
    assert written(world) == (0, 0, 0, 0)


def test_an_alert_that_goes_on_reminds_after_its_interval_and_acts_no_more(world: Parts) -> None:
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


def test_recovery_resolves_the_alert_and_says_so_once(world: Parts) -> None:
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


def test_a_new_breach_after_recovery_is_a_new_alert_that_acts_again(world: Parts) -> None:
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
def test_missing_data_never_resolves(world: Parts, labels: int) -> None:
    answer(world, 18, 12)
    look(world)
    tick(world, hours=2)
    answer(world, labels)
    evaluation = look(world)
    assert evaluation is not None
    assert evaluation.state == ("insufficient" if labels else "no-data")
    assert [alert.state for alert in all_alerts(world)] == ["firing"]


def test_a_new_champion_supersedes_the_alerts_of_the_old_without_a_notice(world: Parts) -> None:
    answer(world, 18, 12)
    look(world)
    promote(world, 2)
    tick(world, minutes=1)
    look(world)
    [alert] = all_alerts(world)
    assert (alert.version, alert.state) == (1, "superseded")
    assert len(notices(world)) == 3
    with world.database.read() as connection:
        assert alerts.changes_of(connection, alert.id)[-1]["reason"] == "version 1 no longer serves"


def test_a_breach_of_the_new_champion_is_an_alert_of_its_own(world: Parts) -> None:
    answer(world, 18, 12)
    look(world)
    promote(world, 2)
    answer(world, 18, 12, version=2)
    look(world)
    assert [(alert.version, alert.state) for alert in all_alerts(world)] == [(2, "firing"), (1, "superseded")]


def test_a_champion_replaced_meanwhile_discards_the_evaluation_and_spares_the_alerts_of_the_new(world: Parts) -> None:
    answer(world, 18, 12)
    answer(world, 18, 12, version=2)

    def replaced(window: Window, rule: Rule, report: Path | None) -> Measured:
        if report is None:
            promote(world, 2)
            look(world)
        return counting(window, rule, report)

    assert look(world, measure=replaced) is None
    assert [(alert.version, alert.state) for alert in all_alerts(world)] == [(2, "firing")]
    assert len(all_evaluations(world)) == len(reports(world)) == 1


def test_a_silence_suppresses_notices_but_not_the_action(world: Parts) -> None:
    silence_rules(world, "accuracy-*", timedelta(hours=1), "me", "known")
    answer(world, 18, 12)
    look(world)
    assert written(world) == (1, 1, 0, 1)
    tick(world, hours=4, minutes=1)
    answer(world, 18, 12)
    look(world)
    assert len(notices(world)) == 3  # the silence is over: the reminder goes


def test_a_silence_of_another_rule_suppresses_nothing(world: Parts) -> None:
    silence_rules(world, "latency", timedelta(hours=1), "me", "")
    answer(world, 18, 12)
    look(world)
    assert len(notices(world)) == 3


def test_a_bad_class_opens_one_label_audit_per_alert(world: Parts) -> None:
    answer(world, 30, 30)
    for _ in range(2):
        look(world, "class-error")
        tick(world, minutes=1)
    [alert], [task] = all_alerts(world), open_tasks(world)
    assert (alert.key, task.kind, task.alert_id, task.details["class"]) == ("3", "label-audit", alert.id, "3")
    assert len(notices(world)) == 1


def pin_latency(parts: Parts, p95_ms: float) -> None:
    with parts.database.write() as connection:
        numbers = {"p95_ms": p95_ms, "calls": 500}
        evaluations.set_baseline(connection, "digits", 1, "latency", "host", numbers, parts.clock())


def test_slow_answers_wait_for_their_time_then_open_one_tuning_task_and_tell_no_unconfigured_channel(
    world: Parts,
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
    assert task.details == {"version": 1, "ratio": 4.5, "baseline_ms": 2.0}
    assert notices(world) == []


def test_an_alert_of_one_rule_is_left_alone_by_another(world: Parts) -> None:
    answer(world, 18, 12)
    look(world)
    evaluation = look(world, "class-error")
    assert evaluation is not None
    assert sorted((alert.rule, alert.state) for alert in all_alerts(world)) == [
        ("accuracy-drop", "firing"),
        ("class-error", "firing"),
    ]


@pytest.mark.parametrize("failure", [MetricsError, OSError])
@pytest.mark.parametrize("fails_at", ["the numbers", "the report"])
def test_an_error_in_evidently_or_a_full_disk_silences_no_alert(
    world: Parts, fails_at: str, failure: type[Exception]
) -> None:
    answer(world, 18, 12)

    def broken(window: Window, rule: Rule, report: Path | None) -> Measured:
        if (report is None) == (fails_at == "the numbers"):
            raise failure("this window could not be done")
        return counting(window, rule, report)

    evaluation = look(world, measure=broken)
    assert evaluation is not None
    assert evaluation.state == "breach", "a fault in the evidence must not silence the alert"
    assert (evaluation.report is None) == (fails_at == "the report")
    assert written(world) == (1, 1, 3, 1)
    assert len(reports(world)) == (0 if fails_at == "the report" else 1)


def test_the_real_evidently_agrees_with_the_counts_and_writes_the_report(world: Parts) -> None:
    answer(world, 18, 12)
    evaluation = turn(world, rule(world, "accuracy-drop"), world.clock())
    assert evaluation is not None
    assert evaluation.findings[0]["value"] == pytest.approx(0.39)
    assert evaluation.report is not None
    assert "<html" in Path(evaluation.report).read_text(encoding="utf-8")[:2000].lower()


def test_an_alert_whose_rule_is_no_longer_written_is_closed_without_a_notice(world: Parts) -> None:
    answer(world, 18, 12)
    look(world)
    before = len(notices(world))
    with_rules(world, RULES.replace("name: accuracy-drop", "name: accuracy-loss").replace("0.5 points", "99 points"))
    look(world, "accuracy-loss")
    assert [(alert.rule, alert.state) for alert in all_alerts(world)] == [("accuracy-drop", "superseded")]
    assert len(notices(world)) == before


def test_a_class_without_new_labels_is_still_reminded_of(world: Parts) -> None:
    answer(world, 10, 20)
    look(world, "class-error")
    tick(world, hours=5)
    answer(world, 0)
    look(world, "class-error")
    assert [alert.state for alert in all_alerts(world)] == ["firing"]
    assert [notice.idempotency_key.split("-")[-4] for notice in notices(world)] == ["firing", "repeat"]


def test_retiring_spares_the_alerts_of_the_champion(world: Parts) -> None:
    answer(world, 18, 12)
    look(world)
    with world.database.write() as connection:
        assert retire_alerts(connection, "digits", 1, world.clock()) == 0
        assert retire_alerts(connection, "digits", 2, world.clock()) == 1
        assert retire_alerts(connection, "digits", 2, world.clock()) == 0


def test_a_rule_without_an_action_only_tells(parts: Parts) -> None:
    world = with_rules(parts, RULES.replace("action: retrain", "action: none"))
    promote(world)
    answer(world, 18, 12)
    look(world)
    assert written(world) == (1, 1, 3, 0)


def test_the_worst_state_is_the_gravest_and_no_findings_are_no_data(world: Parts) -> None:
    answer(world, 18, 12)
    evaluation = look(world)
    assert evaluation is not None
    from monitors.detect import Finding

    found = Finding(**evaluation.findings[0])
    assert worst([replace(found, state="ok"), found, replace(found, state="suspect")]) == "breach"
    assert worst([replace(found, state="insufficient"), replace(found, state="no-data")]) == "insufficient"
    assert worst([]) == "no-data"


def test_a_promotion_by_hand_goes_the_same_way(world: Parts) -> None:
    world.catalog.add("digits", 2)  # type: ignore[attr-defined]
    made = world.champions.promote(Change("digits", 2, 1, "promote", "me", "by hand"))
    assert made.to_version == 2
