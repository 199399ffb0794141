"""Numbers of a metric in plain words; decides nothing."""

from monitors.quantities import Metric


def percent(share: float) -> str:
    """0.9234 as "92.3 %"."""
    return f"{100 * share:.1f} %"


def amount(metric: Metric, value: float | None) -> str:
    """A value of a metric with its unit; a dash where there is none."""
    if value is None:
        return "—"
    if metric == "latency_ratio":
        return f"{value:.2f} x"
    return f"{100 * value:.1f} points" if metric == "accuracy_drop" else percent(value)


def baseline(metric: Metric, value: float | None) -> str:
    """What a metric is held against: an accuracy, or milliseconds."""
    if value is None:
        return "—"
    return f"{value:.1f} ms" if metric == "latency_ratio" else percent(value)


def interval(metric: Metric, low: float | None, high: float | None) -> str:
    """Both limits with their unit; an open end where the sample gives no limit."""
    if low is None and high is None:
        return "—"
    if low is None:
        return f"at most {amount(metric, high)}"
    return f"at least {amount(metric, low)}" if high is None else f"{amount(metric, low)} to {amount(metric, high)}"


def counted(number: int, noun: str) -> str:
    """3 as "3 labels", 1 as "1 label"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
