"""Decides class by class whether predictions still name it as often as in the version's first days: a class that dies.

A model that no longer reads a class stops naming it, long before labels of it come. What is compared is the share of
predictions that name it, in the same hours of the week (`monitors.windows.reference_period`). Given how often both
samples name a class together, how often the newer one does is binomial (Przyborowski and Wilenski 1940), so the p-value
that its share is at least `below` times the one before is exact for independent predictions. Only classes are judged
that the reference names so often that their silence would be a proof; Holm's procedure shares the look's chance among
them.
"""

from collections.abc import Mapping

from monitors.decisions.drift import (
    SUSPECT_LEVEL,
    evaluation_level,
    usable_reference,
)
from monitors.decisions.finding import (
    Detectors,
    Finding,
    Findings,
    FindingState,
    make_finding,
)
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, metric_value_text, percent_text
from monitors.statistics.holm import holm_rejections
from monitors.statistics.intervals import binomial_tail
from monitors.windows.window import Baseline, ReferenceMix
from monitors.windows.window_counts import WindowCounts


def class_volume(rule: Rule, tally: WindowCounts, baseline: Baseline, _detectors: Detectors) -> Findings:
    """How often each class is named, as a share of how often it was; of classes that could be missed."""
    counts = {name: sum(steps.values()) for name, steps in tally.predictions_by_confidence.items()}
    total = sum(counts.values())
    reference = usable_reference(rule, tally, total, baseline)
    if isinstance(reference, Finding):
        return (reference,)
    if total < rule.min_samples:
        sentence = f"The rule decides from {count_text(rule.min_samples, 'answer')} on; there are {total:,}."
        needed = rule.min_samples - total
        return (make_finding(rule, tally, "insufficient", total, sentence, needed=needed),)
    names = _judged_classes(rule, total, reference)
    if not names:
        sentence = f"No class is named often enough in {reference.text} for its silence to be a proof."
        return (make_finding(rule, tally, "insufficient", total, sentence),)
    p_values = [_p_value(rule, counts.get(name, 0), total, reference.class_counts[name], reference) for name in names]
    proved = holm_rejections(p_values, evaluation_level(rule))
    likely = holm_rejections(p_values, SUSPECT_LEVEL)
    states: Mapping[str, FindingState] = {
        name: "breach" if is_proved else "suspect" if is_likely else "ok"
        for name, is_proved, is_likely in zip(names, proved, likely, strict=True)
    }
    return tuple(_one_class(rule, tally, name, counts.get(name, 0), total, reference, states[name]) for name in names)


def _judged_classes(rule: Rule, total: int, reference: ReferenceMix) -> list[str]:
    """The classes whose silence would be a breach; which they are, the window's own classes have no say in."""
    names = sorted(reference.class_counts, key=lambda name: (-reference.class_counts[name], name))
    level = evaluation_level(rule)
    while names:
        rarest = reference.class_counts[names[-1]]
        if _p_value(rule, 0, total, rarest, reference) <= level / len(names):
            break
        names.pop()
    return sorted(names)


def _p_value(rule: Rule, n: int, total: int, before: int, reference: ReferenceMix) -> float:
    """The chance of naming a class at most `n` times, if its share were the allowed part of what it was."""
    expected = rule.threshold * total
    share = expected / (expected + sum(reference.class_counts.values()))
    return 1 - binomial_tail(n + 1, n + before, share) if before else 1.0


def _one_class(
    rule: Rule, tally: WindowCounts, name: str, n: int, total: int, reference: ReferenceMix, state: FindingState
) -> Finding:
    before, first = reference.class_counts[name], sum(reference.class_counts.values())
    value = (n / total) / (before / first)
    sentence = (
        f"Class {name} is named by {n:,} of {count_text(total, 'answer')}, {percent_text(n / total)}, against "
        f"{percent_text(before / first)} of {first:,} in {reference.text}: {percent_text(value)} as often. "
        f"{_verdict(rule, state)}"
    )
    return make_finding(rule, tally, state, total, sentence, value, key=name)


def _verdict(rule: Rule, state: FindingState) -> str:
    asked = f"The rule asks for {metric_value_text(rule.metric, rule.threshold)}"
    if state == "ok":
        return f"{asked}, or what luck explains."
    budget = (
        f"at most {rule.false_alarms.text}"
        if rule.false_alarms
        else f"in at most {evaluation_level(rule):.2g} of all looks"
    )
    if state == "suspect":
        return f"{asked}; luck alone misses that rarely, but more often than {budget}."
    return f"{asked}; luck alone misses that {budget}, over all classes. Whether answers suffer, only labels can tell."
