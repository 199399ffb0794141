"""Waiting for what happens, instead of for a length of time."""

import time
from collections.abc import Callable

import pytest


def eventually(condition: Callable[[], object], what: str = "what the test waits for", seconds: float = 60.0) -> None:
    """Wait until the condition holds; the test fails, saying what did not happen, only when nothing will come of it."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.01)
