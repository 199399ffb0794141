"""Metrics as somebody might write them, good and bad."""

import sys

from monitors.windows.window import Window


def share_of_threes(window: Window) -> float:
    return sum(row.label == "3" for row in window.rows) / len(window.rows)


def weighted_accuracy(window: Window) -> float:
    return sum(row.weight * row.correct for row in window.rows) / sum(row.weight for row in window.rows)


def known(window: Window) -> float:
    return sum(row.truth is not None for row in window.rows) / len(window.rows)


def broken(window: Window) -> float:
    raise KeyError(f"no\ncolumn in {len(window.rows)} rows")


def leaves(window: Window) -> float:
    sys.exit(3)


def says(window: Window) -> str:
    return "many"


def endless(window: Window) -> float:
    return float("inf")
