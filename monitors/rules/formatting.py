"""Numbers of a metric in plain words; decides nothing."""

import unicodedata
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, assert_never

from monitors.rules.metric_catalog import kind_of

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_UNITS: Final = (("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def percent(share: float) -> str:
    """0.9234 as "92.3 %"."""
    return f"{100 * share:.1f} %"


def amount(metric: str, value: float | None) -> str:
    """A value of a metric with its unit; a dash where there is none."""
    if value is None:
        return "—"
    match kind_of(metric).units[0]:
        case "points":
            return f"{100 * value:.1f} points"
        case "%":
            return percent(value)
        case "x":
            return f"{value:.2f} x"
        case "answers":
            return counted(round(value), "answer")
        case "duration":
            return about(value)
        case "":
            return f"{value:.4g}"
        case unit:
            assert_never(unit)


def baseline(metric: str, value: float | None) -> str:
    """What a metric is held against: an accuracy, or milliseconds."""
    if value is None:
        return "—"
    return milliseconds(value) if kind_of(metric).held_against == "ms" else percent(value)


def milliseconds(value: float) -> str:
    """12.34 as "12.3 ms", and below 1 two decimals, where a tenth is much: "0.31 ms"."""
    return f"{value:.{1 if value >= 1 else 2}f} ms"


def interval(metric: str, low: float | None, high: float | None) -> str:
    """Both limits with their unit; an open end where the sample gives no limit."""
    if low is None and high is None:
        return "—"
    if low is None:
        return f"at most {amount(metric, high)}"
    return f"at least {amount(metric, low)}" if high is None else f"{amount(metric, low)} to {amount(metric, high)}"


def compared(drop: float) -> str:
    """How an accuracy lies against another: 0.02 as "2.0 points lower"."""
    return f"{100 * abs(drop):.1f} points {'lower' if drop > 0 else 'higher'}" if round(drop, 3) else "no difference"


def counted(number: int, noun: str) -> str:
    """3 as "3 labels", 1 as "1 label"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def about(seconds: float) -> str:
    """A length of time with one decimal of its largest unit: "2.4d"."""
    size, unit = next(((size, unit) for unit, size in _UNITS[1:] if seconds >= size), (1, "s"))
    return f"{seconds / size:.1f}{unit}"


def duration(length: timedelta) -> str:
    """A length of whole seconds as rules write it: "4h", "90m"; "0s" for none."""
    seconds = int(length.total_seconds())
    return next((f"{seconds // size}{unit}" for unit, size in _UNITS if seconds and seconds % size == 0), "0s")


def cleaned(text: str) -> str:
    """Text from outside as one line for people: without control characters, breaks and marks that turn it around."""
    visible = "".join(" " if unicodedata.category(each) in _UNSEEN else each for each in text)
    return " ".join(visible.split())


def sentences_within(sentences: Sequence[str], most: int, longest: int, noun: str = "sentence") -> list[str]:
    """As many whole sentences as fit, `most` at most; the others are counted in a last one, which always fits.

    Together with line breaks they are no longer than `longest` characters, unless the first alone is.
    """
    for kept in range(min(most, len(sentences)), 0, -1):
        rest = len(sentences) - kept
        shown = [*sentences[:kept], *([f"And {counted(rest, noun)} more."] if rest else [])]
        if kept == 1 or len("\n".join(shown)) <= longest:
            return shown
    return []


def listed_within(names: Sequence[str], most: int, longest: int) -> str:
    """`listed`, in at most so many characters: fewer names, and a single one is cut, before the count is."""
    for kept in range(min(most, len(names)), 0, -1):
        shown = listed(names, kept)
        if len(shown) <= longest:
            return shown
    rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0][: max(1, longest - len(rest) - 1)]}…{rest}" if names else ""


def listed(names: Sequence[str], most: int) -> str:
    """Names with commas; those beyond `most` are counted."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
