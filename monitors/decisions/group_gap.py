"""Decides whether the predictions of a group, named by a tag, are wrong more often than the others.

Labels of one block, such as a request, are one observation: the weighted mean of how wrong they are, which weighs as
much as they do together.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from monitors.decisions.detectors.outcome_blocks import block_key
from monitors.decisions.finding import (
    NO_DATA,
    Detectors,
    Finding,
    Findings,
    make_finding,
    no_labels_sentence,
    samples_missing,
    state_by_window,
    verdict_sentence,
    weighting_note,
)
from monitors.rules.alerts_config import Rule
from monitors.rules.block_unit import BlockUnit
from monitors.rules.quantities import count_text, percent_text
from monitors.statistics.holm import holm_levels
from monitors.statistics.intervals import (
    Estimate,
    difference_limits,
    weighted_bounded_mean,
    weighted_error_share,
)
from monitors.windows.window import Baseline
from monitors.windows.window_counts import LabelCount, Outcome, WindowCounts, counts_by_weight

MAX_GROUPS: Final = 50
"""The groups with most labels are decided one by one; a tag such as `client` may have any number of values."""
LabelsByGroup = Mapping[str, Sequence[LabelCount]]
GroupPair = tuple[tuple[LabelCount, ...], tuple[LabelCount, ...]]


def count_by_group(rows: Iterable[Outcome], tag: str, unit: BlockUnit) -> dict[str, tuple[LabelCount, ...]]:
    """The labels by their value of a tag, "" for none, and by block where one holds several, of whichever groups."""
    keyed = [(row, block_key(unit, row.at, row.prediction_id, row.request_id, row.tags)) for row in rows]
    sizes = Counter[Hashable](key for _, key in keyed)
    names = {key: f"{place}" for place, key in enumerate(sizes, 1) if sizes[key] > 1}
    counts: dict[str, Counter[LabelCount]] = defaultdict(Counter)
    for row, key in keyed:
        cell = LabelCount(row.source, row.counted_truth, row.counted_label, row.weight, 0, names.get(key, ""))
        counts[row.tags.get(tag, "")][cell] += 1
    return {group: tuple(replace(cell, n=n) for cell, n in cells.items()) for group, cells in sorted(counts.items())}


def group_gap(rule: Rule, tally: WindowCounts, _baseline: Baseline, _detectors: Detectors) -> Findings:
    """For each group the others' accuracy minus its own; labels without the tag belong to no group.

    Each limit is Newcombe's (1998) of exact limits, or of Gaffke's where labels are taken together in blocks. The
    groups with enough labels, and enough others, share what the rule allows by Holm (1979): how many take part depends
    on the numbers of labels alone.
    """
    groups = {_group_key(name): cells for name, cells in tally.groups.items() if name and _label_count(cells)}
    if not groups:
        return (make_finding(rule, tally, "no-data", 0, _no_labels_text(rule, tally), needed=rule.min_samples),)
    decided = sorted(groups, key=lambda name: (-_label_count(groups[name]), name))[:MAX_GROUPS]
    pairs = {name: _split_group(groups, name) for name in sorted(decided)}
    ready = [
        name
        for name, (own, others) in pairs.items()
        if min(_label_count(own), _label_count(others)) >= rule.min_samples
    ]
    confidences = _holm_confidences(rule, {name: pairs[name] for name in ready})
    return tuple(_one_group(rule, tally, name, pair, confidences.get(name)) for name, pair in pairs.items())


def _holm_confidences(rule: Rule, pairs: Mapping[str, GroupPair]) -> dict[str, float]:
    """The confidence each group must reach: Holm's steps, taken until no further group is over the threshold."""

    def reject(left: Sequence[str], level: float) -> list[str]:
        return [name for name in left if _gap(pairs[name], 1 - level)[1] > rule.threshold]

    return {name: 1 - level for name, level in holm_levels(pairs, 1 - rule.confidence, reject).items()}


