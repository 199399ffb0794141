"""The decision whether a group of answers, named by a tag, is read worse than the others; it remembers nothing."""

from collections.abc import Mapping, Sequence
from typing import Final

from monitors.decisions.finding import NO_DATA, Finding, found, nothing_labelled, state_of, still_needed, verdict
from monitors.decisions.weighting_note import weighted
from monitors.rules.alerts_config import Rule
from monitors.rules.formatting import counted, percent
from monitors.statistics.weighted_share import Counted, difference, error_share
from monitors.windows.window import Baseline
from monitors.windows.window_counts import LabelCount, Tally, weighed

MOST_GROUPS: Final = 50
"""The groups with most labels are judged one by one; a tag such as `client` may have any number of values."""
Groups = Mapping[str, Sequence[LabelCount]]
Pair = tuple[list[Counted], list[Counted]]


def group_gap(rule: Rule, tally: Tally, _baseline: Baseline) -> tuple[Finding, ...]:
    """For each group the others' accuracy minus its own; labels without the tag belong to no group.

    Each limit is Newcombe's (1998) of exact limits. The groups with enough labels, and enough others, share what the
    rule allows by Holm (1979): how many take part depends on the numbers of labels alone.
    """
    groups = {_key(name): cells for name, cells in tally.groups.items() if name and _labels(cells)}
    if not groups:
        return (found(rule, tally, "no-data", 0, _nothing(rule, tally), needed=rule.min_samples),)
    judged = sorted(groups, key=lambda name: (-_labels(groups[name]), name))[:MOST_GROUPS]
    pairs = {name: _against_others(groups, name) for name in sorted(judged)}
    ready = [name for name, (own, others) in pairs.items() if min(_total(own), _total(others)) >= rule.min_samples]
    confidences = _family_wise(rule, {name: pairs[name] for name in ready})
    return tuple(_one_group(rule, tally, name, pair, confidences.get(name)) for name, pair in pairs.items())


def _family_wise(rule: Rule, pairs: Mapping[str, Pair]) -> dict[str, float]:
    """The confidence each group must reach: Holm's steps, taken until no further group is over the threshold."""
    alpha, confidences, left = 1 - rule.confidence, dict[str, float](), dict(pairs)
    while left:
        confidence = 1 - alpha / len(left)
        confidences |= dict.fromkeys(left, confidence)
        over = [name for name, pair in left.items() if _gap(pair, confidence)[1] > rule.threshold]
        if not over:
            break
        left = {name: pair for name, pair in left.items() if name not in over}
    return confidences


def _gap(pair: Pair, confidence: float) -> tuple[float, float, float]:
    """The others' accuracy minus the group's, and its limits."""
    own, others = (error_share(each, confidence) for each in pair)
    return own.value - others.value, *difference(own, others)


def _one_group(rule: Rule, tally: Tally, name: str, pair: Pair, confidence: float | None) -> Finding:
    own, others = pair
    n, rest = _total(own), _total(others)
    share = error_share(own, rule.confidence).value
    if not rest:
        sentence = (
            f"{rule.by} {name} has all {counted(n, 'label')}{rule.where} in the window; there is nothing to compare."
        )
        return found(rule, tally, "insufficient", n, sentence, key=name)
    gap, low, high = _gap(pair, confidence or rule.confidence)
    state = state_of(rule, min(n, rest), gap, low)
    needed = still_needed(rule, min(n, rest), state)
    comparison = (
        "no difference" if not round(gap, 3) else f"{100 * abs(gap):.1f} points {'lower' if gap > 0 else 'higher'}"
    )
    right, theirs = percent(1 - share) + " right", percent(1 - share + gap)
    sentence = (
        f"{rule.by} {name}: {right} on {counted(n, 'labelled answer')}{rule.where}{weighted(own)}, against {theirs} on "
        f"{counted(rest, 'other')}{weighted(others)}: {comparison}. {verdict(rule, state, low, needed)}"
    )
    return found(rule, tally, state, n, sentence, gap, low, high, 1 - share + gap, needed, key=name)


def _against_others(groups: Groups, name: str) -> Pair:
    return weighed(groups[name]), weighed(cell for other, cells in groups.items() if other != name for cell in cells)


def _key(name: str) -> str:
    """The group's name; the one that means that there is no data is quoted."""
    return f'"{name}"' if name == NO_DATA else name


def _labels(cells: Sequence[LabelCount]) -> int:
    return sum(cell.n for cell in cells)


def _total(cells: Sequence[Counted]) -> int:
    return sum(cell.n for cell in cells)


def _nothing(rule: Rule, tally: Tally) -> str:
    sentence = nothing_labelled(rule, tally)
    return f"{sentence} Only labels of answers sent with the tag {rule.by} count." if tally.answers else sentence
