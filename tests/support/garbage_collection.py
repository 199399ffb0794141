"""Collects garbage rarely while tests run, and never looks again at what the libraries keep.

A full collection visits every object of torch, mlflow and the tests themselves, hundreds of thousands in 0.2 to 0.8 s,
and a test process made one for every dozen servers that it built.
"""

import gc

import pytest

THRESHOLDS = (20_000, 10, 10)
"""Allocations until a collection of the youngest objects, and of those until the next of the older ones."""

gc.set_threshold(*THRESHOLDS)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Set aside what importing the tests has made: it lives as long as the process."""
    gc.collect()
    gc.freeze()
