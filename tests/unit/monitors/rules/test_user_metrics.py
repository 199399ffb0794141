"""Metrics of one's own: a function or an Evidently class, with limits; what fails says why and decides nothing."""

from dataclasses import replace
from typing import Any

import pytest

from monitors.decisions.decision import decide
from monitors.decisions.finding import Finding
from monitors.errors import MetricsError
from monitors.windows.user_metrics import estimate_rows, load_function
from monitors.windows.window import Window
from monitors.windows.window_counts import EstimateFromRows
from tests.support.monitor_examples import golden, labelled, row, rule, tally, window

ROWS = labelled(90, 10, "3")
OWN = "python:tests.support.user_metrics"


def decided(metric: str, rows: Window | None = None, **written: object) -> Finding:
    made = rule(metric, **{"above": 0.5, "min_samples": 50, **written})
    sampled = estimate_rows(made, rows or window(ROWS))
    [found] = decide(made, replace(tally(ROWS), row_estimate=sampled), golden(1, 1))
    return found


def test_a_function_is_decided_by_its_interval() -> None:
    found = decided(f"{OWN}:share_of_threes")
    assert (found.state, found.value, found.n) == ("breach", 0.9, 100)
    assert found.low is not None
    assert 0.5 < found.low < 0.9
    assert found.sentence.startswith(
        "tests.support.user_metrics:share_of_threes is 0.9 on 100 labelled answers. With 99 %"
    )
    assert decided(f"{OWN}:share_of_threes", above=0.89).state == "suspect"
    assert decided(f"{OWN}:share_of_threes", above=None, below=0.95).state == "suspect"
    assert decided(f"{OWN}:share_of_threes", above=None, below=0.999).state == "breach"


def test_a_function_sees_labelled_answers_of_the_sources_and_their_weights() -> None:
    heavy = [replace(each, weight=9.0 if not each.correct else 1.0) for each in ROWS]
    wrong = labelled(0, 60, "3", start=500, source="correction")
    assert decided(f"{OWN}:weighted_accuracy", window([*heavy, *wrong])).value == pytest.approx(0.5)


def test_a_function_may_be_asked_for_all_answers() -> None:
    rows = window([*ROWS, *(row(900 + place) for place in range(100)), *labelled(0, 50, "3", 1100, "correction")])
    found = decided(f"{OWN}:known", rows, over="answers")
    assert (found.value, found.n) == (0.4, 250)
    assert "on 250 answers." in found.sentence


@pytest.mark.parametrize(
    ("metric", "fault"),
    [
        (f"{OWN}:broken", "it fails with KeyError: 'no\\ncolumn in 100 rows'; mend tests.support.user_metrics:broken"),
        (f"{OWN}:leaves", "it fails with SystemExit: 3; mend"),
        (f"{OWN}:says", "a metric must be one number, not 'many'"),
        (f"{OWN}:endless", "a metric must be a finite number, not inf"),
        (f"{OWN}:absent", "has no function 'absent'; write one that takes a Window"),
        (
            "python:nowhere.to_be:found",
            "module 'nowhere.to_be' cannot be found; install it, or put its folder on PYTHONPATH",
        ),
        ("python:tests.support.broken_import:f", "fails while it is imported: RuntimeError: no licence; mend it"),
    ],
)
def test_a_function_that_fails_decides_nothing_and_says_why(metric: str, fault: str) -> None:
    found = decided(metric)
    assert (found.state, found.value) == ("no-data", None)
    assert found.sentence.startswith(f"{metric} could not be computed: ")
    assert fault in found.sentence
    assert "\n" not in found.sentence


def test_too_few_rows_are_not_measured_at_all() -> None:
    found = decided(f"{OWN}:broken", min_samples=101)
    assert (found.state, found.needed) == ("insufficient", 1)
    assert found.sentence == "There are 100 labelled answers. The rule decides from 101 labels on; 1 more needed."
    assert estimate_rows(rule("macro_f1", above=None, below="98 %"), window([])) == EstimateFromRows(0)


def test_no_labels_are_no_data_and_name_the_slice() -> None:
    made = rule("macro_f1", above=None, below="98 %", slice={"scanner": "flatbed"})
    [found] = decide(made, replace(tally([]), predictions=7), golden(1, 1))
    assert found.sentence == ("None of 7 answers in the window has a label from audit or delayed with scanner flatbed.")


def test_macro_f1_is_broken_below_and_its_limits_stay_shares() -> None:
    rows = window(labelled(170, 30, "3") + labelled(199, 1, "4", start=500))
    found = decided("macro_f1", rows, above=None, below="98 %")
    assert found.state == "breach"
    assert found.high is not None
    assert found.high < 0.98
    assert "macro F1 is at most" in found.sentence
    assert found.sentence.endswith("the rule asks for 98.0 %.")
    perfect = decided("macro_f1", window(labelled(100, 0, "3")), above=None, below="98 %")
    assert (perfect.state, perfect.low, perfect.high, perfect.clear) == ("ok", 1.0, 1.0, True)


def test_calibration_is_decided_from_confidences() -> None:
    rows = window([replace(each, confidence=0.99) for each in labelled(60, 40, "3")])
    found = decided("calibration_error", rows, above="5 %")
    assert found.state == "breach"
    assert found.sentence.startswith("The calibration error is 3")


def test_evidently_metrics_go_by_their_class_names() -> None:
    found = decided("evidently:Accuracy", above=None, below=0.99)
    assert (found.state, found.value) == ("breach", 0.9)
    assert decided("evidently:MeanValue", params={"column": "confidence"}).value == pytest.approx(0.9)
    share = decided("evidently:CategoryCount", params={"column": "label", "category": "3"}, value="share")
    assert share.value == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("metric", "written", "fault"),
    [
        ("evidently:Acuracy", {}, "has no metric 'Acuracy'; near to it: Accuracy"),
        ("evidently:Report", {}, "has no metric 'Report'"),
        ("evidently:MeanValue", {"params": {"colum": "x"}}, "Evidently's MeanValue does not take {'colum': 'x'}"),
        ("evidently:MeanValue", {"params": {"column": "x"}}, "Evidently could not compute"),
        ("evidently:RecallByLabel", {}, "gives 3; choose one with `value`"),
        ("evidently:Accuracy", {"value": "3"}, "gives one number, not '3'; leave `value` out"),
    ],
)
def test_an_evidently_metric_that_cannot_be_says_why(metric: str, written: dict[str, Any], fault: str) -> None:
    found = decided(metric, **written)
    assert found.state == "no-data"
    assert fault in found.sentence


def test_what_is_decided_by_counts_is_not_measured_from_rows() -> None:
    found = estimate_rows(rule("accuracy_drop"), window(ROWS))
    assert "is not computed from rows" in found.problem


def test_a_function_is_found_by_its_name() -> None:
    assert load_function("math:sqrt")(4) == 2  # type: ignore[arg-type]
    with pytest.raises(MetricsError, match="'math' has no function 'pi'"):
        load_function("math:pi")
