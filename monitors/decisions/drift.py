"""Decides whether a version's predictions and inputs are still like those of its first days: a warning, no proof.

What is compared are the same hours of the week (`monitors.windows.reference_period`). A rule is broken when two things
are shown at once: the distance is over the threshold, and luck alone would hardly ever make one. Each evaluation is one
look with a chance of a false alarm of its own, what the rule's confidence leaves: with a budget of false alarms that is
the budget times the time between two looks, so over any time the expected number of false looks is within the budget
(the union bound), however the windows overlap.
"""

from collections import Counter
from typing import Final

from monitors.decisions.finding import (
    Detectors,
    Finding,
    Findings,
    FindingState,
    make_finding,
    no_predictions_sentence,
    samples_missing,
)
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, duration_text, join_names, metric_value_text, percent_text
from monitors.statistics.class_mix import class_mix_p_value, compare_mixes
from monitors.statistics.holm import holm_rejections
from monitors.statistics.two_sample import MIN_CLUSTERS, DistanceTest, InputComparison
from monitors.windows.window import Baseline, ReferenceMix
from monitors.windows.window_counts import WindowCounts

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
    reference = usable_reference(rule, tally, total, baseline)
    if isinstance(reference, Finding):
        return (reference,)
    first = sum(reference.class_counts.values())
    comparison = compare_mixes(reference.class_counts, mix)
    distance = comparison.distance
    state: FindingState = "insufficient" if total < rule.min_samples else "ok"
    if state == "ok" and distance > rule.threshold:
        p = class_mix_p_value(reference.class_counts, mix, evaluation_level(rule))
        state = drift_state(p <= evaluation_level(rule), p <= SUSPECT_LEVEL)
    sentence = (
        f"{percent_text(distance)} of {count_text(total, 'answer')} would have to name another class to "
        f"be like the {first:,} in {reference.text}, beyond the {percent_text(comparison.luck)} that luck makes: "
        f"{_largest_shifts(reference, mix)}. {drift_verdict(rule, state, total)}"
    )
    return (make_finding(rule, tally, state, total, sentence, distance, needed=samples_missing(rule, total, state)),)


def usable_reference(rule: Rule, tally: WindowCounts, total: int, baseline: Baseline) -> ReferenceMix | Finding:
    """What the window's `total` predictions are compared with, or the finding that they cannot be."""
    reference = baseline.reference_mix
    if reference is None:
        return make_finding(rule, tally, "insufficient", total, _no_reference_sentence(rule, tally))
    if not total:
        return make_finding(rule, tally, "no-data", 0, no_predictions_sentence(tally))
    if sum(reference.class_counts.values()) < rule.min_samples:
        return make_finding(rule, tally, "insufficient", total, _few_in_reference_sentence(rule, reference))
    return reference


def _no_reference_sentence(rule: Rule, tally: WindowCounts) -> str:
    """The sentence while a version has not served for as long as its reference is."""
    return (
        f"Version {tally.version} has not served for {duration_text(rule.reference)} yet, its reference; the rule "
        "compares what comes later with it."
    )


def _few_in_reference_sentence(rule: Rule, reference: ReferenceMix) -> str:
    """The sentence where the reference says too little of the hours that are to be compared."""
    first = sum(reference.class_counts.values())
    return (
        f"There {'was' if first == 1 else 'were'} {count_text(first, 'answer')} in {reference.text}; the rule compares "
        f"from {rule.min_samples:,} on. A longer `window` or `reference`, or a smaller `min_samples`, makes it decide."
    )


def input_drift(rule: Rule, tally: WindowCounts, _baseline: Baseline, _detectors: Detectors) -> Findings:
    """The finding of a rule on the pictures."""
    comparison = tally.input_comparison
    if comparison is None or comparison.version != tally.version:
        return (
            make_finding(rule, tally, "no-data", 0, f"No pictures of version {tally.version} have been compared yet."),
        )
    first, newest = comparison.reference_count, comparison.current_count
    if not comparison.is_reference_complete:
        return (make_finding(rule, tally, "insufficient", first, _no_reference_sentence(rule, tally)),)
    if not comparison.tests and comparison.clusters is not None:
        return (make_finding(rule, tally, "insufficient", min(first, newest), _few_clusters_sentence(comparison)),)
    if not comparison.tests:
        sentence = (
            f"Version {tally.version} was shown {count_text(first, 'different picture')} in its reference and "
            f"{newest:,} newly; the rule compares from {rule.min_samples:,} of each on."
        )
        return (make_finding(rule, tally, "insufficient", min(first, newest), sentence),)
    value = max(test.distance for test in comparison.tests)
    proved = _significant_tests(rule, comparison, evaluation_level(rule))
    likely = _significant_tests(rule, comparison, SUSPECT_LEVEL)
    state = drift_state(bool(proved), bool(likely))
    named = proved or likely or sorted(comparison.tests, key=lambda test: -test.distance)[:1]
    sentence = (
        f"{count_text(newest, 'new picture')} against {first:,} of the "
        f"version's first{_cluster_text(comparison)}: they differ most in "
        f"{join_names([f'{test.text} ({percent_text(test.distance)} apart)' for test in named], _MAX_NAMED)}. "
        f"{drift_verdict(rule, state, newest)}"
    )
    return (make_finding(rule, tally, state, newest, sentence, value),)


def _cluster_text(comparison: InputComparison) -> str:
    """From how many clients, requests or tag values the pictures came."""
    if comparison.clusters is None:
        return ""
    first, newest = comparison.clusters
    return f" (of {count_text(newest, comparison.cluster_noun)} against {first:,}, each of which counts as a whole)"


def _few_clusters_sentence(comparison: InputComparison) -> str:
    first, newest = comparison.clusters or (0, 0)
    return (
        f"The pictures came from {count_text(newest, comparison.cluster_noun)}, and from {first:,} in the reference; "
        f"the rule compares from {MIN_CLUSTERS} of each on, since pictures that came together say little by themselves."
    )


def _significant_tests(rule: Rule, comparison: InputComparison, level: float) -> list[DistanceTest]:
    """The measures over the threshold that luck explains with at most that chance over all measures, largest first."""
    rejected = holm_rejections([test.p_value for test in comparison.tests], level)
    over = [
        test
        for test, is_rejected in zip(comparison.tests, rejected, strict=True)
        if is_rejected and test.distance > rule.threshold
    ]
    return sorted(over, key=lambda test: -test.distance)


def drift_state(proved: bool, likely: bool) -> FindingState:
    """The state of a distance over the threshold that is proved, or likely, not to be luck's."""
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


def drift_verdict(rule: Rule, state: FindingState, total: int) -> str:
    """The last sentence: what the rule allows, and how rarely luck makes more."""
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
