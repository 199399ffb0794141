from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.alerts import Alert, AlertStep, Silence, acknowledge, apply_finding, supersede
from monitors.decisions.finding import FindingState
from monitors.errors import AlertError
from monitors.rules.alerts_config import Rule
from tests.support.monitor_examples import NOON, finding, rule

HOUR = timedelta(hours=1)

MINUTE = timedelta(minutes=1)
QUIET: tuple[FindingState, ...] = ("suspect", "insufficient", "no-data")


def ids() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"alert-{next(numbers)}"


def live(states: list[tuple[FindingState, float]], the_rule: Rule, alert: Alert | None = None) -> list[AlertStep]:
    """Feed findings at minutes after noon to one alert."""
    new_id, steps = ids(), []
    for state, minutes in states:
        steps.append(apply_finding(alert, finding(state), the_rule, NOON + minutes * MINUTE, new_id))
        alert = steps[-1].alert
    return steps


def firing() -> Alert:
    alert = live([("breach", 0)], rule())[0].alert
    assert alert is not None
    return alert


def test_a_breach_fires_at_once_where_no_wait_is_asked() -> None:
    [first] = live([("breach", 0)], rule(action="retrain", severity="critical"))
    assert first.alert is not None
    assert (first.alert.id, first.alert.state, first.alert.severity) == ("alert-1", "firing", "critical")
    assert (first.alert.fired_at, first.alert.last_notified_at, first.alert.notices) == (NOON, NOON, 1)
    assert (first.alert.value, first.alert.low, first.alert.high, first.alert.n) == (0.08, 0.04, 0.12, 200)
    assert first.change is not None
    assert (first.change.from_state, first.change.to_state) == (None, "firing")
    assert (first.notify, first.act) == ("firing", True)


def test_a_rule_without_an_action_only_tells() -> None:
    [first] = live([("breach", 0)], rule(action="none"))
    assert (first.notify, first.act) == ("firing", False)


def test_a_breach_must_last_before_anyone_is_told() -> None:
    steps = live([("breach", 0), ("breach", 4), ("breach", 5), ("breach", 6)], rule(action="retrain", **{"for": "5m"}))
    assert [s.alert and s.alert.state for s in steps] == ["pending", "pending", "firing", "firing"]
    assert [s.notify for s in steps] == [None, None, "firing", None]
    assert [s.act for s in steps] == [False, False, True, False]


def test_a_pending_alert_that_recovers_closes_without_a_word() -> None:
    last = live([("breach", 0), ("ok", 1)], rule(**{"for": "5m"}))[-1]
    assert last.alert is not None
    assert (last.alert.state, last.notify, last.act) == ("resolved", None, False)
    assert last.change is not None


def test_recovery_resolves_and_tells_once() -> None:
    steps = live([("breach", 0), ("ok", 1), ("ok", 2)], rule())
    assert [s.notify for s in steps] == ["firing", "resolved", None]
    assert [s.change is not None for s in steps] == [True, True, False]
    assert steps[-1].alert is not None
    assert steps[-1].alert.state == "resolved"


@pytest.mark.parametrize("state", QUIET)
def test_only_a_breach_opens_an_alert(state: FindingState) -> None:
    assert live([(state, 0)], rule()) == [AlertStep(None)]
    assert live([("ok", 0)], rule()) == [AlertStep(None)]


@pytest.mark.parametrize("state", QUIET)
def test_missing_or_unclear_data_never_resolves(state: FindingState) -> None:
    for the_rule, expected in ((rule(), "firing"), (rule(**{"for": "5m"}), "pending")):
        last = live([("breach", 0), (state, 10)], the_rule)[-1]
        assert last.alert is not None
        assert (last.alert.state, last.change, last.notify) == (expected, None, None)


def test_missing_data_keeps_the_last_numbers() -> None:
    alert = firing()
    after = apply_finding(alert, finding("no-data", value=None), rule(), NOON + MINUTE, ids()).alert
    assert after == alert


def test_a_firing_alert_reminds_at_the_repeat_interval_even_without_data() -> None:
    states: list[tuple[FindingState, float]] = [
        ("breach", 0),
        ("breach", 59),
        ("no-data", 60),
        ("breach", 61),
        ("breach", 120),
    ]
    steps = live(states, rule(repeat="1h"))
    assert [s.notify for s in steps] == ["firing", None, "repeat", None, "repeat"]
    assert [s.alert and s.alert.notices for s in steps] == [1, 1, 2, 2, 3]
    assert sum(s.act for s in steps) <= 1


