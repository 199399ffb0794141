from monitors.rules.formatting import amount, baseline, counted, duration, interval, listed, percent
from monitors.rules.units import parse_duration


def test_each_metric_speaks_in_its_own_unit() -> None:
    assert amount("accuracy_drop", 0.0812) == "8.1 points"
    assert amount("class_error", 0.1) == "10.0 %"
    assert amount("latency_ratio", 2.5) == "2.50 x"
    assert amount("latency_ratio", None) == "—"


def test_a_baseline_is_an_accuracy_or_milliseconds() -> None:
    assert baseline("accuracy_drop", 0.992) == "99.2 %"
    assert baseline("latency_ratio", 12.34) == "12.3 ms"
    assert baseline("class_error", None) == "—"


def test_an_interval_may_be_open_on_either_side() -> None:
    assert interval("latency_ratio", 1.5, None) == "at least 1.50 x"
    assert interval("latency_ratio", None, 3) == "at most 3.00 x"
    assert interval("class_error", 0.05, 0.2) == "5.0 % to 20.0 %"
    assert interval("class_error", None, None) == "—"


def test_counts_read_well() -> None:
    assert counted(1, "label") == "1 label"
    assert counted(1200, "label") == "1,200 labels"
    assert percent(0.5) == "50.0 %"


def test_durations_read_as_rules_write_them() -> None:
    written = ("0s", "30s", "90m", "4h", "1d", "36h", "2w")
    lengths = [parse_duration(text) for text in written]
    assert tuple(duration(length) for length in lengths) == written


def test_lists_count_what_they_leave_out() -> None:
    assert listed(["3", "5", "8"], 3) == "3, 5, 8"
    assert listed(["3", "5", "8"], 2) == "3, 5 and 1 more"
