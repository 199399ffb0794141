"""Findings: what a rule says about a window, as a state, numbers and a sentence; what decisions share to make them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from monitors.decisions.detectors.label_detector import LabelDetector
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import approximate_duration_text, count_text, metric_value_text, percent_text
from monitors.statistics.e_detector import AlarmState, has_alarmed
from monitors.statistics.intervals import Estimate, WeightedCount
from monitors.windows.window import Baseline
from monitors.windows.window_counts import LabelCount, WindowCounts

FindingState = Literal["ok", "suspect", "breach", "insufficient", "no-data"]

NO_DATA: Final = "no data"
"""The key of the alert that a rule has nothing to decide from."""
_TOLERANCE: Final = 1e-9
MAX_LATE_SHARE: Final = 0.1
"""Where more labels of right answers come after their answers are read, errors may be known first."""


@dataclass(frozen=True)
class Finding:
    """What one rule says about one window; `key` is a class name where a rule decides class by class.

    `clear`: the value lies at or below the rule's clear level, so an alert may end. `evidence`: how much of an alarm
    the rule's detector holds, 1 being one; None without a false-alarm budget.
    """

    rule: str
    key: str
    model: str
    version: int
    state: FindingState
    sentence: str
    threshold: float
    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    needed: int | None = None
    clear: bool = False
    evidence: float | None = None
    changed_at: datetime | None = None
    """Since when it has been so, where a detector can tell."""


Detectors = Mapping[str, AlarmState]
Findings = tuple[Finding, ...]
DecisionFunction = Callable[[Rule, WindowCounts, Baseline, Detectors], Findings]
"""How a metric is decided: from a rule, its window, what the version is compared with, and the rule's detectors."""


def make_finding(
    rule: Rule,
    tally: WindowCounts,
    state: FindingState,
    n: int,
    sentence: str,
    value: float | None = None,
    low: float | None = None,
    high: float | None = None,
    baseline: float | None = None,
    needed: int | None = None,
    *,
    key: str = "",
    detector: AlarmState | None = None,
) -> Finding:
    """The finding, with what rule, window and detector say of themselves."""
    evidence = None if detector is None else min(1.0, detector.evidence)
    changed_at = None if detector is None else detector.changed_at
    return Finding(
        rule=rule.name, key=key, model=tally.model, version=tally.version, state=state, sentence=sentence,
        threshold=rule.threshold, n=n, value=value, low=low, high=high, baseline=baseline, needed=needed,
        clear=is_clear(rule, value), evidence=evidence, changed_at=changed_at,
    )  # fmt: skip


def missing_data_of(
    rule: Rule, tally: WindowCounts, last: datetime | None, began: datetime | None = None
) -> Finding | None:
    """The finding about a rule that may have heard nothing for long; None for a rule that does not mind.

    `last` is when it heard something last, if ever, `began` when the version began to serve.
    """
    if rule.no_data is None:
        return None
    moments = [moment for moment in (last, began) if moment is not None]
    since = max(moments, default=tally.start)
    quiet = tally.end - since > rule.no_data
    noun = f"label from {' or '.join(rule.sources)}{rule.slice_text}" if rule.reads_labels else "answer"
    if last is not None and since == last:
        last_text = f"The last {noun} came {_minute(last)}"
    else:
        last_text = f"No {noun} has come since version {tally.version} began to serve at {_minute(since)}"
    sentence = f"{last_text}; the rule can decide nothing without."
    return Finding(
        rule=rule.name, key=NO_DATA, model=tally.model, version=tally.version, state="breach" if quiet else "ok",
        sentence=sentence, threshold=rule.threshold, n=0, clear=not quiet,
    )  # fmt: skip


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def is_clear(rule: Rule, value: float | None) -> bool:
    """Whether a value lies on the good side of the level from which an alert may end, or on it."""
    return value is not None and not rule.is_beyond(value, _tolerant_threshold(rule, rule.clear_level))