def _gap(pair: GroupPair, confidence: float) -> tuple[float, float, float]:
    """The others' accuracy minus the group's, and its limits."""
    own, others = (_error_share(cells, confidence) for cells in pair)
    return own.value - others.value, *difference_limits(own, others)


def _error_share(cells: Sequence[LabelCount], confidence: float) -> Estimate:
    """The share of wrong answers with its limits, by label or by block."""
    if not any(cell.block for cell in cells):
        return weighted_error_share(counts_by_weight(cells), confidence)
    observations = Counter[tuple[float, float]]()
    weights, wrong = defaultdict[str, float](float), defaultdict[str, float](float)
    for cell in cells:
        if cell.block:
            weights[cell.block] += cell.weight * cell.n
            wrong[cell.block] += 0.0 if cell.correct else cell.weight * cell.n
        else:
            observations[cell.weight, float(not cell.correct)] += cell.n
    observations.update((weights[block], wrong[block] / weights[block]) for block in weights)
    return weighted_bounded_mean([(weight, value, n) for (weight, value), n in observations.items()], confidence)


def _one_group(rule: Rule, tally: WindowCounts, name: str, pair: GroupPair, confidence: float | None) -> Finding:
    own, others = pair
    n, rest = _label_count(own), _label_count(others)
    share = _error_share(own, rule.confidence).value
    if not rest:
        sentence = (
            f"{rule.by} {name} has all {count_text(n, 'label')}{rule.slice_text} in the window; "
            "there is nothing to compare."
        )
        return make_finding(rule, tally, "insufficient", n, sentence, key=name)
    gap, low, high = _gap(pair, confidence or rule.confidence)
    state = state_by_window(rule, min(n, rest), gap, low)
    needed = samples_missing(rule, min(n, rest), state)
    notes = [weighting_note(counts_by_weight(cells)) for cells in pair]
    comparison = (
        "no difference" if not round(gap, 3) else f"{100 * abs(gap):.1f} points {'lower' if gap > 0 else 'higher'}"
    )
    right, theirs = percent_text(1 - share) + " right", percent_text(1 - share + gap)
    sentence = (
        f"{rule.by} {name}: {right} on "
        f"{count_text(n, 'labelled answer')}{rule.slice_text}{notes[0]}, against {theirs} on "
        f"{count_text(rest, 'other')}{notes[1]}: {comparison}. "
        f"{verdict_sentence(rule, state, low, needed)}{_block_note(rule, own, others)}"
    )
    return make_finding(rule, tally, state, n, sentence, gap, low, high, 1 - share + gap, needed, key=name)


def _split_group(groups: LabelsByGroup, name: str) -> GroupPair:
    others = (cell for other, cells in groups.items() if other != name for cell in cells)
    return tuple(groups[name]), tuple(others)


def _block_note(rule: Rule, own: Sequence[LabelCount], others: Sequence[LabelCount]) -> str:
    """That labels were taken together, and how many observations that leaves."""
    if not any(cell.block for cell in (*own, *others)):
        return ""
    return (
        f" It decides by {rule.block.noun}: what goes wrong together is one observation "
        f"({_observation_count(own):,} of this group, {_observation_count(others):,} of others)."
    )


def _observation_count(cells: Sequence[LabelCount]) -> int:
    return len({cell.block for cell in cells if cell.block}) + sum(cell.n for cell in cells if not cell.block)


def _group_key(name: str) -> str:
    """The group's name; the one that means that there is no data is quoted."""
    return f'"{name}"' if name == NO_DATA else name


def _label_count(cells: Sequence[LabelCount]) -> int:
    return sum(cell.n for cell in cells)


def _no_labels_text(rule: Rule, tally: WindowCounts) -> str:
    sentence = no_labels_sentence(rule, tally)
    return f"{sentence} Only labels of answers sent with the tag {rule.by} count." if tally.predictions else sentence
