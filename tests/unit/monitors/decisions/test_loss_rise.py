"""The rise of what mistakes cost: by the window, and by the detector on streams whose errors stay as many."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitors.decisions.accuracy_drop import accuracy_drop
from monitors.decisions.detectors.detection_power import detection_power, power_sentence
from monitors.decisions.detectors.label_reading import ReadPosition, plan_reading
from monitors.decisions.detectors.rule_detectors import WHOLE_STREAM, null_hypothesis, update_detectors
from monitors.decisions.loss_rise import loss_rise
from monitors.errors import WindowError
from monitors.rules.alerts_config import Rule
from monitors.statistics.golden_evidence import golden_mean_null
from monitors.windows.window import Baseline
from monitors.windows.window_counts import LabelCount, Outcome, WindowCounts
from tests.support.monitor_examples import rule

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
CLASSES = ("no", "yes")
COSTS = {("no", "yes"): 0.2}
"""A call too many costs a fifth of a leaver who was not called."""
GOLDEN = Baseline(900, 1_000, golden_losses={0.0: 900, 0.2: 80, 1.0: 20})
LOSS = rule("loss_rise", above="2 points", min_samples=30, false_alarms="1 per 90d")


def window(*cells: tuple[str, str, int]) -> WindowCounts:
    labels = tuple(LabelCount("audit", truth, answer, 1.0, n) for truth, answer, n in cells)
    return WindowCounts("churn", 1, CLASSES, NOON, NOON + DAY, predictions=5_000, labels=labels, costs=COSTS)


def detected(the_rule: Rule, answers: Sequence[tuple[str, str]], baseline: Baseline = GOLDEN) -> bool:
    rows = [
        Outcome(
            n, f"p{n}", NOON + n * DAY / 33, NOON + n * DAY / 33, answer, truth, "audit", {"audit": n}, 0.9,
            loss=0.0 if truth == answer else COSTS.get((truth, answer), 1.0),
        )
        for n, (truth, answer) in enumerate(answers, 1)
    ]  # fmt: skip
    reading = plan_reading(the_rule, ReadPosition(), rows, NOON + 365 * DAY)
    after = update_detectors(the_rule, baseline, CLASSES, {}, rows, reading, NOON)
    return after[WHOLE_STREAM].alarmed_at is not None


def drawn(dear: float, cheap: float, labels: int, seed: int) -> list[tuple[str, str]]:
    """Answers of which these shares are dear and cheap mistakes."""
    chances = np.random.default_rng(seed).random(labels)
    return [("yes", "no") if c < dear else ("no", "yes") if c < dear + cheap else ("no", "no") for c in chances]


def test_dearer_mistakes_are_found_where_there_are_no_more_of_them() -> None:
    [found] = loss_rise(LOSS, window(("no", "no", 450), ("yes", "no", 50)), GOLDEN, {})
    assert found.value == pytest.approx(0.1 - 0.036)
    assert found.baseline == pytest.approx(0.036)
    assert found.state == "breach"
    assert found.low is not None
    assert found.high is not None
    assert 0.02 < found.low < 0.064 < found.high
    assert "The mean loss is 10.0 % of the worst mistake's on 500 labelled answers" in found.sentence
    assert "against 3.6 % on the golden set: 6.4 points higher" in found.sentence
    errors = rule("accuracy_drop", above="2 points", min_samples=30)
    [unseen] = accuracy_drop(errors, window(("no", "no", 450), ("yes", "no", 50)), GOLDEN, {})
    assert unseen.state == "ok"


def test_more_but_cheaper_mistakes_are_no_rise() -> None:
    [found] = loss_rise(LOSS, window(("no", "no", 425), ("no", "yes", 75)), GOLDEN, {})
    assert found.state == "ok"
    assert found.value == pytest.approx(0.15 * 0.2 - 0.036)


def test_without_costs_it_says_what_accuracy_drop_says() -> None:
    golden, counted = Baseline(990, 1_000), window(("no", "no", 450), ("yes", "no", 50))
    [errors] = accuracy_drop(rule("accuracy_drop", above="2 points", min_samples=30), counted, golden, {})
    [losses] = loss_rise(rule("loss_rise", above="2 points", min_samples=30), counted, golden, {})
    assert losses.value == pytest.approx(errors.value)
    assert losses.low == pytest.approx(errors.low, abs=1e-6)
    assert losses.state == errors.state == "breach"
    budget = {"above": "2 points", "false_alarms": "1 per 90d"}
    of_errors, of_losses = (null_hypothesis(rule(m, **budget), golden) for m in ("accuracy_drop", "loss_rise"))
    assert of_errors == of_losses


def test_an_unknown_cost_is_the_worst() -> None:
    [found] = loss_rise(LOSS, window(("no", "no", 450), ("yes", "no", 50)), Baseline(900, 1_000), {})
    assert found.baseline == pytest.approx(0.1), "golden rows whose losses nobody noted each cost the most"


@pytest.mark.parametrize(("labels", "baseline"), [(0, GOLDEN), (500, Baseline(0, 0))])
def test_without_labels_or_golden_rows_nothing_is_decided(labels: int, baseline: Baseline) -> None:
    [found] = loss_rise(LOSS, window(("yes", "no", labels)) if labels else window(), baseline, {})
    assert found.state == ("insufficient" if labels else "no-data")


def test_losses_of_another_golden_set_are_refused() -> None:
    with pytest.raises(WindowError, match="losses of 99 golden rows where 100 were counted"):
        Baseline(90, 100, golden_losses={0.0: 99})


def test_the_detector_finds_dear_mistakes_and_passes_over_as_many_cheap_ones() -> None:
    assert detected(LOSS, drawn(0.12, 0.0, 3_000, 1))
    assert not detected(LOSS, drawn(0.0, 0.15, 3_000, 1))


def test_a_version_at_the_allowed_loss_is_blamed_within_the_budget() -> None:
    """Golden sets are drawn anew each time; the true mean loss is the golden one's plus what the rule allows.

    A budget of one alarm in 450 days allows 2 in 10 streams of 90 days.
    """
    generator, alarms, streams = np.random.default_rng(5), 0, 10
    strict = rule("loss_rise", above="2 points", min_samples=30, false_alarms="1 per 450d")
    for seed in range(streams):
        cheap, dear = generator.multinomial(1_000, [0.08, 0.02, 0.9])[:2]
        golden = Baseline(1_000 - cheap - dear, 1_000, golden_losses={0.0: 1_000 - cheap - dear, 0.2: cheap, 1.0: dear})
        alarms += detected(strict, drawn(0.04, 0.08, 3_000, 100 + seed), golden)
    assert alarms <= 2


def test_golden_losses_are_evidence_of_which_a_version_chosen_among_several_has_less() -> None:
    golden = [Baseline(900, 1_000, golden_losses=GOLDEN.golden_losses, golden_versions=n) for n in (1, 10)]
    alone, among_ten = (null_hypothesis(LOSS, baseline) for baseline in golden)
    assert alone == golden_mean_null(GOLDEN.golden_losses, 1.0, 0.02)
    assert among_ten == golden_mean_null(GOLDEN.golden_losses, 1.0, 0.02, versions=10)


def test_what_it_can_find_is_foretold() -> None:
    power = detection_power(LOSS, GOLDEN, 100.0, CLASSES)
    assert power is not None
    assert power.soon is not None
    assert 0.02 < power.never < power.soon < 0.3
    assert "a rise of the mean loss of" in power_sentence(power)
