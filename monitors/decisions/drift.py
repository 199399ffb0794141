"""Decides whether a version's predictions and inputs are still like its first ones: a warning, no proof of harm.

A rule is broken when two things are shown at once: the distance is over the threshold, and luck alone would hardly
ever make one. Each evaluation is one look with a chance of a false alarm of its own, what the rule's confidence leaves:
with a budget of false alarms that is the budget times the time between two looks, so over any time the expected number
of false looks is within the budget (the union bound), however the windows overlap.
"""

from collections import Counter
from typing import Final

from monitors.decisions.finding import (
    Detectors,
    Findings,
    FindingState,
    make_finding,
    no_predictions_sentence,
    samples_missing,
)
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, join_names, metric_value_text, percent_text
from monitors.statistics.class_mix import class_mix_p_value, total_variation
from monitors.statistics.holm import holm_rejections
from monitors.statistics.two_sample import DistanceTest, InputComparison
from monitors.windows.window import Baseline, ReferenceMix
from monitors.windows.window_counts import WindowCounts

REFERENCE_PREDICTIONS: Final = 1_000
"""So many first answers are what a version is held against: production need not be like the golden set."""
SUSPECT_LEVEL: Final = 0.01
"""What luck does more rarely than that is suspect, though no proof."""
MAX_COMPARED_INPUTS: Final = 500
"""At most so many pictures of either side are compared."""
_MAX_NAMED: Final = 3


def evaluation_level(rule: Rule) -> float:
    """The chance of a false alarm that one look may have."""
    return 1 - rule.confidence


def prediction_drift(rule: Rule, tally: WindowCounts, baseline: Baseline, _detectors: Detectors) -> Findings:
    """The finding of a rule on the mix of answered classes."""
    mix = {name: sum(steps.values()) for name, steps in tally.predictions_by_confidence.items()}
    total = sum(mix.values())
    if baseline.reference_mix is None:
        sentence = (
            f"Version {tally.version} has not given its first {REFERENCE_PREDICTIONS:,} answers "
            "yet, the ones to compare with."
        )
        return (make_finding(rule, tally, "insufficient", total, sentence),)
    if not total:
        return (make_finding(rule, tally, "no-data", 0, no_predictions_sentence(tally)),)
    distance = total_variation(baseline.reference_mix.class_counts, mix)
    state: FindingState = "insufficient" if total < rule.min_samples else "ok"
    if state == "ok" and distance > rule.threshold:
        p = class_mix_p_value(baseline.reference_mix.class_counts, mix, evaluation_level(rule))
        state = _drift_state(p <= evaluation_level(rule), p <= SUSPECT_LEVEL)
    sentence = (
        f"{percent_text(distance)} of {count_text(total, 'answer')} would have to name another class to "
        "be like the first "
        f"{sum(baseline.reference_mix.class_counts.values()):,}: "
        f"{_largest_shifts(baseline.reference_mix, mix)}. {_drift_verdict(rule, state, total)}"
    )
    return (make_finding(rule, tally, state, total, sentence, distance, needed=samples_missing(rule, total, state)),)


def input_drift(rule: Rule, tally: WindowCounts, _baseline: Baseline, _detectors: Detectors) -> Findings:
    """The finding of a rule on the pictures."""
    comparison = tally.input_comparison
    if comparison is None or comparison.version != tally.version:
        return (
            make_finding(rule, tally, "no-data", 0, f"No pictures of version {tally.version} have been compared yet."),
        )
    first, newest = comparison.reference_count, comparison.current_count
    if not comparison.tests:
        sentence = (
            f"Version {tally.version} was shown {count_text(first, 'different picture')} at first and "
            f"{newest:,} newly; the rule compares from {rule.min_samples:,} of each on."
        )
        return (make_finding(rule, tally, "insufficient", min(first, newest), sentence),)
    value = max(test.distance for test in comparison.tests)
    proved = _significant_tests(rule, comparison, evaluation_level(rule))
    likely = _significant_tests(rule, comparison, SUSPECT_LEVEL)
    state = _drift_state(bool(proved), bool(likely))
    named = proved or likely or sorted(comparison.tests, key=lambda test: -test.distance)[:1]
    sentence = (
        f"{count_text(newest, 'new picture')} against {first:,} of the "
        "version's first: they differ most in "
        f"{join_names([f'{test.text} ({percent_text(test.distance)} apart)' for test in named], _MAX_NAMED)}. "
        f"{_drift_verdict(rule, state, newest)}"
    )
    return (make_finding(rule, tally, state, newest, sentence, value),)


def _significant_tests(rule: Rule, comparison: InputComparison, level: float) -> list[DistanceTest]:
    """The measures over the threshold that luck explains with at most that chance over all measures, largest first."""
    rejected = holm_rejections([test.p_value for test in comparison.tests], level)
    over = [
        test
        for test, is_rejected in zip(comparison.tests, rejected, strict=True)
        if is_rejected and test.distance > rule.threshold
    ]
    return sorted(over, key=lambda test: -test.distance)


def _drift_state(proved: bool, likely: bool) -> FindingState:
    return "breach" if proved else "suspect" if likely else "ok"


def _largest_shifts(first: ReferenceMix, mix: dict[str, int]) -> str:
    """The classes whose share changed most."""
    before, now = first.class_counts, Counter(mix)
    total, count = sum(before.values()), now.total()
    gaps = {name: now[name] / count - before.get(name, 0) / total for name in {*before, *mix}}
    largest = sorted(gaps, key=lambda name: (-abs(gaps[name]), name))[:_MAX_NAMED]
    return ", ".join(
        f"{name} {percent_text(now[name] / count)} (then {percent_text(before.get(name, 0) / total)})"
        for name in largest
    )


def _drift_verdict(rule: Rule, state: FindingState, total: int) -> str:
    allowed = metric_value_text(rule.metric, rule.threshold)
    if state == "insufficient":
        noun = rule.metric_spec.noun
        return f"The rule decides from {count_text(rule.min_samples, noun)} on; {rule.min_samples - total} more needed."
    if state == "ok":
        return f"The rule allows {allowed}, and what luck explains."
    budget = (
        f"at most {rule.false_alarms.text}"
        if rule.false_alarms
        else f"in at most {evaluation_level(rule):.2g} of all looks"
    )
    if state == "suspect":
        return f"The rule allows {allowed}; luck alone does that rarely, but more often than {budget}."
    return f"The rule allows {allowed}; luck alone does that {budget}. Whether answers suffer, only labels can tell."
