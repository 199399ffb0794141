"""Attacks on what may judge a candidate: labels whose errors are known first, and golden rows that fail by the day."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from benchmarks.guarantee_attacks import Attack, share_attack
from monitors.statistics.label_maturity import LabelLags, derived_maturity
from registry.gate.benefit_checks import check_benefit
from registry.gate.evidence import GateEvidence
from registry.gate.paired_comparison import PairedPredictions, difference_bounds, judged_block_bounds, mcnemar_exact
from tests.support.gate_simulations import KINDS_OF_DAYS, days_of_chances, discordant_rows, kinds_of_days

ALPHA: Final = 0.05
MARGIN: Final = 0.02
ERRORS: Final = 0.03
START: Final = datetime(2026, 1, 5, tzinfo=UTC)
Generator = np.random.Generator


def run_attacks(quick: bool) -> Iterator[Attack]:
    """Every attack on judging rows."""
    runs = 120 if quick else 1200
    yield from _errors_known_first(runs)
    yield from _days_of_golden_rows(runs)


def _errors_known_first(runs: int) -> Iterator[Attack]:
    """Two models that err alike; what the champion misread is labelled first, and there any other looks better."""
    for name, right, fixed, days, per_day in (
        ("a-week", 7.0, True, 30, 50),
        ("about-a-week", 7.0, False, 70, 50),
        ("a-month-in-10-weeks", 30.0, False, 70, 50),
        ("a-month-in-a-year", 30.0, False, 365, 15),
    ):
        generator, hits, before = np.random.default_rng(41), 0, 0
        golden = discordant_rows(generator, 1000, 0.0, 0.0)
        for _ in range(runs):
            mature, known = labels_that_judge(generator, days, per_day, right, fixed=fixed)
            evidence = GateEvidence(golden, mature if mature.n else None, ("0", "1"), 1.0, 1.0, 1000, 1000)
            hits += check_benefit(evidence).passed is True
            before += mcnemar_exact(known.losses, known.gains) < ALPHA
        yield share_attack(f"gate-right-answers-known-after-{name}", "1c", ALPHA, hits, runs, before / runs)


def labels_that_judge(
    generator: Generator, days: int, per_day: int, right: float, *, fixed: bool
) -> tuple[PairedPredictions, PairedPredictions]:
    """The rows of mature answers, as the gate takes them, and those of all that have a label after so many days."""
    answers = days * per_day
    champion, candidate = (generator.random(answers) < ERRORS for _ in range(2))
    given = np.arange(answers) / per_day
    usual = np.where(champion, 1.0, right)
    known = given + (usual if fixed else generator.exponential(usual))
    has_label = known <= days
    moments = [START + timedelta(days=float(day)) for day in given]
    came = [
        (moments[place], START + timedelta(days=float(known[place])), not champion[place])
        for place in np.flatnonzero(has_label).tolist()
    ]
    now = START + timedelta(days=days)
    maturity = derived_maturity(LabelLags().add(came), now)
    old_enough = -np.inf if maturity is None else days - maturity / timedelta(days=1)  # nothing tells: none judges
    is_mature = has_label & (given <= old_enough)
    rows = PairedPredictions(
        np.zeros(answers, np.int64), champion.astype(np.int64), candidate.astype(np.int64), "feedback"
    )
    return rows.take(is_mature), rows.take(has_label)


def _days_of_golden_rows(runs: int) -> Iterator[Attack]:
    """Two points are truly lost, on days that are unlike each other; a day is one observation."""
    for count, per_day in ((20, 60), (44, 27), (44, 300)):
        for kind in KINDS_OF_DAYS:
            generator, hits, before = np.random.default_rng(42), 0, 0
            for _ in range(runs // 3):
                days = days_of_chances(generator, per_day, *kinds_of_days(kind, generator, count))
                hits += judged_block_bounds(days, ALPHA)[0] > -MARGIN
                plain = PairedPredictions(days.labels, days.champion, days.candidate, days.origin)
                before += difference_bounds(plain, ALPHA)[0] > -MARGIN
            name = f"gate-{count}-days-of-{per_day}-rows-{kind.replace(',', '').replace(' ', '-')}"
            yield share_attack(name, "1d", ALPHA, hits, runs // 3, before / (runs // 3))
