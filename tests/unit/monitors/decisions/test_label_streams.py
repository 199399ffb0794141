"""What a detector makes of labels as they are: of two sources, in an order that depends on the answer, in clumps.

Scenarios of the attack on the decision core, each with the defence that holds and, where a key switches it off, the
failure that it holds against.
"""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest

from monitors.decisions.detectors.label_detector import LabelDetector, update_label_detector
from monitors.decisions.detectors.outcome_blocks import OutcomeBlock
from monitors.rules.alerts_config import Rule
from monitors.statistics.e_detector import simple_null
from monitors.statistics.review_sampling import make_sampling_plan
from tests.support.label_streams import DAY, START, LabelStream, alarms
from tests.support.monitor_examples import golden, rule

GOLDEN = golden(9_900, 10_000)
"""Allowed are 1.3 % wrong at a threshold of nothing; each rule below says what it allows."""
QUARTER = 90


def watching(allowed: float, **written: object) -> Rule:
    """A rule that allows this share of errors."""
    upper = 0.0126  # 99 % limit of 1.0 % on 10 000 rows
    return rule(false_alarms="1 per 90d", min_samples=20, above=f"{100 * (allowed - upper):.2f} points", **written)


def audited_and_confirmed(seed: int, errors: float, days: int, per_day: int = 300) -> LabelStream:
    """Every answer gets a delayed label after a day; 100 a day are drawn as the platform draws and audited before.

    One in ten answers is doubtful, and nine in ten errors are among these.
    """
    generator, stream = np.random.default_rng(seed), LabelStream()
    strata = {"doubtful": 0.1 * per_day, "sure": 0.9 * per_day}
    plan = make_sampling_plan(100, strata, {"doubtful": 0.2, "sure": 0.005})
    chances = {name: plan.strata.get(name, plan.uniform) for name in strata}
    for number in range(days * per_day):
        at = number / per_day
        stratum = "doubtful" if generator.random() < 0.1 else "sure"
        share = 0.9 * errors / 0.1 if stratum == "doubtful" else 0.1 * errors / 0.9
        wrong = bool(generator.random() < share)
        chance = chances[stratum]
        if generator.random() < chance:
            smallest = min(chances.values())
            stream.add(f"p{number}", at, at + 0.1, "audit", wrong=wrong, chance=chance, smallest_chance=smallest)
        stream.add(f"p{number}", at, at + 1, "delayed", wrong=wrong)
    return stream


def test_errors_are_found_where_answers_are_audited_and_confirmed_as_well() -> None:
    """Read as one stream, the same errors were missed in 97 of 100 runs of 90 days."""
    found = [
        alarms(watching(0.02, mature="1d"), GOLDEN, audited_and_confirmed(seed, 0.03, 40), range(1, 42), most=1)
        for seed in range(3)
    ]
    assert all(found), "a half more errors than allowed"
    assert float(np.median([days[0] for days in found])) < 20


@pytest.mark.slow
def test_two_sources_share_the_budget_of_one() -> None:
    """At the limit for a quarter of a year: the budget is one alarm."""
    total = sum(
        len(alarms(watching(0.02, mature="1d"), GOLDEN, audited_and_confirmed(seed, 0.02, 30, 200), range(1, 32)))
        for seed in range(3)
    )
    assert total <= 2


def complaints(seed: int, days: int, per_day: int = 100, right_after: float = 7.0) -> LabelStream:
    """1 % wrong, known after a day on average; right answers are confirmed after `right_after` days on average."""
    generator, stream = np.random.default_rng(seed), LabelStream()
    for number in range(days * per_day):
        wrong = bool(generator.random() < 0.01)
        lag = generator.exponential(1.0 if wrong else right_after)
        stream.add(f"p{number}", number / per_day, number / per_day + lag, "delayed", wrong=wrong)
    return stream


def test_complaints_that_come_first_raise_no_alarm() -> None:
    for seed in range(2):
        assert alarms(watching(0.019), GOLDEN, complaints(seed, 60), range(1, 91)) == []
    stated = watching(0.019, mature="30d")
    assert alarms(stated, GOLDEN, complaints(1, 60), range(1, 91)) == []


