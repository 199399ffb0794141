"""Whether answers and pictures are still like a version's first ones."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from monitors.decisions.decision import decide
from monitors.decisions.drift import evaluation_level
from monitors.decisions.finding import Finding
from monitors.rules.alerts_config import AlertsConfig, Rule
from monitors.statistics.two_sample import DistanceTest, InputComparison
from monitors.windows.window import Baseline, ReferenceMix
from monitors.windows.window_counts import WindowCounts
from tests.support.monitor_examples import DIGITS, NOON, WRITTEN, golden, rule

BASELINE = replace(golden(990, 1000), reference_mix=ReferenceMix(dict.fromkeys(DIGITS, 100), NOON, "its first 7 days"))


def budgeted(metric: str, **written: object) -> Rule:
    """A rule of an alerts file, evaluated each hour with a budget of one false alarm in 90 days."""
    plain = {"name": "a-rule", "metric": metric, "above": WRITTEN[metric], "window": "24h", "every": "1h"}
    rules = [{**plain, "false_alarms": "1 per 90d", **written}]
    return AlertsConfig.model_validate({"version": 1, "model": "digits", "rules": rules}).rules[0]


ANSWERS = budgeted("prediction_drift", min_samples=200)
PICTURES = budgeted("input_drift", min_samples=100)


def answered(mix: dict[str, int], inputs: InputComparison | None = None) -> WindowCounts:
    given = {name: {60: n} for name, n in mix.items()}
    start = NOON + timedelta(hours=1)
    total = sum(mix.values())
    return WindowCounts(
        "digits",
        3,
        DIGITS,
        start,
        start + timedelta(days=1),
        total,
        predictions_by_confidence=given,
        input_comparison=inputs,
    )


def only(written: Rule, tally: WindowCounts, baseline: Baseline = BASELINE) -> Finding:
    [finding] = decide(written, tally, baseline)
    return finding


def compared(*measures: tuple[str, float, float], version: int = 3) -> InputComparison:
    return InputComparison(
        version, 500, 400, tuple(DistanceTest(name, f"the {name}", apart, p) for name, apart, p in measures)
    )


def test_a_look_may_use_its_part_of_the_budget() -> None:
    assert evaluation_level(ANSWERS) == pytest.approx(1 / (90 * 24))
    assert evaluation_level(rule("prediction_drift", confidence=0.95)) == pytest.approx(0.05)


def test_another_mix_is_a_breach_that_names_the_classes() -> None:
    finding = only(ANSWERS, answered({**dict.fromkeys(DIGITS, 80), "0": 400, "7": 0}))
    assert finding.state == "breach"
    assert finding.value == pytest.approx(400 / 1040 - 0.1, abs=0.01)
    assert finding.sentence == (
        "27.9 % of 1,040 answers would have to name another class to be like the 1,000 in its first 7 days, beyond the "
        "5.5 % that luck makes: 0 38.5 % (then 10.0 %), 7 0.0 % (then 10.0 %), 1 7.7 % (then 10.0 %). The rule "
        "allows 15.0 %; luck alone does that at most 1 per 90d. Whether answers suffer, only labels can tell."
    )


def test_the_same_mix_and_a_small_difference_that_is_certain_are_no_breach() -> None:
    assert only(ANSWERS, answered(dict.fromkeys(DIGITS, 100))).state == "ok"
    small = only(ANSWERS, answered({**dict.fromkeys(DIGITS, 10_000), "0": 16_000}))
    assert (small.state, small.clear) == ("ok", True)


def test_a_large_distance_that_luck_explains_is_not_even_suspect() -> None:
    few = budgeted("prediction_drift", min_samples=10)
    finding = only(few, answered({"0": 3, "1": 1, "2": 3, "3": 1, "4": 2, "9": 2}))
    assert (finding.state, finding.clear) == ("ok", False)
    assert "what luck explains" in finding.sentence


def test_between_luck_and_proof_lies_suspicion() -> None:
    careful = budgeted("prediction_drift", above="1 %", min_samples=200)
    finding = only(careful, answered({**dict.fromkeys(DIGITS, 25), "0": 52, "1": 11}))
    assert finding.state == "suspect"
    assert "more often than at most 1 per 90d" in finding.sentence


def test_looks_at_equal_mixes_break_the_rule_at_most_as_often_as_each_look_may() -> None:
    loose = rule("prediction_drift", above="1 %", confidence=0.95, min_samples=100)
    generator, broken = np.random.default_rng(5), 0
    for _ in range(400):
        first, newest = generator.multinomial(1_000, [0.1] * 10), generator.multinomial(300, [0.1] * 10)
        baseline = replace(
            BASELINE,
            reference_mix=ReferenceMix(dict(zip(DIGITS, first.tolist(), strict=True)), NOON, "its first 7 days"),
        )
        broken += only(loose, answered(dict(zip(DIGITS, newest.tolist(), strict=True))), baseline).state == "breach"
    assert broken <= 400 * 0.05 + 3 * (400 * 0.05 * 0.95) ** 0.5


def test_without_enough_answers_nothing_is_decided() -> None:
    assert only(ANSWERS, answered({})).state == "no-data"
    few = only(ANSWERS, answered({"0": 150}))
    assert (few.state, few.needed) == ("insufficient", 50)
    young = only(ANSWERS, answered({"0": 150}), golden(990, 1000))
    assert young.state == "insufficient"
    assert "has not served for 1w yet" in young.sentence
    thin = replace(BASELINE, reference_mix=ReferenceMix({"0": 150}, NOON, "the same hours of its first 7 days"))
    unsure = only(ANSWERS, answered({"0": 900}), thin)
    assert unsure.state == "insufficient"
    assert "There were 150 answers in the same hours of its first 7 days; the rule compares from 200" in unsure.sentence


def test_pictures_that_differ_far_and_surely_are_a_breach_that_names_the_measures() -> None:
    finding = only(PICTURES, answered({}, compared(("noise", 0.4, 1e-9), ("mean", 0.9, 1e-30), ("slant", 0.1, 1e-9))))
    assert (finding.state, finding.value, finding.n) == ("breach", 0.9, 400)
    assert finding.sentence == (
        "400 new pictures against 500 of the version's first: they differ most in the mean (90.0 % apart), the noise "
        "(40.0 % apart). The rule allows 25.0 %; luck alone does that at most 1 per 90d. Whether answers suffer, only "
        "labels can tell."
    )


def test_far_without_proof_and_proof_without_distance_are_no_breach() -> None:
    near = only(PICTURES, answered({}, compared(("noise", 0.2, 1e-30), ("mean", 0.05, 0.5))))
    assert (near.state, near.clear) == ("ok", True)
    lucky = only(PICTURES, answered({}, compared(("noise", 0.3, 0.2), ("mean", 0.05, 0.5))))
    assert (lucky.state, lucky.clear) == ("ok", False)
    unproved = only(PICTURES, answered({}, compared(("noise", 0.3, 0.002), ("mean", 0.05, 0.5))))
    assert unproved.state == "suspect"


def test_all_measures_together_share_the_chance_of_a_look() -> None:
    level = evaluation_level(PICTURES)
    twelve = [(f"m{place}", 0.05, 0.9) for place in range(11)]
    assert only(PICTURES, answered({}, compared(("noise", 0.3, level / 13), *twelve))).state == "breach"
    assert only(PICTURES, answered({}, compared(("noise", 0.3, level / 2), *twelve))).state == "suspect"


def test_pictures_of_another_version_and_too_few_decide_nothing() -> None:
    assert only(PICTURES, answered({})).state == "no-data"
    assert only(PICTURES, answered({}, compared(("noise", 0.9, 1e-9), version=2))).state == "no-data"
    few = only(PICTURES, answered({}, InputComparison(3, 500, 60)))
    assert (few.state, few.n) == ("insufficient", 60)
    assert "was shown 500 different pictures in its reference and 60 newly" in few.sentence


def test_before_the_first_days_are_over_pictures_are_not_compared() -> None:
    young = only(PICTURES, answered({}, InputComparison(3, 40, 0, is_reference_complete=False)))
    assert (young.state, young.n) == ("insufficient", 40)
    assert "has not served for 1w yet" in young.sentence


def test_clusters_are_named_and_too_few_of_them_decide_nothing() -> None:
    clustered = replace(compared(("noise", 0.4, 1e-9)), clusters=(31, 24), cluster_noun="client")
    assert "500 of the version's first (of 24 clients against 31, each of which counts as a whole)" in (
        only(PICTURES, answered({}, clustered)).sentence
    )
    few = only(PICTURES, answered({}, InputComparison(3, 500, 400, clusters=(3, 9), cluster_noun="request")))
    assert few.state == "insufficient"
    assert "came from 9 requests, and from 3 in the reference; the rule compares from 10 of each on" in few.sentence
