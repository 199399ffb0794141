"""Estimates accuracy from the model's own calibrated confidence, before any label comes, and decides about a drop.

The confidence-based performance estimate: each answer is wrong with the chance that its calibrated confidence leaves
(`registry.confidence_bins`), and the mean of these chances is the share of errors to expect. It is right while two
things hold: the calibration does (a model that is sure and wrong hides its errors), and pictures still mean what they
meant (no concept shift). Nothing here can check either, so it only warns.

The detector reads one observation for each block of closed minutes that holds BLOCK_SIZE predictions or more: the mean
chance to be wrong. Predictions of one minute often come from one sheet or one person; a block counts once, however many
they are.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from monitors.decisions.detectors.rule_detectors import WHOLE_STREAM
from monitors.decisions.finding import (
    Detectors,
    Findings,
    FindingState,
    make_finding,
    no_predictions_sentence,
    samples_missing,
    state_with_detector,
    verdict_sentence,
)
from monitors.errors import WindowError
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, percent_text, share_change_text
from monitors.statistics.e_detector import (
    BETTING_SCHEME,
    STAKES,
    CompositeNull,
    Detector,
    Observation,
    simple_null,
    start_detector,
    update_detector,
)
from monitors.statistics.golden_evidence import golden_mean_null
from monitors.statistics.intervals import bounded_mean, difference_limits
from monitors.windows.latency_bins import BinCounts
from monitors.windows.window import Baseline, ErrorByConfidence
from monitors.windows.window_counts import WindowCounts

BLOCK_SIZE: Final = 20
_MIN_NULL: Final = 1e-4


@dataclass(frozen=True)
class MinuteCounts:
    """The answers of one minute that is over, by step of confidence; `at` is its end."""

    number: int
    at: datetime
    confidence_counts: BinCounts


def expected_error_share(errors: ErrorByConfidence, steps: BinCounts) -> float:
    """The mean chance to be wrong of answers on these steps."""
    return sum(errors.error_by_bin[step] * n for step, n in steps.items()) / sum(steps.values())


def null_hypothesis(rule: Rule, errors: ErrorByConfidence, golden_versions: int) -> CompositeNull:
    """Up to which share of errors to expect the model counts as healthy: the golden set's plus the threshold.

    What the golden set leaves open is a part of the hypothesis, as it is for rules about labels.
    """
    largest = max(errors.error_by_bin.values())
    if largest <= 0:
        return simple_null(max(_MIN_NULL, rule.threshold))
    return golden_mean_null(_error_chances(errors, errors.golden_counts), largest, rule.threshold, golden_versions)


def detector_digest(rule: Rule, errors: ErrorByConfidence, golden_versions: int) -> str:
    """A digest of all that the detector's memory rests on; when it changes the detector begins anew."""
    budget = None if rule.false_alarms is None else rule.false_alarms.text
    parts = [
        rule.metric,
        null_hypothesis(rule, errors, golden_versions).to_json(),
        sorted(errors.error_by_bin.items()),
        budget,
        BLOCK_SIZE,
        STAKES,
        BETTING_SCHEME,
    ]
    return sha256(json.dumps(parts).encode()).hexdigest()


def update_performance_detector(
    rule: Rule,
    errors: ErrorByConfidence,
    detector: Detector | None,
    minutes: Sequence[MinuteCounts],
    started_at: datetime,
    golden_versions: int = 1,
) -> tuple[Detector, int | None]:
    """The rule's detector after these minutes, and the number of the last minute it has read; None where it read none.

    `golden_versions`: among how many that were compared on these golden rows this version was chosen.
    Minutes at the end that make no whole block are left for the next time.
    """
    if rule.false_alarms is None:
        raise WindowError(f"rule {rule.name} has no false_alarms, so it has no detector")
    read, block, last = [], Counter[int](), None
    for minute in minutes:
        block.update(minute.confidence_counts)
        if block.total() >= BLOCK_SIZE:
            read.append(Observation(minute.at, expected_error_share(errors, block)))
            block, last = Counter(), minute.number
    before = detector or start_detector(null_hypothesis(rule, errors, golden_versions), started_at)
    least = max(1, rule.min_samples // BLOCK_SIZE)
    return update_detector(before, read, rule.false_alarms.per_second, least), last


def expected_drop(rule: Rule, tally: WindowCounts, baseline: Baseline, detectors: Detectors) -> Findings:
    """How far the accuracy to expect lies below the golden set's."""
    errors, steps, detector = (
        baseline.error_by_confidence,
        _confidence_counts(tally),
        detectors.get(WHOLE_STREAM),
    )
    if errors is None:
        sentence = f"Version {tally.version} was registered without a calibration; the next version will have one."
        return (make_finding(rule, tally, "insufficient", tally.predictions, sentence),)
    if not steps:
        alarmed = detector is not None and detector.alarmed_at is not None
        proof = f" {verdict_sentence(rule, 'breach', None, None)}" if alarmed else ""
        silent: FindingState = "breach" if alarmed else "no-data"
        return (make_finding(rule, tally, silent, 0, f"{no_predictions_sentence(tally)}{proof}", detector=detector),)
    golden = bounded_mean(_error_chances(errors, errors.golden_counts), rule.confidence)
    now = bounded_mean(_error_chances(errors, steps), rule.confidence)
    drop, (low, high) = now.value - golden.value, difference_limits(now, golden)
    state = state_with_detector(rule, now.n, drop, low, detector)
    needed = samples_missing(rule, now.n, state)
    sentence = (
        f"By its own calibrated confidence the model is right in {percent_text(1 - now.value)} of "
        f"{count_text(now.n, 'answer')}, against {percent_text(1 - golden.value)} on the golden set: "
        f"{share_change_text(drop)}. "
        f"{verdict_sentence(rule, state, low, needed)} No label has confirmed it yet."
    )
    numbers = (drop, low, high, 1 - golden.value, needed)
    return (make_finding(rule, tally, state, now.n, sentence, *numbers, detector=detector),)


def _confidence_counts(tally: WindowCounts) -> BinCounts:
    every = Counter[int]()
    for steps in tally.predictions_by_confidence.values():
        every.update(steps)
    return every


def _error_chances(errors: ErrorByConfidence, steps: BinCounts) -> Mapping[float, int]:
    chances = Counter[float]()
    for step, n in steps.items():
        chances[errors.error_by_bin[step]] += n
    return chances