def test_an_acknowledged_alert_reminds_no_more_but_still_resolves() -> None:
    taken = acknowledge(firing(), NOON + MINUTE)
    assert taken.change is not None
    assert (taken.change.from_state, taken.change.to_state) == ("firing", "acknowledged")
    steps = live([("breach", 600), ("ok", 700)], rule(repeat="1h"), taken.alert)
    assert [s.notify for s in steps] == [None, "resolved"]


def test_acknowledging_twice_changes_nothing() -> None:
    taken = acknowledge(firing(), NOON).alert
    assert taken is not None
    assert acknowledge(taken, NOON + MINUTE) == AlertStep(taken)


def test_what_does_not_fire_cannot_be_acknowledged() -> None:
    pending = live([("breach", 0)], rule(**{"for": "5m"}))[0].alert
    assert pending is not None
    with pytest.raises(AlertError, match="is pending; only a firing alert"):
        acknowledge(pending, NOON)


def test_a_new_version_ends_the_old_versions_alert_without_a_notice() -> None:
    gone = supersede(firing(), NOON + MINUTE)
    assert gone.alert is not None
    assert (gone.alert.state, gone.notify) == ("superseded", None)
    assert gone.change is not None
    assert gone.change.reason == "version 3 no longer serves"
    assert supersede(gone.alert, NOON + MINUTE) == AlertStep(gone.alert)


def test_after_an_alert_has_closed_a_new_breach_opens_another() -> None:
    steps = live([("breach", 0), ("ok", 1), ("breach", 2)], rule(action="retrain"))
    assert [s.alert and s.alert.id for s in steps] == ["alert-1", "alert-1", "alert-2"]
    assert steps[-1].act


def test_an_alert_is_never_stepped_by_another_versions_finding() -> None:
    with pytest.raises(AlertError, match="supersede or open another"):
        apply_finding(firing(), finding("ok", version=4), rule(), NOON, ids())
    with pytest.raises(AlertError, match="supersede or open another"):
        apply_finding(firing(), finding("ok", key="7"), rule(), NOON, ids())
    with pytest.raises(AlertError, match="pass its own rule"):
        apply_finding(None, finding("breach"), rule(name="another"), NOON, ids())


def test_a_clock_set_back_neither_fires_early_nor_waits_for_the_old_time() -> None:
    steps = live([("breach", 600), ("breach", 0), ("breach", 4), ("breach", 5)], rule(**{"for": "5m"}))
    assert [s.alert and s.alert.state for s in steps] == ["pending", "pending", "pending", "firing"]
    reminded = live([("breach", 600), ("breach", 0), ("breach", 59), ("breach", 60)], rule(repeat="1h"))
    assert [s.notify for s in reminded] == ["firing", None, None, "repeat"]


def test_a_silence_covers_its_rules_and_keys_until_it_ends() -> None:
    alert = replace(firing(), rule="class-error", key="7")
    assert Silence("class-*", NOON + MINUTE).covers(alert, NOON)
    assert not Silence("class-*", NOON).covers(alert, NOON)
    assert not Silence("latency", NOON + MINUTE).covers(alert, NOON)
    assert Silence("*", NOON + MINUTE, key="7").covers(alert, NOON)
    assert not Silence("*", NOON + MINUTE, key="3").covers(alert, NOON)
    assert Silence("*", NOON + MINUTE, severity=alert.severity).covers(alert, NOON)
    assert not Silence("*", NOON + MINUTE, severity="info").covers(alert, NOON)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ok", "suspect", "breach", "insufficient", "no-data", "acknowledge", "supersede"]),
        st.integers(-30, 120),
    ),
    max_size=30,
)


def advance(alert: Alert | None, event: str, the_rule: Rule, now: datetime, new_id: Callable[[], str]) -> AlertStep:
    if event == "acknowledge":
        return acknowledge(alert, now) if alert is not None and alert.state == "firing" else AlertStep(alert)
    if event == "supersede":
        return supersede(alert, now) if alert is not None else AlertStep(alert)
    state: FindingState = event  # type: ignore[assignment]
    return apply_finding(alert, finding(state), the_rule, now, new_id)


