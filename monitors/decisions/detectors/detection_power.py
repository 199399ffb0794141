"""Forecasts what a rule about labels can see: the smallest rise of errors that it finds soon, and what is never found.

Pure. The rule's own detector is simulated (`monitors.statistics.detection_simulation`) at the present rate of labels
and size of the golden set, and again with more of either. Labels are taken to be independent and alike in weight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from monitors.decisions.detectors.rule_detectors import null_hypothesis
from monitors.rules.alerts_config import Rule
from monitors.rules.quantities import count_text
from monitors.statistics.detection_simulation import StreamSettings, days_until_alarm
from monitors.statistics.e_detector import EARNED_LIMIT, CompositeNull
from monitors.windows.window import Baseline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SOON, LATER = 14, 30
"""Within how many days a rise is to be found."""
FOUND_SHARE: Final = 0.9
MAX_LABELS_PER_DAY: Final = 1_000.0
"""At a higher rate the forecast is that of this one."""
MORE: Final = 10
USEFUL_LABELS, USEFUL_DAYS = 30, 90
"""A rule by class is of use where a usual class has so many labels in so many days: of 3 000 classes, at a limit of
10 %, one that is misread in half of its answers is then found in that time in 8 of 10 cases."""
LEAST_USEFUL_LABELS: Final = 8
"""With so many a class that is always misread is."""
_WORTH_SAYING: Final = 0.95
"""What is no smaller than this part of what is found already helps too little to say."""
_GOLDEN_STEPS: Final = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
_SMALLEST_GOAL, _MANY_PARTS = 1e-3, 8
_HEALTHY_DAYS: Final = 14.0
_RUNS, _RISES, _SMALLEST_RISE, _SEED = 100, 16, 0.002, 12


@dataclass(frozen=True)
class DetectionPower:
    """What a rule finds, in shares: rises of the error share, or of a class's error share from none.

    `soon` and `later`: the smallest rise found in 9 of 10 cases within 14 and 30 days, None where none is; `even`: in
    half of the cases within 14 days. Rises up to `never` cannot be found, however many labels come. `labels_per_day`
    are those that one detector reads.
    """

    rule: str
    metric: str
    labels_per_day: float
    golden_rows: int
    soon: float | None
    even: float | None
    later: float | None
    never: float
    more_golden_rows: int = 0
    soon_with_more_golden: float | None = None
    soon_with_more_labels: float | None = None
    classes: int = 1
    """How many detectors share the labels: one for each class of a rule by class."""

    @property
    def useful_classes(self) -> int:
        """Up to how many classes each gets USEFUL_LABELS in USEFUL_DAYS at this rate of labels."""
        return int(self.labels_per_day * self.classes * USEFUL_DAYS / USEFUL_LABELS)


def detection_power(
    rule: Rule, baseline: Baseline, labels_per_day: float, classes: Sequence[str]
) -> DetectionPower | None:
    """The forecast for a rule at so many labels a day in all; None where labels do not move detectors of it."""
    if rule.false_alarms is None or not (rule.uses_detector and rule.reads_labels):
        return None
    is_by_class = rule.metric_spec.key_type == "class"
    parts = len(classes) if is_by_class else 1
    settings, usual = _settings(rule, baseline, labels_per_day / parts, parts), _usual_share(rule, baseline)
    if settings is None:
        return None
    if not labels_per_day:
        rows = 0 if is_by_class else baseline.accuracy_total
        return DetectionPower(rule.name, rule.metric, 0, rows, None, None, None, _never(settings, usual), classes=parts)
    found = _found(settings, usual, LATER)
    power = DetectionPower(
        rule.name,
        rule.metric,
        labels_per_day / parts,
        0 if is_by_class else baseline.accuracy_total,
        _smallest_found(found, SOON, FOUND_SHARE),
        _smallest_found(found, SOON, 0.5),
        _smallest_found(found, LATER, FOUND_SHARE),
        _never(settings, usual),
        classes=parts,
    )
    many = _found(replace(settings, labels_per_day=settings.labels_per_day * MORE), usual, SOON)
    power = replace(power, soon_with_more_labels=_smallest_found(many, SOON, FOUND_SHARE))
    rows = next((step for step in _GOLDEN_STEPS if step >= 2 * baseline.accuracy_total), 0)
    larger = None if is_by_class else _settings(rule, _scaled(baseline, rows), labels_per_day, 1)
    if not rows or larger is None:
        return power
    smallest = _smallest_found(_found(larger, usual, SOON), SOON, FOUND_SHARE)
    return replace(power, more_golden_rows=rows, soon_with_more_golden=smallest)


def power_sentence(power: DetectionPower) -> str:
    """What can be seen at which rate of labels, what cannot, and what would help, for people."""
    given = f"with {_rate_text(power.labels_per_day)}"
    if power.metric == "class_error":
        given += " for each class"
    elif power.golden_rows:
        given = f"with {count_text(power.golden_rows, 'golden row')} and {_rate_text(power.labels_per_day)}"
    more = (
        (f"with {power.more_golden_rows:,} golden rows", power.soon_with_more_golden),
        (f"with {MORE} times the labels", power.soon_with_more_labels),
    )
    helped = [
        f"{_rise_text(power, rise)} {what}" for what, rise in more if rise and rise < _WORTH_SAYING * (power.soon or 1)
    ]
    advice = f"; within {SOON} days {', '.join(helped)}" if helped else ""
    return f"rule {power.rule}: {given} {finds_text(power)}, however many labels come{advice}"


def classes_sentence(power: DetectionPower) -> str | None:
    """That a rule has more classes than its labels can watch, for people; None where it has not."""
    if power.metric != "class_error" or power.classes <= power.useful_classes:
        return None
    without = "`class_volume` sees a class that is named no more, without labels"
    if power.labels_per_day <= 0:
        return f"rule {power.rule}: no labels come, so each of {power.classes:,} classes may break unseen; {without}"
    rate = _rate_text(power.labels_per_day * power.classes)
    return (
        f"rule {power.rule}: {rate} are enough for about {power.useful_classes:,} classes, and "
        f"there are {power.classes:,}: in {USEFUL_DAYS} days each gets {power.labels_per_day * USEFUL_DAYS:.1f} labels "
        f"on average. A class that is misread in half of its answers needs about {USEFUL_LABELS} to be found in that "
        f"time, one that always is {LEAST_USEFUL_LABELS}; what has fewer may break unseen; {without}"
    )


def finds_text(power: DetectionPower) -> str:
    """What a rule finds, and what never, in a few words for a table."""
    never = f"up to {_rise_text(power, power.never)} never"
    if power.later is None:
        return f"nothing is found within {LATER} days in 9 of 10 cases; {never}"
    later = f"{_rise_text(power, power.later)} within {LATER} days"
    if power.soon is None:
        return f"{_subject(power, power.later)} is found within {LATER} days in 9 of 10 cases; {never}"
    half = "" if power.even is None else f" ({_rise_text(power, power.even)} in half of them)"
    return f"{_subject(power, power.soon)} is found within {SOON} days in 9 of 10 cases{half}, {later}; {never}"


def _subject(power: DetectionPower, rise: float) -> str:
    if power.metric == "class_error":
        return f"a class of which {_rise_text(power, rise)} are misread"
    return f"a {'rise of the mean loss' if power.metric == 'loss_rise' else 'drop'} of {_rise_text(power, rise)}"


def _rise_text(power: DetectionPower, rise: float) -> str:
    return f"{100 * rise:.0f} %" if power.metric == "class_error" else f"{100 * rise:.1f} points"


def _rate_text(labels_per_day: float) -> str:
    if labels_per_day <= 0:
        return "no labels"
    if labels_per_day < 1:
        return f"a label every {1 / labels_per_day:.0f} days"
    return f"{count_text(round(labels_per_day), 'label')} a day"


def _settings(rule: Rule, baseline: Baseline, labels_per_day: float, parts: int) -> StreamSettings | None:
    null = null_hypothesis(rule, baseline)
    if null is None or rule.false_alarms is None:
        return None
    rate = min(_rounded(labels_per_day), MAX_LABELS_PER_DAY)
    bounds, goals = _fewer_parts(null)
    return StreamSettings(bounds, goals, rate, rule.false_alarms.per_second, rule.min_samples, 1 / parts)


def _fewer_parts(null: CompositeNull) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Every second part, which its neighbours resemble, of those that time alone does not refute at once."""
    kept = [place for place, goal in enumerate(null.goals) if goal >= _SMALLEST_GOAL]
    thinned = kept if len(kept) < _MANY_PARTS else kept[::2]
    return tuple(null.bounds[place] for place in thinned), tuple(null.goals[place] for place in thinned)


