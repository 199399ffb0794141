"""Numbers of a metric in plain words; decides nothing."""

import unicodedata
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, assert_never

from monitors.rules.metric_catalog import metric_spec

_INVISIBLE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_UNITS: Final = (("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def percent_text(share: float) -> str:
    """0.9234 as "92.3 %"."""
    return f"{100 * share:.1f} %"


def metric_value_text(metric: str, value: float | None) -> str:
    """A value of a metric with its unit; a dash where there is none."""
    if value is None:
        return "—"
    match metric_spec(metric).units[0]:
        case "points":
            return f"{100 * value:.1f} points"
        case "%":
            return percent_text(value)
        case "x":
            return f"{value:.2f} x"
        case "answers":
            return count_text(round(value), "answer")
        case "duration":
            return approximate_duration_text(value)
        case "":
            return f"{value:.4g}"
        case unit:
            assert_never(unit)


def baseline_text(metric: str, value: float | None) -> str:
    """What a metric is held against: an accuracy, or milliseconds."""
    if value is None:
        return "—"
    return milliseconds_text(value) if metric_spec(metric).baseline_unit == "ms" else percent_text(value)


def milliseconds_text(value: float) -> str:
    """12.34 as "12.3 ms", and below 1 two decimals, where a tenth is much: "0.31 ms"."""
    return f"{value:.{1 if value >= 1 else 2}f} ms"


def interval_text(metric: str, low: float | None, high: float | None) -> str:
    """Both limits with their unit; an open end where the sample gives no limit."""
    if low is None and high is None:
        return "—"
    if low is None:
        return f"at most {metric_value_text(metric, high)}"
    return (
        f"at least {metric_value_text(metric, low)}"
        if high is None
        else f"{metric_value_text(metric, low)} to {metric_value_text(metric, high)}"
    )


def accuracy_change_text(drop: float) -> str:
    """How an accuracy lies against another: 0.02 as "2.0 points lower"."""
    return f"{100 * abs(drop):.1f} points {'lower' if drop > 0 else 'higher'}" if round(drop, 3) else "no difference"


def count_text(number: int, noun: str) -> str:
    """3 as "3 labels", 1 as "1 label"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def approximate_duration_text(seconds: float) -> str:
    """A length of time with one decimal of its largest unit: "2.4d"."""
    size, unit = next(((size, unit) for unit, size in _UNITS[1:] if seconds >= size), (1, "s"))
    return f"{seconds / size:.1f}{unit}"


def duration_text(length: timedelta) -> str:
    """A length of whole seconds as rules write it: "4h", "90m"; "0s" for none."""
    seconds = int(length.total_seconds())
    return next((f"{seconds // size}{unit}" for unit, size in _UNITS if seconds and seconds % size == 0), "0s")


def single_line(text: str) -> str:
    """Text from outside as one line for people: without control characters, breaks and marks that turn it around."""
    visible = "".join(" " if unicodedata.category(each) in _INVISIBLE_CATEGORIES else each for each in text)
    return " ".join(visible.split())


def sentences_within(sentences: Sequence[str], most: int, longest: int, noun: str = "sentence") -> list[str]:
    """As many whole sentences as fit, `most` at most; the others are counted in a last one, which always fits.

    Together with line breaks they are no longer than `longest` characters, unless the first alone is.
    """
    for kept in range(min(most, len(sentences)), 0, -1):
        rest = len(sentences) - kept
        shown = [*sentences[:kept], *([f"And {count_text(rest, noun)} more."] if rest else [])]
        if kept == 1 or len("\n".join(shown)) <= longest:
            return shown
    return []


def join_names_within(names: Sequence[str], most: int, longest: int) -> str:
    """`listed`, in at most so many characters: fewer names, and a single one is cut, before the count is."""
    for kept in range(min(most, len(names)), 0, -1):
        shown = join_names(names, kept)
        if len(shown) <= longest:
            return shown
    rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0][: max(1, longest - len(rest) - 1)]}…{rest}" if names else ""


def join_names(names: Sequence[str], most: int) -> str:
    """Names with commas; those beyond `most` are counted."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
