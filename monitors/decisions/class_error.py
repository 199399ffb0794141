"""Decides class by class whether too many predictions on inputs of it are wrong."""

from collections.abc import Mapping, Sequence

from monitors.decisions.finding import (
    Detectors,
    Finding,
    Findings,
    block_text,
    labels_text,
    labels_until_alarm,
    make_finding,
    no_labels_finding,
    samples_missing,
    shown_source,
    since_change_text,
    state_with_detector,
    verdict_sentence,
    waiting_text,
)
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text, percent_text
from monitors.statistics.e_detector import has_alarmed
from monitors.statistics.holm import holm_levels
from monitors.statistics.intervals import WeightedCount, binomial_tail, weighted_error_share
from monitors.windows.window import Baseline
from monitors.windows.window_counts import LabelCount, WindowCounts, counts_by_weight


def class_error(rule: Rule, tally: WindowCounts, _baseline: Baseline, detectors: Detectors) -> Findings:
    """The error rate of each class that has labels, or whose detector has alarmed."""
    every = {name: _cells_of_class(rule, tally, name) for name in tally.classes}
    sources = {name: shown_source(rule, cells, detectors.get(name)) for name, cells in every.items()}
    samples = {
        name: counts_by_weight([cell for cell in cells if cell.source == sources[name]])
        for name, cells in every.items()
    }
    labelled = {name: sample for name, sample in samples.items() if sample}
    alarmed = [name for name in tally.classes if name not in labelled and has_alarmed(detectors.get(name))]
    if not labelled and not alarmed:
        return (no_labels_finding(rule, tally, None),)
    confidences = {} if rule.uses_detector else _holm_confidences(rule, labelled)
    return (
        *(
            _one_class(
                rule,
                tally,
                name,
                labelled[name],
                confidences.get(name),
                detectors,
                labels_text(tally, every[name], source),
            )
            for name in labelled
            if (source := sources[name]) is not None
        ),
        *(no_labels_finding(rule, tally, detectors[name], name) for name in alarmed),
    )


def _cells_of_class(rule: Rule, tally: WindowCounts, name: str) -> list[LabelCount]:
    return [cell for cell in tally.labels_from(rule.sources, name) if cell.truth == name]


def _holm_confidences(rule: Rule, samples: Mapping[str, Sequence[WeightedCount]]) -> dict[str, float]:
    """The confidence each class must reach, so that any false alarm among them stays within the rule's own.

    Holm (1979): the classes with enough labels, most suspicious first, are tested at alpha/m, alpha/(m-1)
    and so on until the first that does not reject; how many take part depends on label counts alone. Labels of
    several weights have no exact p-value: then each class is tested at alpha/m (Bonferroni).
    """
    ready = {name: cells for name, cells in samples.items() if sum(cell.n for cell in cells) >= rule.min_samples}
    alpha = 1 - rule.confidence
    if any(len(cells) > 1 for cells in ready.values()):
        return dict.fromkeys(ready, 1 - alpha / len(ready))
    p_values = {name: binomial_tail(cells[0].wrong, cells[0].n, rule.threshold) for name, cells in ready.items()}

    def reject_smallest(left: Sequence[str], level: float) -> tuple[str, ...]:
        smallest = min(left, key=lambda name: p_values[name])
        return (smallest,) if p_values[smallest] <= level else ()

    return {name: 1 - level for name, level in holm_levels(p_values, alpha, reject_smallest).items()}


def _one_class(
    rule: Rule,
    tally: WindowCounts,
    name: str,
    cells: Sequence[WeightedCount],
    confidence: float | None,
    detectors: Detectors,
    by_labels: str,
) -> Finding:
    sample, detector = weighted_error_share(cells, confidence or rule.confidence), detectors.get(name)
    state = state_with_detector(rule, sample.n, sample.value, sample.low, detector)
    needed = samples_missing(rule, sample.n, state)
    if state == "suspect" and detector is not None:
        needed = labels_until_alarm(rule, tally, sample, detector, len(tally.classes))
    wrong = sum(cell.wrong for cell in cells)
    every = (
        "" if len(cells) < 2 else f"; weighted by their chance to be drawn, that is {percent_text(sample.value)} of all"
    )
    sentence = (
        f"Class {name}: {wrong} of {count_text(sample.n, 'labelled answer')} "
        f"wrong{since_change_text(tally, name, detector)}{by_labels}, "
        f"{percent_text(wrong / sample.n)}{every}. {verdict_sentence(rule, state, sample.low, needed)}"
        f"{block_text(rule, detector)}{waiting_text(tally)}"
    )
    numbers = (sample.value, sample.low, sample.high)
    return make_finding(rule, tally, state, sample.n, sentence, *numbers, None, needed, key=name, detector=detector)