def state_by_window(rule: Rule, total: int, value: float, bound: float | None) -> FindingState:
    """The state by the window alone: a breach needs the confidence limit nearer to health beyond the threshold.

    `bound` is that limit: the lower one where high is bad, the upper one where low is bad; None proves nothing.
    """
    if total < rule.min_samples:
        return "insufficient"
    if bound is not None and rule.is_beyond(bound, rule.threshold):
        return "breach"
    return "suspect" if rule.is_beyond(value, _tolerant_threshold(rule, rule.threshold)) else "ok"


def state_with_detector(
    rule: Rule, total: int, value: float, bound: float | None, detector: AlarmState | None
) -> FindingState:
    """By the detector where there is one: an alarm lasts until enough samples show the clear level."""
    if detector is None:
        return state_by_window(rule, total, value, bound)
    if detector.alarmed_at is not None and not (total >= rule.min_samples and is_clear(rule, value)):
        return "breach"
    return state_by_window(rule, total, value, None)


def _tolerant_threshold(rule: Rule, level: float) -> float:
    """The level moved towards the bad side by what rounding may do: a value that equals it is not beyond."""
    return level + _TOLERANCE if rule.above is not None else level - _TOLERANCE


def samples_missing(rule: Rule, total: int, state: FindingState) -> int | None:
    """How many more samples the rule wants before it decides anything."""
    return rule.min_samples - total if state == "insufficient" else None


def verdict_sentence(rule: Rule, state: FindingState, bound: float | None, needed: int | None) -> str:
    """The last sentence: what the state rests on, and what would change it."""
    allowed, noun = metric_value_text(rule.metric, rule.threshold), rule.metric_spec.noun
    over, least, asks = ("over", "at least", "allows") if rule.above is not None else ("under", "at most", "asks for")
    sure = f"{100 * rule.confidence:.7g} % confidence"
    step = "minute by minute" if rule.metric_spec.is_early_warning else rule.block.step_text
    if state == "breach" and rule.uses_detector:
        assert rule.false_alarms is not None
        return (
            f"That it is {over} the {allowed} the rule {asks} is proved {step}; such a proof is a false "
            f"alarm at most {rule.false_alarms.text}."
        )
    if state == "breach":
        return (
            f"With {sure} {rule.metric_spec.subject} is {least} "
            f"{metric_value_text(rule.metric, bound)}; the rule {asks} {allowed}."
        )
    if state == "suspect":
        more = f"; about {count_text(needed, noun)} more would prove it if it stays so" if needed else ""
        budget = f"within {rule.false_alarms.text}" if rule.false_alarms else f"with {sure}"
        return f"That is {over} the {allowed} the rule {asks}, but not yet proved {budget}{more}."
    if state == "insufficient":
        return f"The rule decides from {count_text(rule.min_samples, noun)} on; {needed} more needed."
    return f"The rule {asks} {allowed}."


def no_predictions_sentence(tally: WindowCounts) -> str:
    """The sentence for a window without answers."""
    return f"Version {tally.version} gave no answer in the window."


def no_labels_sentence(rule: Rule, tally: WindowCounts) -> str:
    """The sentence for a window without labels that may estimate."""
    if not tally.predictions:
        return f"{no_predictions_sentence(tally)}{waiting_text(tally)}"
    answers = count_text(tally.predictions, "answer")
    ages = {source: window.maturity for source, window in tally.source_windows.items()}
    sources = " or ".join(f"{source}{_age_text(ages.get(source))}" for source in rule.sources)
    none = f"None of {answers} in the window has a label from {sources}{rule.slice_text}"
    return f"{none}{_open_block_text(rule)}.{waiting_text(tally)}"


def no_labels_finding(rule: Rule, tally: WindowCounts, detector: AlarmState | None, key: str = "") -> Finding:
    """The finding without a label in the window: an alarm stays one, for no news is not good news."""
    sentence = no_labels_sentence(rule, tally)
    if not has_alarmed(detector):
        return make_finding(rule, tally, "no-data", 0, sentence, needed=rule.min_samples)
    proof = verdict_sentence(rule, "breach", None, None)
    return make_finding(rule, tally, "breach", 0, f"{sentence} {proof}", key=key, detector=detector)