def _usual_share(rule: Rule, baseline: Baseline) -> float:
    """The error share before a rise: the golden set's, and of a class none; of losses their mean.

    Losses are simulated as answers that are right or the worst mistake, which vary most at the same mean.
    """
    if rule.metric_spec.key_type == "class" or not baseline.accuracy_total:
        return 0.0
    if rule.metric_spec.observes == "loss":
        return sum(loss * rows for loss, rows in baseline.loss_counts.items()) / baseline.accuracy_total
    return 1 - baseline.accuracy_correct / baseline.accuracy_total


def _scaled(baseline: Baseline, rows: int) -> Baseline:
    """The baseline of a golden set of so many rows with the same share of errors."""
    correct = round(rows * baseline.accuracy_correct / max(1, baseline.accuracy_total))
    losses = {loss: round(n * rows / max(1, baseline.accuracy_total)) for loss, n in baseline.golden_losses.items()}
    if losses:
        losses[max(losses, key=lambda loss: losses[loss])] += rows - sum(losses.values())
    return replace(baseline, accuracy_correct=correct, accuracy_total=rows, golden_losses=losses)


def _rounded(rate: float) -> float:
    """Two significant digits: the present rate of labels is known no better, and forecasts can be kept."""
    return float(f"{rate:.1e}")


