"""Functions that rules of the tests name."""

import threading

from monitors.windows.window import Window

ENTERED, GO_ON = threading.Event(), threading.Event()


def share_read_as_five(window: Window) -> float:
    return sum(row.label == "5" for row in window.rows) / len(window.rows)


def broken(window: Window) -> float:
    raise KeyError("no such column")


def waits(window: Window) -> float:
    ENTERED.set()
    GO_ON.wait(20)
    return 0.1