def since_change_text(tally: WindowCounts, stream: str, detector: AlarmState | None) -> str:
    """Since when the labels of a stream are counted, where its detector has found a change."""
    if stream not in tally.since_change or detector is None or detector.changed_at is None:
        return ""
    return f" since {detector.changed_at:%Y-%m-%d %H:%M} UTC, when it changed"


def shown_source(rule: Rule, cells: Sequence[LabelCount], detector: AlarmState | None) -> str | None:
    """The source whose labels are shown: of an alarm the one that says most, else the one with most labels."""
    labels = Counter[str]()
    for cell in cells:
        labels[cell.source] += cell.n
    if isinstance(detector, LabelDetector) and detector.alarmed_at is not None and detector.leading_source in labels:
        return detector.leading_source
    return max(rule.sources, key=lambda source: labels[source]) if labels else None


def labels_text(tally: WindowCounts, cells: Sequence[LabelCount], source: str) -> str:
    """By which labels a value is, where that matters: where others were there, or where their answers had to mature."""
    window = tally.source_windows.get(source)
    age = _age_text(None if window is None else window.maturity)
    return f", by {source} labels{age}" if age or len({cell.source for cell in cells}) > 1 else ""


def block_text(rule: Rule, detector: AlarmState | None) -> str:
    """What is one observation, and how many there were, where a rule decides by stretches of time."""
    if rule.block.period is None or not isinstance(detector, LabelDetector):
        return ""
    read = count_text(detector.blocks, "observation")
    return (
        f" It decides by {rule.block.noun}: what goes wrong together is one observation, which is read when it is over "
        f"({read} so far)."
    )


def _open_block_text(rule: Rule) -> str:
    """That a window without labels ends before the present stretch of time, whose labels are read when it is over."""
    if rule.block.period is None:
        return ""
    return f" that is read yet: those of one {rule.block.noun} are read when it is over (UTC)"


def waiting_text(tally: WindowCounts, source: str | None = None) -> str:
    """That labels are not read yet, or that answers were not old enough for them; nothing where all is well."""
    sentences = [
        f" {waiting.capitalize()} labels wait until it is known how late those of right answers come; "
        "`mature` in alerts.yaml says it."
        for waiting in tally.waiting_sources
    ]
    window = tally.source_windows.get(source or "")
    if window is not None and window.late_share is not None and window.late_share > MAX_LATE_SHARE:
        sentences.append(
            f" {percent_text(window.late_share)} of the labels of right answers come later than that, so errors may be "
            "known first; write a longer `mature`."
        )
    return "".join(sentences)


def _age_text(maturity: timedelta | None) -> str:
    """From what age on answers count, where that is a minute or more."""
    if maturity is None or maturity < timedelta(minutes=1):
        return ""
    return f" of answers at least {approximate_duration_text(maturity.total_seconds())} old"


def labels_until_alarm(
    rule: Rule, tally: WindowCounts, sample: Estimate, detector: AlarmState, streams: int
) -> int | None:
    """How many more labels an alarm needs if errors go on as in the window; None where it never comes."""
    if rule.false_alarms is None or not isinstance(detector, LabelDetector) or rule.block.period is not None:
        return None
    gap = (tally.end - tally.start).total_seconds() / sample.n
    earned = rule.false_alarms.per_second / streams * gap
    return detector.labels_until_alarm(sample.value, earned)


def weighting_note(cells: Sequence[WeightedCount]) -> str:
    """That a share of right predictions is weighted, and what it is as counted; nothing for labels of one weight."""
    if len(cells) < 2:
        return ""
    n, wrong = sum(cell.n for cell in cells), sum(cell.wrong for cell in cells)
    return f", weighted by their chance to be drawn ({percent_text(1 - wrong / n)} as counted)"
