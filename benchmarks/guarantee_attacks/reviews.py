"""Attacks by reviewers who skip: a healthy model of whose drawn answers the doubtful ones alone are labelled.

Ninety days of 1 000 answers, a tenth of them doubtful, 1 % wrong in all, drawn by the shipped plan for 100 labels a day
and read by the detector of a rule that allows 2 %. Of the sure answers 1 in 5 is labelled, of the doubtful ones all.
`before` weighs a label by the chance of its answer to be drawn, and not by that to be drawn and labelled.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from benchmarks.guarantee_attacks import Attack, rate_attack
from monitors.statistics.e_detector import Observation, restart_detector, start_detector, update_detector
from monitors.statistics.review_sampling import make_sampling_plan, settled_shares

START: Final = datetime(2026, 1, 5, tzinfo=UTC)
DAY: Final = timedelta(days=1)
DAYS: Final = 90
ANSWERS: Final = {"3 0": 100.0, "3 3": 900.0}
ERRORS: Final = {"3 0": 0.082, "3 3": 0.002}
ALLOWED: Final = 0.02
PER_SECOND: Final = 1 / (DAYS * DAY).total_seconds()
REVIEW_TIME: Final = 2
REVIEW_WATCH_DAYS: Final = 14


def run_attacks(quick: bool) -> Iterator[Attack]:
    """False alarms in 90 days, with reviewers who skip sure answers and with some who are slow alone."""
    runs = 8 if quick else 60
    for name, finished in (("skip-4-of-5-sure-answers", 0.2), ("skip-none", 1.0)):
        counts, before = (
            [_alarms(np.random.default_rng(seed), finished, corrected=corrected) for seed in range(runs)]
            for corrected in (True, False)
        )
        yield rate_attack(f"reviewers-{name}", "1e", 1.0, counts, before=sum(before) / runs)


def _alarms(generator: np.random.Generator, finished: float, *, corrected: bool) -> int:
    """False alarms in 90 days, where reviewers label this share of the sure answers that they are shown."""
    detector, alarms = start_detector(ALLOWED, START), 0
    reviews: list[dict[str, tuple[int, int]]] = []
    for day in range(DAYS):
        plan = make_sampling_plan(100, ANSWERS, {"3 0": 0.3, "3 3": 0.005})
        if corrected:
            old = reviews[max(0, day - REVIEW_TIME - REVIEW_WATCH_DAYS) : max(0, day - REVIEW_TIME)]
            plan = replace(plan, settled=settled_shares(_sums(old)))
        observations, today = [], {}
        for stratum, many in ANSWERS.items():
            chance = plan.chance(stratum)
            drawn = int(generator.binomial(int(many), chance))
            labelled = drawn if stratum == "3 0" else int(generator.binomial(drawn, finished))
            today[stratum] = (drawn, labelled)
            weight = 1 / plan.inclusion(stratum, chance) / plan.max_weight
            wrong = generator.random(labelled) < ERRORS[stratum]
            moments = generator.random(labelled)
            observations += [(float(moment), bool(each), weight) for moment, each in zip(moments, wrong, strict=True)]
        reviews.append(today)
        left = [
            Observation(START + (day + moment) * DAY, float(is_wrong), min(1.0, weight))
            for moment, is_wrong, weight in sorted(observations)
        ]
        while left:
            detector = update_detector(detector, left, PER_SECOND)
            if detector.alarmed_at is None:
                break
            alarmed_at, alarms = detector.alarmed_at, alarms + 1
            left = [each for each in left if each.at > alarmed_at]
            detector = restart_detector(detector, alarmed_at)
    return alarms


def _sums(days: list[dict[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    return {
        stratum: (sum(day[stratum][0] for day in days), sum(day[stratum][1] for day in days)) for stratum in ANSWERS
    }
