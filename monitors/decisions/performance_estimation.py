"""What a model's own confidence says of its accuracy before any label comes; it sees no label and no row.

The confidence-based performance estimate: each answer is wrong with the chance that its calibrated confidence leaves
(`registry.confidence_bins`), and the mean of these chances is the share of errors to expect. It is right while two
things hold: the calibration does (a model that is sure and wrong hides its errors), and pictures still mean what they
meant (no concept shift). Nothing here can check either, so it only warns.

The detector reads one observation for each block of closed minutes that holds BLOCK answers or more: the mean chance
to be wrong. Answers of one minute often come from one sheet or one person; a block counts once, however many they are.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from monitors.decisions.finding import Finding, State, found, nothing_answered, still_needed, verdict, watched_state
from monitors.errors import WindowError
from monitors.rules.alerts_config import Rule
from monitors.rules.formatting import compared, counted, percent
from monitors.statistics.e_detector import FORM, STAKES, Detector, Observation, begin, observe
from monitors.statistics.weighted_share import difference, mean_of
from monitors.windows.window import Baseline, Doubts
from monitors.windows.window_counts import Bins, Tally

BLOCK: Final = 20
_LARGEST_NULL: Final = 0.999


@dataclass(frozen=True)
class Minute:
    """The answers of one minute that is over, by step of confidence; `at` is its end."""

    number: int
    at: datetime
    steps: Bins


def expected_errors(doubts: Doubts, steps: Bins) -> float:
    """The mean chance to be wrong of answers on these steps."""
    return sum(doubts.errors[step] * n for step, n in steps.items()) / sum(steps.values())


def null_of(rule: Rule, doubts: Doubts) -> float:
    """The share of errors to expect that counts as healthy: the golden set's upper limit plus the threshold."""
    return min(_LARGEST_NULL, mean_of(_chances(doubts, doubts.golden), rule.confidence).high + rule.threshold)


def definition(rule: Rule, doubts: Doubts) -> str:
    """A digest of all that the detector's memory rests on; when it changes the detector begins anew."""
    budget = None if rule.false_alarms is None else rule.false_alarms.text
    parts = [rule.metric, null_of(rule, doubts), sorted(doubts.errors.items()), budget, BLOCK, STAKES, FORM]
    return sha256(json.dumps(parts).encode()).hexdigest()


def advance(
    rule: Rule, doubts: Doubts, held: Detector | None, minutes: Sequence[Minute], begun: datetime
) -> tuple[Detector, int | None]:
    """The rule's detector after these minutes, and the number of the last minute it has read; None where it read none.

    Minutes at the end that make no whole block are left for the next time.
    """
    if rule.false_alarms is None:
        raise WindowError(f"rule {rule.name} has no false_alarms, so it has no detector")
    read, block, last = [], Counter[int](), None
    for minute in minutes:
        block.update(minute.steps)
        if block.total() >= BLOCK:
            read.append(Observation(minute.at, expected_errors(doubts, block)))
            block, last = Counter(), minute.number
    before = held or begin(null_of(rule, doubts), begun)
    least = max(1, rule.min_samples // BLOCK)
    return observe(before, read, rule.false_alarms.per_second, least), last


def expected_drop(rule: Rule, tally: Tally, baseline: Baseline, detector: Detector | None) -> Finding:
    """The finding of a rule on the accuracy to expect."""
    doubts, steps = baseline.doubts, _steps(tally)
    if doubts is None:
        sentence = f"Version {tally.version} was registered without a calibration; the next version will have one."
        return found(rule, tally, "insufficient", tally.answers, sentence)
    if not steps:
        alarmed = detector is not None and detector.alarmed_at is not None
        proof = f" {verdict(rule, 'breach', None, None)}" if alarmed else ""
        silent: State = "breach" if alarmed else "no-data"
        return found(rule, tally, silent, 0, f"{nothing_answered(tally)}{proof}", detector=detector)
    golden = mean_of(_chances(doubts, doubts.golden), rule.confidence)
    now = mean_of(_chances(doubts, steps), rule.confidence)
    drop, (low, high) = now.value - golden.value, difference(now, golden)
    state = watched_state(rule, now.n, drop, low, detector)
    needed = still_needed(rule, now.n, state)
    sentence = (
        f"By its own calibrated confidence the model is right in {percent(1 - now.value)} of "
        f"{counted(now.n, 'answer')}, against {percent(1 - golden.value)} on the golden set: {compared(drop)}. "
        f"{verdict(rule, state, low, needed)} No label has confirmed it yet."
    )
    numbers = (drop, low, high, 1 - golden.value, needed)
    return found(rule, tally, state, now.n, sentence, *numbers, detector=detector)


def _steps(tally: Tally) -> Bins:
    every = Counter[int]()
    for steps in tally.given.values():
        every.update(steps)
    return every


def _chances(doubts: Doubts, steps: Bins) -> Mapping[float, int]:
    chances = Counter[float]()
    for step, n in steps.items():
        chances[doubts.errors[step]] += n
    return chances
