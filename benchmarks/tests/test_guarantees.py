"""The benchmark of guarantees: verdicts that know their Monte-Carlo error, and attacks that would be felt."""

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from benchmarks.guarantee_attacks import Attack, golden_values, judging, labels, rate_attack, share_attack
from benchmarks.guarantees import attack_modules, summary
from monitors.windows.window import Baseline


def test_a_rate_is_broken_when_it_is_over_its_budget_by_more_than_luck() -> None:
    assert rate_attack("a", "1a", 1.0, [1, 2, 0, 1]).verdict == "within"
    assert rate_attack("a", "1a", 1.0, [9, 8, 9, 10]).verdict == "broken"
    assert share_attack("b", "3.1", 0.05, 6, 100).verdict == "within"
    assert share_attack("b", "3.1", 0.05, 30, 100).verdict == "broken"
    assert share_attack("b", "3.1", 0.05, 0, 100).monte_carlo_error > 0, "none of a hundred is not never"


def test_the_last_line_counts_verdicts_and_names_the_worst() -> None:
    attacks = [Attack("a", "1a", 1.0, 0.5, 0.1), Attack("b", "4", 0.01, 0.05, 0.001, "share")]
    module = ModuleType("attacks")
    module.median_labels = lambda _: {"golden 400, -2 points": (None, 1946.0)}  # type: ignore[attr-defined]
    module.disagreement_labels = lambda _: 118.0  # type: ignore[attr-defined]
    figures = summary(attacks, [module], quick=True)
    assert (figures["attacks"], figures["within_budget"], figures["broken"]) == (2, 1, ["b"])
    assert (figures["worst_ratio"], figures["worst_attack"]) == (5.0, "b")
    assert figures["median_labels"] == {"golden 400, -2 points": [None, 1946.0]}
    assert figures["disagreement_labels_minus1"] == 118.0


def test_every_module_with_attacks_is_found() -> None:
    assert "benchmarks.guarantee_attacks.labels" in {module.__name__ for module in attack_modules()}
    assert attack_modules({"nothing"}) == []


@pytest.mark.parametrize(("block", "least", "most"), [("label", 5, 100), ("request", 0, 3)])
def test_requests_that_are_wrong_together_break_the_budget_only_label_by_label(
    block: str, least: int, most: int
) -> None:
    answers = labels.answers_in_clumps(np.random.default_rng(1), 50, 5, 0.02)
    assert least <= labels.count_alarms(labels.class_rule(block), labels.GOLDEN, answers, 91) <= most


def test_errors_that_are_known_first_are_no_alarm_once_answers_mature() -> None:
    one = labels.Answer(0.0, wrong=True, known={"delayed": 1.0})
    answers = []
    for place in range(40 * 50):
        wrong, day = place % 100 == 0, place / 50
        answers.append(replace(one, day=day, wrong=wrong, known={"delayed": day + (1 if wrong else 7)}))
    assert labels.count_alarms(labels.drop_rule(), labels.GOLDEN, answers, 40) == 0


def test_losses_count_by_what_they_cost() -> None:
    costly = [
        labels.Answer(place / 50, wrong=True, known={"audit": place / 50}, loss=loss)
        for place, loss in enumerate([0.2, 0.0] * 500)
    ]
    baseline = Baseline(2900, 3000, {}, golden_losses={0.0: 2900, 0.2: 100})
    assert labels.count_alarms(golden_values.loss_rule(), baseline, costly, 20, stop=1) == 1
    same = [replace(each, loss=0.2 if place % 30 == 0 else 0.0) for place, each in enumerate(costly)]
    assert labels.count_alarms(golden_values.loss_rule(), baseline, same, 20, stop=1) == 0


def test_a_candidate_is_not_judged_by_errors_that_are_known_first() -> None:
    """Watched for too short, no label judges; watched for long, wrong answers are no larger a part than in truth."""
    young, came = judging.labels_that_judge(np.random.default_rng(1), 70, 50, 30.0, fixed=False)
    assert young.n == 0
    assert 1 - came.champion_correct.mean() > 1.3 * judging.ERRORS
    mature, _ = judging.labels_that_judge(np.random.default_rng(1), 700, 20, 30.0, fixed=False)
    assert abs(1 - mature.champion_correct.mean() - judging.ERRORS) < 0.005
