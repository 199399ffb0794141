"""Whether a version's answers and pictures are still like its first ones; a warning, for drift need not do harm.

A rule is broken when two things are shown at once: the distance is over the threshold, and luck alone would hardly
ever make one. Each evaluation is one look with a chance of a false alarm of its own, what the rule's confidence leaves:
with a budget of false alarms that is the budget times the time between two looks, so over any time the expected number
of false looks is within the budget (the union bound), however the windows overlap.
"""

from collections import Counter
from typing import Final

from monitors.decisions.finding import Finding, State, found, nothing_answered, still_needed
from monitors.rules.alerts_config import Rule
from monitors.rules.formatting import amount, counted, listed, percent
from monitors.statistics.class_mix import same_mix, total_variation
from monitors.statistics.permutation_test import holm
from monitors.statistics.two_sample import Comparison, Measure
from monitors.windows.window import Baseline, First
from monitors.windows.window_counts import Tally

FIRST_ANSWERS: Final = 1_000
"""So many first answers are what a version is held against: production need not be like the golden set."""
LIKELY: Final = 0.01
"""What luck does more rarely than that is suspect, though no proof."""
SAMPLE: Final = 500
"""At most so many pictures of either side are compared."""
_NAMED: Final = 3


def level_of(rule: Rule) -> float:
    """The chance of a false alarm that one look may have."""
    return 1 - rule.confidence


def prediction_drift(rule: Rule, tally: Tally, baseline: Baseline) -> Finding:
    """The finding of a rule on the mix of answered classes."""
    mix = {name: sum(steps.values()) for name, steps in tally.given.items()}
    total = sum(mix.values())
    if baseline.first is None:
        sentence = (
            f"Version {tally.version} has not given its first {FIRST_ANSWERS:,} answers yet, the ones to compare with."
        )
        return found(rule, tally, "insufficient", total, sentence)
    if not total:
        return found(rule, tally, "no-data", 0, nothing_answered(tally))
    distance = total_variation(baseline.first.shares, mix)
    state: State = "insufficient" if total < rule.min_samples else "ok"
    if state == "ok" and distance > rule.threshold:
        p = same_mix(baseline.first.shares, mix, level_of(rule))
        state = _state(p <= level_of(rule), p <= LIKELY)
    sentence = (
        f"{percent(distance)} of {counted(total, 'answer')} would have to name another class to be like the first "
        f"{sum(baseline.first.shares.values()):,}: {_moved(baseline.first, mix)}. {_verdict(rule, state, total)}"
    )
    return found(rule, tally, state, total, sentence, distance, needed=still_needed(rule, total, state))


def input_drift(rule: Rule, tally: Tally) -> Finding:
    """The finding of a rule on the pictures."""
    seen = tally.inputs
    if seen is None or seen.version != tally.version:
        return found(rule, tally, "no-data", 0, f"No pictures of version {tally.version} have been compared yet.")
    if not seen.measures:
        sentence = (
            f"Version {tally.version} was shown {counted(seen.first, 'different picture')} at first and "
            f"{seen.newest:,} newly; the rule compares from {rule.min_samples:,} of each on."
        )
        return found(rule, tally, "insufficient", min(seen.first, seen.newest), sentence)
    value = max(each.apart for each in seen.measures)
    proved, likely = (_beyond(rule, seen, level) for level in (level_of(rule), LIKELY))
    state = _state(bool(proved), bool(likely))
    named = proved or likely or sorted(seen.measures, key=lambda each: -each.apart)[:1]
    sentence = (
        f"{counted(seen.newest, 'new picture')} against {seen.first:,} of the version's first: they differ most in "
        f"{listed([f'{each.text} ({percent(each.apart)} apart)' for each in named], _NAMED)}. "
        f"{_verdict(rule, state, seen.newest)}"
    )
    return found(rule, tally, state, seen.newest, sentence, value)


def _beyond(rule: Rule, seen: Comparison, level: float) -> list[Measure]:
    """The measures over the threshold that luck explains with at most that chance over all measures, largest first."""
    rejected = holm([each.p for each in seen.measures], level)
    over = [each for each, sure in zip(seen.measures, rejected, strict=True) if sure and each.apart > rule.threshold]
    return sorted(over, key=lambda each: -each.apart)


def _state(proved: bool, likely: bool) -> State:
    return "breach" if proved else "suspect" if likely else "ok"


def _moved(first: First, mix: dict[str, int]) -> str:
    """The classes whose share changed most."""
    before, now = first.shares, Counter(mix)
    total, count = sum(before.values()), now.total()
    gaps = {name: now[name] / count - before.get(name, 0) / total for name in {*before, *mix}}
    largest = sorted(gaps, key=lambda name: (-abs(gaps[name]), name))[:_NAMED]
    return ", ".join(
        f"{name} {percent(now[name] / count)} (then {percent(before.get(name, 0) / total)})" for name in largest
    )


def _verdict(rule: Rule, state: State, total: int) -> str:
    allowed = amount(rule.metric, rule.threshold)
    if state == "insufficient":
        noun = rule.kind.noun
        return f"The rule decides from {counted(rule.min_samples, noun)} on; {rule.min_samples - total} more needed."
    if state == "ok":
        return f"The rule allows {allowed}, and what luck explains."
    budget = (
        f"at most {rule.false_alarms.text}" if rule.false_alarms else f"in at most {level_of(rule):.2g} of all looks"
    )
    if state == "suspect":
        return f"The rule allows {allowed}; luck alone does that rarely, but more often than {budget}."
    return f"The rule allows {allowed}; luck alone does that {budget}. Whether answers suffer, only labels can tell."