def _never(settings: StreamSettings, usual: float) -> float:
    """The largest rise that some part of the null allows which time alone cannot refute."""
    limit = EARNED_LIMIT * settings.budget_share
    allowed = [bound for bound, goal in zip(settings.bounds, settings.goals, strict=True) if goal > limit and bound < 1]
    return max(allowed, default=usual) - usual


@lru_cache(maxsize=256)
def _found(settings: StreamSettings, usual: float, days: int) -> Mapping[float, "NDArray[np.float64]"]:
    """By rise the days until it is found, in each of the simulated runs."""
    import numpy as np

    rises = np.minimum(_never(settings, usual) + np.geomspace(_SMALLEST_RISE, 0.6, _RISES), 1 - usual)
    shares = tuple((usual + rises).tolist())
    found = days_until_alarm(settings, usual, shares, float(days), _RUNS, _HEALTHY_DAYS, _SEED)
    return dict(zip(rises.tolist(), found, strict=True))


def _smallest_found(found: Mapping[float, "NDArray[np.float64]"], days: int, share: float) -> float | None:
    """The smallest rise that is found in so many of the cases, between the rises that were simulated."""
    import numpy as np

    rises = list(found)
    shares = np.maximum.accumulate([float((days_each <= days).mean()) for days_each in found.values()])
    place = int(np.argmax(shares >= share))
    if shares[place] < share:
        return None
    if not place:
        return rises[0]
    return float(np.exp(np.interp(share, shares[place - 1 : place + 1], np.log(rises[place - 1 : place + 1]))))
