from collections.abc import Sequence

import numpy as np
import pytest

from monitors.decisions.decision import decide
from monitors.decisions.finding import Finding
from monitors.windows.window import Baseline, Row
from tests.support.monitor_examples import golden, labelled, row, rule, tally

GOLDEN = golden(2976, 3000, 5.0, 300)  # 99.2 %


def accuracy(rows: Sequence[Row], baseline: Baseline = GOLDEN, **written: object) -> Finding:
    [found] = decide(rule(**written), tally(rows), baseline)
    return found


def latency(values: Sequence[float], baseline: Baseline = GOLDEN, **written: object) -> Finding:
    rows = [row(number, latency_ms=value) for number, value in enumerate(values)]
    [found] = decide(rule("latency_ratio", **written), tally(rows), baseline)
    return found


# --- accuracy drop


def test_a_large_drop_is_a_breach_with_its_interval() -> None:
    found = accuracy(labelled(170, 30))
    assert found.state == "breach"
    assert found.value == pytest.approx(0.992 - 0.85)
    assert found.low is not None
    assert found.high is not None
    assert 0.005 < found.low < 0.142 < found.high
    assert (found.baseline, found.threshold, found.n, found.version) == (0.992, 0.005, 200, 3)
    assert found.sentence.startswith(
        "Accuracy is 85.0 % on 200 labelled answers, against 99.2 % on the golden set: 14.2 points lower. "
        "With 99 % confidence the drop is at least 8.8 points; the rule allows 0.5 points."
    )


def test_a_drop_that_chance_explains_is_only_suspect_and_says_what_would_prove_it() -> None:
    found = accuracy(labelled(195, 5))
    assert found.state == "suspect"
    assert found.needed is not None
    assert "not yet proved with 99 % confidence; about" in found.sentence
    more = found.needed + 200
    assert accuracy(labelled(round(0.975 * more) - 1, more - round(0.975 * more) + 1)).state == "breach"


def test_a_healthy_window_is_ok() -> None:
    found = accuracy(labelled(199, 1))
    assert found.state == "ok"
    assert found.sentence.endswith("The rule allows 0.5 points.")


def test_too_few_labels_decide_nothing_however_bad() -> None:
    found = accuracy(labelled(0, 49))
    assert (found.state, found.needed) == ("insufficient", 1)
    assert "The rule decides from 50 labels on; 1 more needed." in found.sentence


def test_no_predictions_and_no_labels_are_both_no_data() -> None:
    assert (accuracy([]).state, accuracy([]).sentence) == (
        "no-data",
        "Version 3 gave no answer in the window.",
    )
    unlabelled = accuracy([row(0), row(1)])
    assert unlabelled.state == "no-data"
    assert unlabelled.sentence == "None of 2 answers in the window has a label from audit or delayed."
    by_day = accuracy([row(0), row(1)], block="1d")
    assert by_day.sentence == (
        "None of 2 answers in the window has a label from audit or delayed that is read yet: those of one day are read "
        "when it is over (UTC)."
    )


def test_corrections_do_not_estimate_unless_the_rule_says_so() -> None:
    rows = labelled(0, 100, source="correction")
    assert accuracy(rows).state == "no-data"
    assert accuracy(rows, sources=["correction"]).state == "breach"


def test_without_a_golden_set_nothing_is_decided() -> None:
    found = accuracy(labelled(0, 100), golden(0, 0))
    assert found.state == "insufficient"
    assert "no golden-set baseline" in found.sentence


def test_a_small_golden_set_makes_the_decision_more_careful() -> None:
    rows = labelled(190, 10)
    assert accuracy(rows).state == "breach"
    assert accuracy(rows, golden(124, 125)).state == "suspect"


def test_a_drop_no_number_of_labels_could_prove_promises_none() -> None:
    found = accuracy(labelled(986, 14), golden(397, 400))
    assert (found.state, found.needed) == ("suspect", None)
    assert found.sentence.endswith("but not yet proved with 99 % confidence.")


# --- false alarms and power, simulated


def breaches(true_accuracy: float, labels: int, windows: int, seed: int, threshold: str = "0.5 points") -> float:
    """How often a model of this accuracy is blamed; windows with the same count are decided once."""
    errors = np.random.default_rng(seed).binomial(labels, 1 - true_accuracy, windows)
    decided = {
        int(wrong): accuracy(labelled(labels - int(wrong), int(wrong)), above=threshold).state == "breach"
        for wrong in np.unique(errors)
    }
    return float(np.mean([decided[int(wrong)] for wrong in errors]))


def test_a_healthy_model_is_blamed_far_less_than_the_rule_of_comparing_two_numbers_would() -> None:
    errors = np.random.default_rng(7).binomial(200, 0.008, 20_000)
    naive = float(np.mean(errors / 200 > 0.008 + 0.005))
    assert 0.19 < naive < 0.24  # the arithmetic that users of such monitors live with
    assert breaches(0.992, 200, 20_000, seed=7) < 0.001
    assert breaches(0.992, 50, 20_000, seed=8) < 0.01


