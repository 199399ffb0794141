"""Attacks on the gate: candidates that are no better, or do harm, and how often they are promoted all the same."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from scipy import stats

from benchmarks.guarantee_attacks import Attack, share_attack
from registry.gate.benefit_checks import check_benefit
from registry.gate.class_check import check_classes
from registry.gate.evidence import GateEvidence, PairedConfidence
from registry.gate.harm_checks import check_calibration
from registry.gate.paired_comparison import PairedPredictions, difference_bounds, mcnemar_exact
from registry.gate.verdict import gate_verdict
from tests.support.gate_simulations import (
    NetworkPair,
    better_in_doubtful_answers,
    discordant_rows,
    drawn_rows,
    equal_networks,
)

ALPHA: Final = 0.05
CLASSES: Final = tuple("0123456789")
_ANSWERS_PER_DRAW: Final = 10


def run_attacks(quick: bool) -> Iterator[Attack]:
    """Every attack on the gate."""
    runs = 120 if quick else 1200
    yield from attack_gate_weights(runs)
    yield from attack_gate_cliff(runs)
    yield from attack_gate_classes(runs // 4)
    yield from attack_gate_golden_loss(runs)
    yield from attack_gate_attempts(runs * 2)
    yield from attack_gate_blocks(runs)
    yield from attack_gate_calibration(runs * 2)


def attack_gate_weights(runs: int) -> Iterator[Attack]:
    """Held-back rows drawn by the champion's doubt, which favours any other model: equal networks, and a worse one."""
    for name, accuracy, drawn in (("98", 0.98, 500), ("98", 0.98, 3000), ("91", 0.91, 3000)):
        generator = np.random.default_rng(drawn)
        worlds = (equal_networks(generator, drawn * _ANSWERS_PER_DRAW, accuracy) for _ in range(runs // 3))
        yield _weights_attack(f"gate-weights-equal-{name}-{drawn}-rows", generator, worlds, drawn, runs // 3)
    generator = np.random.default_rng(31)
    worlds = (better_in_doubtful_answers(generator, 3000 * _ANSWERS_PER_DRAW) for _ in range(runs // 3))
    yield _weights_attack("gate-weights-better-in-doubtful-answers", generator, worlds, 3000, runs // 3)


def attack_gate_cliff(runs: int) -> Iterator[Attack]:
    """One point better on golden rows and worse now, with just too few recent rows to be asked by themselves."""
    for loss in (0.02, 0.05, 0.10):
        generator, hits, before = np.random.default_rng(32), 0, 0
        for _ in range(runs):
            golden, recent = (
                discordant_rows(generator, 3000, 0.02, 0.03),
                discordant_rows(generator, 49, 0.02 + loss, 0.02, "feedback"),
            )
            evidence = _evidence(golden, recent)
            hits += gate_verdict(evidence).outcome == "promote"
            both = evidence.all_rows
            before += mcnemar_exact(both.losses, both.gains) < ALPHA <= mcnemar_exact(recent.gains, recent.losses)
        name = f"gate-cliff-49-rows-{100 * loss:g}-points-worse"
        yield share_attack(name, "3.2", ALPHA, hits, runs, before / runs)


def attack_gate_classes(runs: int) -> Iterator[Attack]:
    """Many classes: how often a much better candidate is held back, and how often one that gives up a class passes."""
    for classes, golden_rows in ((200, 3000), (200, 10_000), (1000, 3000), (1000, 10_000)):
        generator, held, before = np.random.default_rng(33), 0, 0
        for _ in range(runs):
            rows = [discordant_rows(generator, golden_rows, 0.02, 0.035, classes=classes)]
            rows.append(discordant_rows(generator, 500, 0.05, 0.10, "feedback", classes))
            check = check_classes(_evidence(*rows, classes=classes))
            held += check.passed is not True
            before += min(check.numbers.values()) < -0.10
        yield share_attack(f"gate-classes-{classes}-blameless-{golden_rows}", "3.3", 0.2, held, runs, before / runs)
    for classes in (10, 200, 1000):
        generator, passed = np.random.default_rng(34), 0
        for _ in range(runs):
            golden = discordant_rows(generator, 10 * classes, 0.02, 0.035, classes=classes)
            given_up = discordant_rows(generator, 60, 0.21, 0.01)  # all of class 0
            rest = golden.take(golden.labels > 0)
            check = check_classes(_evidence(rest.concatenate(given_up), classes=classes))
            passed += check.passed is True
        yield share_attack(f"gate-classes-{classes}-one-loses-20-points", "3.3", 0.1, passed, runs)


def attack_gate_golden_loss(runs: int) -> Iterator[Attack]:
    """A loss on the golden rows, paid for by a gain now."""
    for points, rows, promised in ((2.0, 1000, ALPHA), (2.0, 10_000, ALPHA), (1.5, 3000, 0.2), (1.5, 10_000, 0.2)):
        generator, hits, before = np.random.default_rng(35), 0, 0
        for _ in range(runs // 3):
            golden = discordant_rows(generator, rows, 0.02 + points / 100, 0.02)
            recent = discordant_rows(generator, 300, 0.05, 0.10, "feedback")
            hits += gate_verdict(_evidence(golden, recent)).outcome == "promote"
            before += difference_bounds(golden, ALPHA)[0] > -0.02
        name = f"gate-golden-loss-{points:g}-points-{rows}-rows"
        yield share_attack(name, "3.4", promised, hits, runs // 3, before / (runs // 3))


def attack_gate_attempts(runs: int) -> Iterator[Attack]:
    """Fifty candidates that are no better, each on fresh recent rows: how often one of them is promoted."""
    generator, hits, before = np.random.default_rng(36), 0, 0
    golden = discordant_rows(generator, 1000, 0.0, 0.0)
    for _ in range(runs // 4):
        promoted = luck = False
        for attempt in range(1, 51):
            recent = discordant_rows(generator, 200, 0.05, 0.05, "feedback")
            luck |= mcnemar_exact(recent.losses, recent.gains) < ALPHA
            promoted |= check_benefit(_evidence(golden, recent, attempt=attempt)).passed is True
        hits += promoted
        before += luck
    yield share_attack("gate-attempts-50-no-better", "3.5", ALPHA, hits, runs // 4, before / (runs // 4))


def attack_gate_blocks(runs: int) -> Iterator[Attack]:
    """Recent rows of one request that are right or wrong together, as the pages of one sheet are."""
    for size in (5, 20):
        generator, hits, before = np.random.default_rng(37), 0, 0
        for _ in range(runs):
            rows = discordant_rows(generator, 600 // size, 0.05, 0.05, "feedback")
            sheets = np.repeat(np.arange(rows.n), size)
            recent = replace(rows.take(sheets), blocks=sheets)
            golden = discordant_rows(generator, 1000, 0.0, 0.0)
            hits += check_benefit(_evidence(golden, recent)).passed is True
            before += mcnemar_exact(recent.losses, recent.gains) < ALPHA
        yield share_attack(f"gate-blocks-of-{size}", "1d", ALPHA, hits, runs, before / runs)


def attack_gate_calibration(runs: int) -> Iterator[Attack]:
    """A Brier score that is worse by just the margin: most rows lose a little less, and 2 % gain much."""
    for rows in (60, 200):
        generator, hits, before = np.random.default_rng(38), 0, 0
        right = discordant_rows(generator, rows, 0.0, 0.0)
        for _ in range(runs):
            gains = generator.random(rows) < 0.02
            champion = np.where(gains, 1 - np.sqrt(0.981), 1.0)
            candidate = np.where(gains, 1.0, 1 - np.sqrt(0.04))
            evidence = _evidence(right, None, confidence=PairedConfidence(champion, candidate))
            check = check_calibration(evidence)
            hits += check is not None and not check.passed
            worse = (1 - candidate) ** 2 - (1 - champion) ** 2
            student = stats.ttest_1samp(worse, 0.02, alternative="greater").pvalue if gains.any() else 0.0
            before += student < ALPHA
        yield share_attack(f"gate-calibration-{rows}-rows", "7", ALPHA, hits, runs, before / runs)


def _weights_attack(
    name: str, generator: np.random.Generator, worlds: Iterator[NetworkPair], drawn: int, runs: int
) -> Attack:
    hits = before = 0
    golden = discordant_rows(generator, 1000, 0.0, 0.0)
    for world in worlds:
        recent = drawn_rows(generator, world, drawn)
        hits += check_benefit(_evidence(golden, recent)).passed is True
        before += mcnemar_exact(recent.losses, recent.gains) < ALPHA
    return share_attack(name, "3.1", ALPHA, hits, runs, before / runs)


def _evidence(
    golden: PairedPredictions,
    recent: PairedPredictions | None = None,
    *,
    attempt: int = 1,
    classes: int = 10,
    confidence: PairedConfidence | None = None,
) -> GateEvidence:
    names: Sequence[str] = CLASSES if classes <= len(CLASSES) else [str(each) for each in range(classes)]
    return GateEvidence(golden, recent, tuple(names), 1.0, 1.0, 1000, 1000, attempt=attempt, confidence=confidence)