def test_read_as_they_come_complaints_are_a_false_alarm() -> None:
    as_they_come = watching(0.019, mature="0s")
    found = [alarms(as_they_come, GOLDEN, complaints(seed, 5, 1_000, 30.0), range(1, 6), most=1) for seed in range(3)]
    assert all(found)


def clumps(seed: int, errors: float, size: int, days: int, per_day: int = 100) -> LabelStream:
    """Requests of `size` answers that are wrong together or right together."""
    generator, stream = np.random.default_rng(seed), LabelStream()
    for request in range(days * per_day // size):
        wrong, at = bool(generator.random() < errors), request * size / per_day
        for place in range(size):
            stream.add(f"p{request}-{place}", at, at, "delayed", wrong=wrong, request=f"r{request}")
    return stream


@pytest.mark.parametrize("size", [5, 20])
def test_answers_of_one_request_that_fail_together_are_one_observation(size: int) -> None:
    """At the baseline, where there is nothing to find: 1 % of the sheets are wrong as a whole."""
    by_request, by_label = watching(0.02, mature="0s"), watching(0.02, mature="0s", block="label")
    runs = [clumps(seed, 0.01, size, QUARTER) for seed in range(2)]
    assert sum(len(alarms(by_request, GOLDEN, run, range(1, 91))) for run in runs) <= 1
    assert sum(len(alarms(by_label, GOLDEN, run, range(1, 91))) for run in runs) >= 5


def test_a_bad_hour_every_day_is_no_alarm_by_day() -> None:
    """Half a percent all day and 13 % for an hour: 1 % a day, of which 2 % are allowed."""
    generator, stream = np.random.default_rng(4), LabelStream()
    for number in range(20 * 1_000):
        at = number / 1_000
        errors = 0.13 if 0.5 <= at % 1 < 0.5 + 1 / 24 else 0.005
        stream.add(f"p{number}", at, at, "delayed", wrong=bool(generator.random() < errors))
    assert alarms(watching(0.02, mature="0s", block="1d"), GOLDEN, stream, range(1, 22)) == []
    assert len(alarms(watching(0.02, mature="0s"), GOLDEN, stream, range(1, 22))) >= 2


def test_a_source_that_speaks_later_takes_half_of_the_budget_from_then_on() -> None:
    detector = LabelDetector(simple_null(0.02), START)

    def block(source: str, hours: int) -> tuple[str, OutcomeBlock]:
        stream = LabelStream()
        stream.add(f"{source}{hours}", 0, hours / 24, "audit" if source == "audit" else "delayed", wrong=False)
        [(_, event)] = stream.events
        return source, OutcomeBlock(START + timedelta(hours=hours), (event.outcome,), (event.outcome.loss,))

    per_second = 1 / DAY.total_seconds() / 1_000
    blocks: Sequence[tuple[str, OutcomeBlock]] = [block("audit", 10), block("delayed", 20), block("audit", 30)]
    after = update_label_detector(detector, blocks, per_second, 1)
    assert after.by_source["audit"].at == START + timedelta(hours=30)
    assert after.by_source["delayed"].at == START + timedelta(hours=20)
    only_money = update_label_detector(LabelDetector(simple_null(0.999), START), blocks, per_second, 1)
    assert only_money.evidence <= 30 / 24 / 1_000, "together they have earned no more than one would have"


def test_what_a_label_detector_remembers_is_kept() -> None:
    stream = LabelStream()
    stream.add("a", 0, 1, "audit", wrong=True, chance=0.5, smallest_chance=0.1)
    [(_, event)] = stream.events
    block = OutcomeBlock(START + DAY, (event.outcome,), (event.outcome.loss,))
    after = update_label_detector(LabelDetector(simple_null(0.02), START), [("audit", block)], 1e-7, 1)
    assert LabelDetector.from_json(after.to_json()) == after
