"""Attacks on the gate: candidates that are no better, or do harm, and how often they are promoted all the same.

Two networks are simulated by their margins: what a picture shows both of them, and what each sees by itself. Each is
wrong where its margin is negative, and in doubt where it is near zero.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.guarantee_attacks import Attack, share_attack
from monitors.statistics.review_sampling import CONFIDENCE_CUTS, make_sampling_plan, stratum_of
from registry.gate.benefit_checks import check_benefit
from registry.gate.class_check import check_classes
from registry.gate.evidence import GateEvidence, PairedConfidence
from registry.gate.harm_checks import check_calibration
from registry.gate.paired_comparison import PairedPredictions, mcnemar_exact
from registry.gate.verdict import gate_verdict

ALPHA: Final = 0.05
CLASSES: Final = tuple("0123456789")
Bools = NDArray[np.bool_]
_OWN_SHARE: Final = 0.35
"""What a network sees by itself, in standard deviations of what a picture shows to both."""
_ANSWERS_PER_DRAW: Final = 10
_STRATA: Final = tuple(stratum_of("0", confidence) for confidence in (0.0, *CONFIDENCE_CUTS))


def run_attacks(quick: bool) -> Iterator[Attack]:
    """Every attack on the gate."""
    runs = 150 if quick else 1500
    yield from attack_gate_weights(runs)
    yield from attack_gate_cliff(runs)
    yield from attack_gate_classes(runs // 3)
    yield from attack_gate_golden_loss(runs)
    yield from attack_gate_attempts(runs * 2)
    yield from attack_gate_blocks(runs)
    yield from attack_gate_calibration(runs * 2)


def attack_gate_weights(runs: int) -> Iterator[Attack]:
    """Held-back rows drawn by the champion's doubt, which favours any other model: equal networks, and a worse one."""
    for name, accuracy, drawn in (("98", 0.98, 500), ("98", 0.98, 3000), ("91", 0.91, 3000)):
        generator = np.random.default_rng(drawn)
        worlds = (_twin_networks(generator, accuracy, drawn * _ANSWERS_PER_DRAW) for _ in range(runs // 3))
        yield _weights_attack(f"gate-weights-equal-{name}-{drawn}-rows", generator, worlds, drawn, runs // 3)
    generator = np.random.default_rng(31)
    worlds = (_doubtful_gain(generator, 3000 * _ANSWERS_PER_DRAW) for _ in range(runs // 3))
    yield _weights_attack("gate-weights-better-in-doubtful-answers", generator, worlds, 3000, runs // 3)


def attack_gate_cliff(runs: int) -> Iterator[Attack]:
    """One point better on golden rows and worse now, with just too few recent rows to be asked by themselves."""
    for loss in (0.02, 0.05, 0.10):
        generator, hits, before = np.random.default_rng(32), 0, 0
        for _ in range(runs):
            golden, recent = _rows(generator, 3000, 0.02, 0.03), _rows(generator, 49, 0.02 + loss, 0.02, "feedback")
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
            rows = [_rows(generator, golden_rows, 0.02, 0.035, classes=classes)]
            rows.append(_rows(generator, 500, 0.05, 0.10, "feedback", classes))
            check = check_classes(_evidence(*rows, classes=classes))
            held += check.passed is not True
            before += min(check.numbers.values()) < -0.10
        yield share_attack(f"gate-classes-{classes}-blameless-{golden_rows}", "3.3", 0.2, held, runs, before / runs)
    for classes in (10, 200, 1000):
        generator, passed = np.random.default_rng(34), 0
        for _ in range(runs):
            golden = _rows(generator, 10 * classes, 0.02, 0.035, classes=classes)
            given_up = _rows(generator, 60, 0.21, 0.01)  # all of class 0
            rest = golden.take(golden.labels > 0)
            check = check_classes(_evidence(rest.concatenate(given_up), classes=classes))
            passed += check.passed is True
        yield share_attack(f"gate-classes-{classes}-one-loses-20-points", "3.3", 0.1, passed, runs)


def attack_gate_golden_loss(runs: int) -> Iterator[Attack]:
    """A loss on the golden rows, paid for by a gain now."""
    for points, rows, promised in ((2.0, 1000, ALPHA), (2.0, 10_000, ALPHA), (1.5, 3000, 0.2), (1.5, 10_000, 0.2)):
        generator, hits = np.random.default_rng(35), 0
        for _ in range(runs // 3):
            golden = _rows(generator, rows, 0.02 + points / 100, 0.02)
            hits += gate_verdict(_evidence(golden, _rows(generator, 300, 0.05, 0.10, "feedback"))).outcome == "promote"
        yield share_attack(f"gate-golden-loss-{points:g}-points-{rows}-rows", "3.4", promised, hits, runs // 3)


def attack_gate_attempts(runs: int) -> Iterator[Attack]:
    """Fifty candidates that are no better, each on fresh recent rows: how often one of them is promoted."""
    generator, hits, before = np.random.default_rng(36), 0, 0
    golden = _rows(generator, 1000, 0.0, 0.0)
    for _ in range(runs // 4):
        promoted = luck = False
        for attempt in range(1, 51):
            recent = _rows(generator, 200, 0.05, 0.05, "feedback")
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
            rows = _rows(generator, 600 // size, 0.05, 0.05, "feedback")
            sheets = np.repeat(np.arange(rows.n), size)
            recent = replace(rows.take(sheets), blocks=sheets)
            golden = _rows(generator, 1000, 0.0, 0.0)
            hits += check_benefit(_evidence(golden, recent)).passed is True
            before += mcnemar_exact(recent.losses, recent.gains) < ALPHA
        yield share_attack(f"gate-blocks-of-{size}", "1d", ALPHA, hits, runs, before / runs)


def attack_gate_calibration(runs: int) -> Iterator[Attack]:
    """A Brier score that is worse by just the margin: most rows lose a little less, and 2 % gain much."""
    for rows in (60, 200):
        generator, hits, before = np.random.default_rng(38), 0, 0
        right = _rows(generator, rows, 0.0, 0.0)
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


@dataclass(frozen=True)
class _World:
    """Where each of two networks is wrong, (n,), and the band of the champion's confidence."""

    champion_wrong: Bools
    candidate_wrong: Bools
    bands: NDArray[np.int64]


def _weights_attack(
    name: str, generator: np.random.Generator, worlds: Iterator[_World], drawn: int, runs: int
) -> Attack:
    hits = before = 0
    golden = _rows(generator, 1000, 0.0, 0.0)
    for world in worlds:
        recent = _drawn_rows(generator, world, drawn)
        hits += check_benefit(_evidence(golden, recent)).passed is True
        before += mcnemar_exact(recent.losses, recent.gains) < ALPHA
    return share_attack(name, "3.1", ALPHA, hits, runs, before / runs)


def _twin_networks(generator: np.random.Generator, accuracy: float, answers: int) -> _World:
    spread = float(np.hypot(1, _OWN_SHARE))
    shown = float(special.ndtri(accuracy)) * spread + generator.standard_normal(answers)
    champion, candidate = (shown + _OWN_SHARE * generator.standard_normal(answers) for _ in range(2))
    confidence = special.expit(4 * np.abs(champion))
    return _World(champion < 0, candidate < 0, np.digitize(confidence, CONFIDENCE_CUTS))


def _doubtful_gain(generator: np.random.Generator, answers: int) -> _World:
    """A candidate that gains 10 points in the tenth that the champion doubts, and loses 2.2 in all others."""
    doubtful = generator.random(answers) < 0.1
    wrong = generator.random(answers) < np.where(doubtful, 0.15, 0.005)
    luck = generator.random(answers)
    candidate = np.where(doubtful, wrong & (luck > 0.10 / 0.15), wrong | (luck < 0.022))
    return _World(wrong, candidate, np.where(doubtful, 0, len(CONFIDENCE_CUTS)))


def _drawn_rows(generator: np.random.Generator, world: _World, drawn: int) -> PairedPredictions:
    """The answers that the shipped plan draws, each with the share that its label counts."""
    counts = np.bincount(world.bands, minlength=len(_STRATA))
    wrong = np.bincount(world.bands, world.champion_wrong, len(_STRATA)) / np.maximum(counts, 1)
    answers, errors = (dict(zip(_STRATA, each.tolist(), strict=True)) for each in (counts, wrong))
    plan = make_sampling_plan(drawn, answers, errors)
    chances = np.array([plan.chance(name) for name in _STRATA])[world.bands]
    taken = generator.random(len(chances)) < chances
    labels = np.zeros(int(taken.sum()), np.int64)
    champion, candidate = (each[taken].astype(np.int64) for each in (world.champion_wrong, world.candidate_wrong))
    return PairedPredictions(labels, champion, candidate, "feedback", plan.uniform / chances[taken])


def _rows(
    generator: np.random.Generator, n: int, lost: float, gained: float, origin: str = "golden", classes: int = 1
) -> PairedPredictions:
    """Rows of which one model alone gets these shares right; both get the others right."""
    labels, luck = generator.integers(0, classes, n), generator.random(n)
    other = (labels + 1) % max(2, classes)
    champion = np.where((luck >= lost) & (luck < lost + gained), other, labels)
    return PairedPredictions(labels, champion, np.where(luck < lost, other, labels), origin)


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
