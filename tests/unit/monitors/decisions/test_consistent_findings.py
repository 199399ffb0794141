"""Each number of a finding says which rows it is of, and no moment is told that never was."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from monitors.decisions.decision import decide
from monitors.decisions.finding import missing_data_of
from monitors.windows.window_counts import LabelCount
from tests.support.monitor_examples import NOON, golden, rule, tally

GOLDEN = golden(2976, 3000)
BEGAN = NOON - timedelta(hours=40)


def test_labels_of_several_weights_are_told_as_weighted_and_as_counted() -> None:
    """300 labels of answers that had to be drawn, 71.7 % right, and one that stands for 400 answers."""
    cells = (
        LabelCount("audit", "1", "1", 1.0, 215),
        LabelCount("audit", "1", "2", 1.0, 85),
        LabelCount("audit", "1", "1", 400.0, 1),
    )
    seen = replace(tally([]), predictions=1000, labels=cells)
    [found] = decide(rule(), seen, GOLDEN)
    assert found.sentence.startswith(
        "Accuracy is 87.9 % on 301 labelled answers, weighted by their chance to be drawn (71.8 % as counted), against "
    )
    [found] = decide(rule("class_error"), seen, GOLDEN)
    assert found.sentence.startswith(
        "Class 1: 85 of 301 labelled answers wrong, 28.2 %; weighted by their chance to be drawn, that is 12.1 % of all"
    )
    assert found.value == pytest.approx(85 / 700)


def test_labels_of_two_sources_are_two_samples_and_the_larger_one_is_shown() -> None:
    cells = (
        LabelCount("delayed", "1", "1", 1.0, 215),
        LabelCount("delayed", "1", "2", 1.0, 85),
        LabelCount("audit", "1", "1", 400.0, 1),
    )
    seen = replace(tally([]), predictions=1000, labels=cells)
    [found] = decide(rule(), seen, GOLDEN)
    assert found.sentence.startswith("Accuracy is 71.7 % on 300 labelled answers, by delayed labels, against 99.2 % ")
    [found] = decide(rule("class_error"), seen, GOLDEN)
    assert found.sentence.startswith("Class 1: 85 of 300 labelled answers wrong, by delayed labels, 28.3 %. ")


def test_a_share_of_counted_labels_is_the_quotient_that_stands_beside_it() -> None:
    cells = (LabelCount("audit", "1", "1", 1.0, 215), LabelCount("audit", "1", "2", 1.0, 85))
    [found] = decide(rule("class_error"), replace(tally([]), predictions=1000, labels=cells), GOLDEN)
    wrong, n, share = re.match(r"Class 1: (\d+) of (\d+) labelled answers wrong, ([\d.]+) %\.", found.sentence).groups()  # type: ignore[union-attr]
    assert float(share) == pytest.approx(100 * int(wrong) / int(n), abs=0.05)


def test_groups_say_which_shares_are_weighted() -> None:
    groups = {
        "a": (LabelCount("delayed", "1", "1", 1.0, 60), LabelCount("audit", "1", "2", 30.0, 10)),
        "b": (LabelCount("delayed", "1", "1", 1.0, 80),),
    }
    first, second = decide(rule("group_gap", by="client"), replace(tally([]), predictions=1000, groups=groups), GOLDEN)
    assert (
        "16.7 % right on 70 labelled answers, weighted by their chance to be drawn (85.7 % as counted)"
        in first.sentence
    )
    assert "100.0 % right on 80 labelled answers, against 16.7 % on 70 others, weighted by" in second.sentence


def test_a_label_that_never_came_is_not_told_to_have_come() -> None:
    found = missing_data_of(rule(no_data="1h"), tally([]), None, BEGAN)
    assert found is not None
    assert found.state == "breach"
    assert found.sentence == (
        "No label from audit or delayed has come since version 3 began to serve at 2026-02-27 20:00 UTC; "
        "the rule can decide nothing without."
    )


def test_a_label_from_before_the_version_served_again_does_not_count_as_news() -> None:
    found = missing_data_of(rule(no_data="1h"), tally([]), BEGAN - timedelta(days=3), BEGAN)
    assert found is not None
    assert "has come since version 3 began to serve at 2026-02-27 20:00 UTC" in found.sentence


def test_the_last_label_is_told_where_there_was_one() -> None:
    found = missing_data_of(rule(no_data="1h"), tally([]), NOON, BEGAN)
    assert found is not None
    assert found.sentence.startswith("The last label from audit or delayed came 2026-03-01 12:00 UTC; ")


def test_a_version_that_just_began_is_given_its_time() -> None:
    seen = tally([])
    found = missing_data_of(rule("volume", no_data="1h"), seen, None, seen.end - timedelta(minutes=59))
    assert found is not None
    assert (found.state, found.clear) == ("ok", True)
    assert found.sentence.startswith("No answer has come since version 3 began to serve at ")
