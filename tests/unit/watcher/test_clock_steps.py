"""Steps of the wall clock are seen, and schedules go on after them."""

from datetime import UTC, datetime, timedelta

import pytest

from mlplatform.host.clock_steps import ClockStepDetector, due_slot

EVERY = timedelta(minutes=5)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Host:
    """Both clocks of a host."""

    def __init__(self) -> None:
        self.wall, self.forward = 1000.0, 50.0
        self.steps = ClockStepDetector(lambda: self.wall, lambda: self.forward)

    def pass_time(self, seconds: float, *, step: float = 0.0) -> None:
        self.wall += seconds + step
        self.forward += seconds


def test_time_that_passes_and_a_clock_that_drifts_are_no_steps() -> None:
    host = Host()
    for _ in range(100):
        host.pass_time(1, step=0.05)
        assert host.steps.poll() is None
    assert not host.steps.stepped_within(1e9)
    assert host.steps.last_step_text is None


@pytest.mark.parametrize(("by", "words"), [(-60, "set back by 60 s"), (7200, "set forward by 7200 s")])
def test_a_step_is_seen_once_and_told_for_an_hour(by: float, words: str) -> None:
    host = Host()
    host.pass_time(1, step=by)
    assert host.steps.stepped_within(30)
    step = host.steps.poll()
    assert step is not None
    assert words in step.text
    assert host.steps.poll() is None
    assert words in str(host.steps.last_step_text)
    host.pass_time(31)
    assert not host.steps.stepped_within(30)
    host.pass_time(3600)
    assert host.steps.last_step_text is None


@pytest.mark.parametrize(
    ("newest", "slot"),
    [
        (None, NOON),
        ((NOON - EVERY, NOON - EVERY), NOON),
        ((NOON, NOON), NOON),
        ((NOON + EVERY, NOON + timedelta(seconds=1)), NOON + EVERY),
        ((NOON + 24 * EVERY, NOON + 24 * EVERY), NOON + 25 * EVERY),
        ((NOON + 25 * EVERY, NOON), NOON + 25 * EVERY),
        ((NOON + 25 * EVERY, NOON - EVERY), NOON + 26 * EVERY),
    ],
    ids=["none yet", "the next", "done", "another host is a moment ahead", "set back", "just done since", "due again"],
)
def test_slots_used_by_a_clock_that_was_ahead_are_gone_on_from(
    newest: tuple[datetime, datetime] | None, slot: datetime
) -> None:
    assert due_slot(NOON, NOON, EVERY, newest) == slot


def test_a_schedule_has_one_slot_per_interval_through_a_step_back_and_its_mending() -> None:
    newest: tuple[datetime, datetime] | None = None
    done: list[datetime] = []
    minutes = [*range(30), *range(-90, -60), *range(60, 90)]
    for minute in minutes:
        now = NOON + timedelta(minutes=minute)
        slot = due_slot(now - (now - NOON) % EVERY, now, EVERY, newest)
        if newest is None or slot > newest[0]:
            newest = (slot, now)
            done.append(slot)
    assert len(done) == len(set(done))
    assert len(done) >= len(minutes) // 5 - 2