@settings(max_examples=200, deadline=None)
@given(EVENTS, st.sampled_from(["0s", "5m"]))
def test_whatever_happens_and_however_the_clock_jumps_each_alert_fires_and_acts_once(
    events: list[tuple[str, int]], wait: str
) -> None:
    the_rule, new_id = rule(action="retrain", repeat="1h", **{"for": wait}), ids()
    alert: Alert | None = None
    now = NOON
    told: list[tuple[str, str, int]] = []
    acted: list[str] = []
    for event, minutes in events:
        now += minutes * MINUTE
        before = alert
        done = advance(alert, event, the_rule, now, new_id)
        alert = done.alert
        if done.notify:
            assert alert is not None
            told.append((alert.id, done.notify, alert.notices))
        if done.act:
            assert alert is not None
            acted.append(alert.id)
        if before is not None and alert is not None and before.id == alert.id and before.state != alert.state:
            assert done.change is not None
            assert (done.change.from_state, done.change.to_state) == (before.state, alert.state)
    fired = [alert_id for alert_id, kind, _ in told if kind == "firing"]
    resolved = [alert_id for alert_id, kind, _ in told if kind == "resolved"]
    assert len(set(told)) == len(told)
    assert len(set(fired)) == len(fired)
    assert acted == fired
    assert set(resolved) <= set(fired)


# --- the clear level and keep_firing


def fired(the_rule: Rule) -> Alert:
    made = apply_finding(None, finding("breach"), the_rule, NOON, lambda: "a1").alert
    assert made is not None
    return made


def test_a_value_that_is_ok_but_not_clear_ends_no_firing_alert() -> None:
    alert = fired(rule())
    unclear = replace(finding("ok"), clear=False)
    assert apply_finding(alert, unclear, rule(), NOON + HOUR, lambda: "x").change is None
    assert apply_finding(alert, finding("ok"), rule(), NOON + HOUR, lambda: "x").notify == "resolved"


def test_a_pending_alert_ends_at_the_first_ok() -> None:
    pending = apply_finding(None, finding("breach"), rule(**{"for": "2h"}), NOON, lambda: "a1").alert
    unclear = replace(finding("ok"), clear=False)
    after = apply_finding(pending, unclear, rule(**{"for": "2h"}), NOON + HOUR, lambda: "x").alert
    assert after is not None
    assert after.state == "resolved"


def test_keep_firing_waits_for_calm_that_lasts() -> None:
    patient = rule(keep_firing="2h", repeat="1d")
    alert = fired(patient)
    story = [(1, "ok", "firing"), (2, "ok", "firing"), (2.5, "suspect", "firing"), (3, "ok", "firing")]
    story += [(4, "no-data", "firing"), (4.9, "ok", "firing"), (5, "ok", "resolved")]
    for hours, state, expected in story:
        moved = apply_finding(alert, finding(state), patient, NOON + hours * HOUR, lambda: "x").alert  # type: ignore[arg-type]
        assert moved is not None
        assert moved.state == expected, hours
        alert = moved


def test_calm_after_a_clock_set_back_counts_from_the_new_time() -> None:
    patient = rule(keep_firing="2h")
    alert = apply_finding(fired(patient), finding("ok"), patient, NOON + 5 * HOUR, lambda: "x").alert
    alert = apply_finding(alert, finding("ok"), patient, NOON + HOUR, lambda: "x").alert
    assert alert is not None
    assert (alert.state, alert.calm_since) == ("firing", NOON + HOUR)


# --- escalation


def test_an_alert_nobody_takes_on_is_escalated_once_and_reminders_go_on() -> None:
    urgent = rule(escalate={"after": "2h", "notify": ["boss"]}, repeat="3h")
    alert, kinds = fired(urgent), list[str | None]()
    for hours in (1, 2, 2.5, 3, 5, 6):
        moved = apply_finding(alert, finding("breach"), urgent, NOON + hours * HOUR, lambda: "x")
        assert moved.alert is not None
        alert = moved.alert
        kinds.append(moved.notify)
    assert kinds == [None, "escalated", None, "repeat", None, "repeat"]


def test_an_acknowledged_alert_is_not_escalated() -> None:
    urgent = rule(escalate={"after": "2h", "notify": ["boss"]})
    taken = acknowledge(fired(urgent), NOON + HOUR).alert
    assert apply_finding(taken, finding("breach"), urgent, NOON + 9 * HOUR, lambda: "x").notify is None
