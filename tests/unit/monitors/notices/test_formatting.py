from monitors.rules.quantities import (
    baseline_text,
    count_text,
    duration_text,
    interval_text,
    join_names,
    metric_value_text,
    parse_duration,
    percent_text,
)


def test_each_metric_speaks_in_its_own_unit() -> None:
    assert metric_value_text("accuracy_drop", 0.0812) == "8.1 points"
    assert metric_value_text("class_error", 0.1) == "10.0 %"
    assert metric_value_text("latency_ratio", 2.5) == "2.50 x"
    assert metric_value_text("latency_ratio", None) == "—"


def test_a_baseline_is_an_accuracy_or_milliseconds() -> None:
    assert baseline_text("accuracy_drop", 0.992) == "99.2 %"
    assert baseline_text("latency_ratio", 12.34) == "12.3 ms"
    assert baseline_text("class_error", None) == "—"


def test_an_interval_may_be_open_on_either_side() -> None:
    assert interval_text("latency_ratio", 1.5, None) == "at least 1.50 x"
    assert interval_text("latency_ratio", None, 3) == "at most 3.00 x"
    assert interval_text("class_error", 0.05, 0.2) == "5.0 % to 20.0 %"
    assert interval_text("class_error", None, None) == "—"


def test_counts_read_well() -> None:
    assert count_text(1, "label") == "1 label"
    assert count_text(1200, "label") == "1,200 labels"
    assert percent_text(0.5) == "50.0 %"


def test_durations_read_as_rules_write_them() -> None:
    written = ("0s", "30s", "90m", "4h", "1d", "36h", "2w")
    lengths = [parse_duration(text) for text in written]
    assert tuple(duration_text(length) for length in lengths) == written


def test_lists_count_what_they_leave_out() -> None:
    assert join_names(["3", "5", "8"], 3) == "3, 5, 8"
    assert join_names(["3", "5", "8"], 2) == "3, 5 and 1 more"
