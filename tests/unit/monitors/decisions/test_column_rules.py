"""Rules about single columns: what they blame, how they say it, and how often they are wrong."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from monitors.decisions.decision import decide
from monitors.decisions.finding import Finding
from monitors.rules.alerts_config import Rule, parse_rules
from monitors.windows.column_window import CellLayout, ColumnCounts, ColumnWindow
from monitors.windows.window_counts import WindowCounts
from tests.support.monitor_examples import golden, rule, tally

AGE = CellLayout(("18 to 40", "40 to 60", "60 to 90", "below 18", "above 90", "missing"), has_range=True)
PLAN = CellLayout(("gold", "free", "another known category", "a category that is not known", "missing"), True)
METRICS = ("column_missing", "column_unseen", "column_range", "column_drift", "column_skew")


def age(*newest: int, reference: tuple[int, ...] = (300, 400, 300, 0, 0, 0), name: str = "age") -> ColumnCounts:
    return ColumnCounts(name, AGE, reference, newest)


def plan(*newest: int, reference: tuple[int, ...] = (500, 480, 20, 0, 0)) -> ColumnCounts:
    return ColumnCounts("plan", PLAN, reference, newest)


def counted(*columns: ColumnCounts, complete: bool = True) -> WindowCounts:
    rows = max(sum(column.newest) for column in columns)
    window = ColumnWindow(columns, rows, "rows that version 3 was made with", complete)
    return replace(tally([]), columns=window)


def found(made: Rule, counts: WindowCounts) -> dict[str, Finding]:
    return {finding.key: finding for finding in decide(made, counts, golden(0, 0))}


def test_missing_values_are_blamed_on_their_column() -> None:
    counts = counted(age(250, 350, 250, 0, 0, 150), plan(480, 500, 20, 0, 0))
    findings = found(rule("column_missing"), counts)
    assert {key: finding.state for key, finding in findings.items()} == {"age": "breach", "plan": "ok"}
    assert findings["age"].value == 0.15
    assert findings["age"].sentence.startswith(
        "Column age: 150 of 1,000 rows have no value, 15.0 %, against 0.0 % of the 1,000 rows that version 3 was made "
        "with. With 99 % confidence the rise is at least 1"
    )


def test_values_that_were_missing_before_are_no_rise() -> None:
    sparse = age(250, 350, 200, 0, 0, 200, reference=(250, 350, 200, 0, 0, 200))
    assert found(rule("column_missing"), counted(sparse))["age"].state == "ok"


def test_a_rise_that_luck_may_have_made_is_suspect() -> None:
    assert found(rule("column_missing"), counted(age(330, 330, 325, 0, 0, 15)))["age"].state == "suspect"


def test_unknown_categories_and_values_outside_the_range_are_of_their_kinds_of_columns() -> None:
    counts = counted(age(300, 350, 300, 48, 2, 0), plan(400, 480, 20, 100, 0))
    [(name, unseen)] = found(rule("column_unseen"), counts).items()
    assert (name, unseen.state) == ("plan", "breach")
    assert "100 of 1,000 rows have a category that version 3 does not know, 10.0 %" in unseen.sentence
    [(name, outside)] = found(rule("column_range"), counts).items()
    assert (name, outside.state) == ("age", "breach")
    assert "50 of 1,000 rows lie outside the range (48 below 18, 2 above 90), 5.0 %" in outside.sentence


def test_a_version_that_noted_nothing_is_blamed_for_values_out_of_range_only() -> None:
    """What was always missing, or always spread like that, is not known of it; its range and categories are."""
    counts = counted(age(250, 350, 100, 150, 0, 150, reference=(0,) * 6))
    outside = found(rule("column_range"), counts)["age"]
    assert outside.state == "breach"
    assert ", 15.0 %. With" in outside.sentence
    for metric in ("column_missing", "column_skew"):
        finding = found(rule(metric), counts)[""]
        assert finding.state == "no-data"
        assert "did not note" in finding.sentence


@pytest.mark.parametrize("metric", ["column_drift", "column_skew"])
def test_drift_names_the_cells_that_changed_most(metric: str) -> None:
    counts = counted(age(100, 400, 500, 0, 0, 0), plan(505, 476, 19, 0, 0))
    findings = found(rule(metric), counts)
    assert {key: finding.state for key, finding in findings.items()} == {"age": "breach", "plan": "ok"}
    assert findings["age"].value == pytest.approx(0.2, abs=0.01)
    assert "60 to 90 50.0 % (then 30.0 %); 18 to 40 10.0 % (then 30.0 %)" in findings["age"].sentence
    assert "like the 1,000 rows that version 3 was made with" in findings["age"].sentence
    assert findings["age"].sentence.endswith("Whether answers suffer, only labels can tell.")


def test_a_distance_below_the_threshold_is_well_however_sure_it_is() -> None:
    counts = counted(age(27_000, 40_000, 33_000, 0, 0, 0, reference=(30_000, 40_000, 30_000, 0, 0, 0)))
    assert found(rule("column_drift"), counts)["age"].state == "ok"


def test_a_reference_that_is_not_complete_or_too_small_decides_nothing() -> None:
    young = found(rule("column_drift"), counted(age(100, 400, 500, 0, 0, 0), complete=False))[""]
    assert young.state == "insufficient"
    assert "has not served for 1w yet" in young.sentence
    few = found(rule("column_drift"), counted(age(100, 400, 500, 0, 0, 0, reference=(5, 5, 5, 0, 0, 0))))[""]
    assert few.state == "insufficient"
    assert "There are 15 rows that version 3 was made with" in few.sentence


@pytest.mark.parametrize("metric", METRICS)
def test_too_few_rows_decide_nothing_and_none_is_no_data(metric: str) -> None:
    few = found(rule(metric), counted(age(5, 5, 0, 0, 0, 0), plan(5, 5, 0, 0, 0)))[""]
    assert (few.state, few.needed) == ("insufficient", 40)
    none = found(rule(metric), counted(age(0, 0, 0, 0, 0, 0), plan(0, 0, 0, 0, 0)))[""]
    assert none.state == "no-data"


@pytest.mark.parametrize("metric", METRICS)
def test_a_version_without_columns_says_so(metric: str) -> None:
    assert "takes no table" in found(rule(metric), tally([]))[""].sentence


def test_a_rule_may_be_for_some_columns() -> None:
    counts = counted(age(250, 350, 250, 0, 0, 150), plan(400, 480, 20, 0, 100))
    assert set(found(rule("column_missing", column="plan"), counts)) == {"plan"}
    assert set(found(rule("column_missing", column=["plan", "age"]), counts)) == {"age", "plan"}
    unknown = found(rule("column_missing", column=["plan", "years"]), counts)[""]
    assert unknown.state == "no-data"
    assert "has no column 'years' that is counted; it has age, plan." in unknown.sentence
    assert found(rule("column_range", column="plan"), counts)[""].state == "no-data"


def test_the_columns_of_one_rule_share_the_chance_of_a_false_alarm() -> None:
    """What one column alone would prove, it does not among a hundred others."""
    guilty = age(321, 330, 322, 0, 0, 27)
    alone = found(rule("column_missing"), counted(guilty))["age"]
    others = [age(333, 333, 334, 0, 0, 0, name=f"column {n}") for n in range(100)]
    among = found(rule("column_missing"), counted(guilty, *others))["age"]
    assert (alone.state, among.state) == ("breach", "suspect")


def test_windows_are_whole_hours_and_columns_are_for_rules_about_columns() -> None:
    with pytest.raises(ValidationError, match="no number of whole hours"):
        rule("column_missing", window="90m")
    with pytest.raises(ValidationError, match="means nothing for metric"):
        rule("accuracy_drop", column="age")
    with pytest.raises(ValidationError, match="is not possible"):
        rule("column_drift", action="retrain")


def test_rules_are_written_as_any_other() -> None:
    text = (
        "version: 1\nmodel: churn\nrules:\n"
        "  - {name: gaps, metric: column_missing, column: [age, plan], above: 1 %, window: 1d, min_samples: 200,\n"
        "     false_alarms: 1 per 90d}\n"
    )
    [made] = parse_rules(text, "alerts.yaml", {}).rules
    assert made.column == ("age", "plan")
    assert made.confidence == pytest.approx(1 - 1 / (90 * 288))


def test_healthy_columns_are_blamed_within_the_level_and_sick_ones_are_found() -> None:
    """Eight columns of 1,000 rows against 6,000, by each metric at a level of 5 % a look: false alarms and power."""
    rng, runs = np.random.default_rng(17), 100
    shares = np.array([0.3, 0.38, 0.28, 0.005, 0.005, 0.03])
    sick = np.array([0.2, 0.28, 0.31, 0.06, 0.05, 0.1])

    def drawn(name: str, newest: np.ndarray) -> ColumnCounts:
        reference = tuple(rng.multinomial(6_000, shares).tolist())
        return age(*rng.multinomial(1_000, newest).tolist(), reference=reference, name=name)

    rules = [
        rule(metric, above="0 %", confidence=0.95) for metric in ("column_missing", "column_range", "column_drift")
    ]
    for made in rules:
        blamed = found_sick = 0
        for _ in range(runs):
            findings = found(made, counted(*(drawn(f"healthy {n}", shares) for n in range(7)), drawn("ill", sick)))
            found_sick += findings.pop("ill").state == "breach"
            blamed += any(finding.state == "breach" for finding in findings.values())
        assert blamed <= 0.05 * runs, made.metric
        assert found_sick >= 0.95 * runs, made.metric