def test_a_model_just_at_the_threshold_is_blamed_at_most_as_often_as_promised() -> None:
    for labels, seed in ((50, 1), (200, 2), (1000, 3)):
        assert breaches(0.987, labels, 20_000, seed) < 0.01


def test_a_model_that_has_really_become_worse_is_found() -> None:
    assert breaches(0.90, 200, 2000, seed=4) > 0.99
    assert breaches(0.94, 200, 2000, seed=5) > 0.85
    assert breaches(0.97, 3000, 500, seed=6) > 0.99


# --- latency ratio


def test_a_slow_server_is_a_breach() -> None:
    values = np.random.default_rng(1).gamma(9, 2, 400).tolist()
    found = latency(values)
    assert found.state == "breach"
    assert found.value == pytest.approx(float(np.quantile(values, 0.95)) / 5.0, rel=0.03)
    assert found.low is not None
    assert found.low > 2


def test_a_server_as_fast_as_before_is_ok() -> None:
    found = latency([5.0] * 400)
    assert (found.state, found.baseline) == ("ok", 5.0)
    assert found.value == pytest.approx(1.0, rel=0.01)
    assert found.sentence.startswith("95 % of 400 answers took at most 5.0 ms, ")


def test_a_few_slow_calls_are_suspect_not_proved() -> None:
    assert latency([5.0] * 94 + [50.0] * 6).state == "suspect"


def test_too_few_calls_decide_nothing() -> None:
    found = latency([50.0] * 10)
    assert (found.state, found.needed, found.high) == ("insufficient", 40, None)


def test_a_baseline_of_too_few_calls_or_none_decides_nothing() -> None:
    for baseline in (golden(1, 1, 5.0, 199), golden(1, 1)):
        found = latency([50.0] * 400, baseline)
        assert found.state == "insufficient"
        assert "it needs 200" in found.sentence


def test_no_calls_are_no_data() -> None:
    assert latency([]).state == "no-data"


def test_a_server_at_exactly_twice_the_baseline_is_rarely_blamed() -> None:
    p95 = 3 * 5.0
    generator = np.random.default_rng(12)
    scale = p95 / -np.log(0.05)
    blamed = [latency(generator.exponential(scale, 200).tolist(), above="3 x").state == "breach" for _ in range(1000)]
    assert np.mean(blamed) < 0.018  # 1 % promised, plus three standard errors of 1000 windows


# --- class error


def by_class(counts: dict[str, tuple[int, int]], **written: object) -> dict[str, Finding]:
    rows: list[Row] = []
    for name, (correct, wrong) in counts.items():
        rows += labelled(correct, wrong, name, start=len(rows))
    found = decide(rule("class_error", **{"min_samples": 30, **written}), tally(rows), GOLDEN)
    return {finding.key: finding for finding in found}


def test_only_the_class_that_fails_is_blamed() -> None:
    found = by_class({"3": (60, 40), "5": (99, 1), "7": (0, 5)})
    assert {key: finding.state for key, finding in found.items()} == {
        "3": "breach",
        "5": "ok",
        "7": "insufficient",
    }
    assert found["3"].value == pytest.approx(0.4)
    assert found["7"].needed == 25
    assert found["3"].sentence.startswith("Class 3: 40 of 100 labelled answers wrong, 40.0 %. With 99 % confidence")


def test_a_class_without_labels_has_no_finding() -> None:
    assert list(by_class({"3": (60, 1)})) == ["3"]


def test_a_window_without_labels_is_one_no_data() -> None:
    [found] = decide(rule("class_error"), tally([row(0)]), GOLDEN)
    assert (found.state, found.key) == ("no-data", "")


def test_the_same_errors_weigh_less_when_more_classes_are_looked_at() -> None:
    alone = by_class({"3": (32, 10)})
    among = by_class({name: (32, 10) if name == "3" else (42, 0) for name in "0123456789"})
    assert alone["3"].state == "breach"
    assert among["3"].state == "suspect"
    assert among["3"].low is not None
    assert alone["3"].low is not None
    assert among["3"].low < alone["3"].low


def test_after_one_proved_class_the_next_needs_a_little_less() -> None:
    counts = {"1": (0, 50), "2": (30, 14), "4": (50, 0)}
    confident = by_class(counts, confidence=0.95)
    shielded = by_class({**counts, "1": (50, 0)}, confidence=0.95)
    assert confident["2"].low is not None
    assert shielded["2"].low is not None
    assert confident["2"].low > shielded["2"].low


def test_no_healthy_class_of_ten_is_blamed_more_often_than_promised() -> None:
    generator = np.random.default_rng(21)
    alarms = 0
    for _ in range(300):
        wrong = generator.binomial(40, 0.1, 10)  # every class exactly at the threshold
        found = by_class({str(name): (40 - int(w), int(w)) for name, w in enumerate(wrong)}, confidence=0.95)
        alarms += any(finding.state == "breach" for finding in found.values())
    assert alarms / 300 < 0.05
