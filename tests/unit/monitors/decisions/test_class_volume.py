"""Whether a class is still named as often as it was."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from monitors.decisions.decision import decide
from monitors.decisions.finding import Finding
from monitors.rules.alerts_config import AlertsConfig, Rule
from monitors.statistics.intervals import binomial_tail
from monitors.windows.window import ReferenceMix
from monitors.windows.window_counts import WindowCounts
from tests.support.monitor_examples import NOON, golden

CLASSES = tuple(f"c{number:02}" for number in range(62))


def written(**keys: object) -> Rule:
    rule: dict[str, object] = {
        "name": "class-volume",
        "metric": "class_volume",
        "below": "40 %",
        "clear": "60 %",
        "window": "24h",
    }
    rule |= {"min_samples": 200, "every": "1h", "false_alarms": "1 per 90d", **keys}
    return AlertsConfig.model_validate({"version": 1, "model": "letters", "rules": [rule]}).rules[0]


def found(before: dict[str, int], now: dict[str, int], rule: Rule | None = None) -> dict[str, Finding]:
    rule, baseline = (
        rule or written(),
        replace(golden(990, 1_000), reference_mix=ReferenceMix(before, NOON, "its week")),
    )
    given = {name: {60: n} for name, n in now.items() if n}
    tally = WindowCounts("letters", 3, CLASSES, NOON - rule.window, NOON, 1, predictions_by_confidence=given)
    return {finding.key: finding for finding in decide(rule, tally, baseline)}


def test_a_class_that_is_no_longer_named_is_a_breach_and_the_others_are_well() -> None:
    findings = found(dict.fromkeys(CLASSES, 50), dict.fromkeys(CLASSES[1:], 50))
    assert findings["c00"].state == "breach"
    assert findings["c00"].sentence == (
        "Class c00 is named by 0 of 3,050 answers, 0.0 %, against 1.6 % of 3,100 in its week: 0.0 % as often. The rule "
        "asks for 40.0 %; luck alone misses that at most 1 per 90d, over all classes. Whether answers suffer, only "
        "labels can tell."
    )
    assert {finding.state for key, finding in findings.items() if key != "c00"} == {"ok"}
    assert all(finding.clear for key, finding in findings.items() if key != "c00")


def test_twice_the_traffic_and_a_class_at_half_its_share_are_well() -> None:
    findings = found(dict.fromkeys(CLASSES, 200), {**dict.fromkeys(CLASSES, 400), "c01": 200})
    assert {finding.state for finding in findings.values()} == {"ok"}
    assert findings["c01"].value == pytest.approx(0.5, abs=0.01)
    assert not findings["c01"].clear


def test_what_luck_might_do_is_suspect() -> None:
    findings = found(dict.fromkeys(CLASSES, 60), {**dict.fromkeys(CLASSES, 60), "c02": 6})
    assert findings["c02"].state == "suspect"
    assert "more often than at most 1 per 90d" in findings["c02"].sentence


def test_classes_whose_silence_would_prove_nothing_are_not_judged() -> None:
    rare = {**dict.fromkeys(CLASSES[:10], 300), **dict.fromkeys(CLASSES[10:], 5)}
    assert set(found(rare, dict.fromkeys(CLASSES[:10], 300))) == set(CLASSES[:10])
    nobody = found(dict.fromkeys(CLASSES, 5), dict.fromkeys(CLASSES, 5))
    assert nobody[""].state == "insufficient"
    assert "No class is named often enough in its week" in nobody[""].sentence


def test_few_answers_decide_nothing() -> None:
    assert found(dict.fromkeys(CLASSES, 50), {"c00": 150})[""].needed == 50
    assert found(dict.fromkeys(CLASSES, 50), {})[""].state == "no-data"
    assert "There were 62 answers in its week" in found(dict.fromkeys(CLASSES, 1), {"c00": 900})[""].sentence


def test_looks_at_classes_at_the_limit_are_wrong_at_most_as_often_as_each_look_may() -> None:
    """Ten classes have fallen to what the rule just allows, 40 % of their share; a breach names one wrongly."""
    rule, generator, wrong = written(false_alarms=None, confidence=0.9), np.random.default_rng(4), 0
    before = np.full(62, 1 / 62)
    now = before * np.where(np.arange(62) < 10, 0.4, 1.0)
    now[61] += 1 - now.sum()
    for _ in range(150):
        first, newest = generator.multinomial(20_000, before), generator.multinomial(20_000, now)
        findings = found(named(first), named(newest), rule)
        wrong += any(finding.state == "breach" for finding in findings.values())
    assert wrong <= 150 * 0.1 + 3 * (150 * 0.1 * 0.9) ** 0.5


def named(counts: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(CLASSES, counts.tolist(), strict=True))


def test_the_p_value_is_the_binomial_tail_of_both_samples() -> None:
    assert 1 - binomial_tail(4, 63, 0.4 / 1.4) == pytest.approx(
        sum(np.exp(_log_binomial(63, k, 0.4 / 1.4)) for k in range(4))
    )


def _log_binomial(n: int, k: int, share: float) -> float:
    from scipy.special import gammaln

    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return float(ways + k * np.log(share) + (n - k) * np.log1p(-share))
