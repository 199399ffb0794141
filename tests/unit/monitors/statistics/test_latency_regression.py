"""Whether a new version is surely slower than the one before."""

from collections import Counter

import numpy as np
import pytest

from monitors.decisions.latency_regression import find_latency_regression, latency_limits
from monitors.errors import WindowError
from monitors.windows.latency_bins import BinCounts, latency_bin
from monitors.windows.window import HostLatency


def bins(values: np.ndarray) -> BinCounts:
    return Counter(latency_bin(float(value)) for value in values)


def spread(median_ms: float, n: int, seed: int = 1) -> BinCounts:
    """Latencies as servers have them: a long tail to the right."""
    return bins(median_ms * np.random.default_rng(seed).lognormal(0, 0.25, n))


def test_answers_that_surely_take_too_long_are_found_on_the_host_where_they_do() -> None:
    seen = {"old": spread(20.0, 400), "new": spread(2.0, 400)}
    found = find_latency_regression(seen, {"old": 3.0, "new": 3.0}, 2.0, 200, 1e-5)
    assert found is not None
    assert (found.host, found.n, found.limit_ms) == ("old", 400, 3.0)
    assert 6.0 < found.p95_lower_ms < 20 * np.exp(0.25 * 1.645)
    assert found.sentence(5, 4).startswith("The 95th percentile of 400 answers of version 5 on old is surely at least")
    assert found.sentence(5, 4).endswith("that version 4 took there; 2 times are allowed.")


@pytest.mark.parametrize("n", [20, 199])
def test_too_few_answers_decide_nothing(n: int) -> None:
    assert find_latency_regression({"host": spread(50.0, n)}, {"host": 3.0}, 2.0, 200, 1e-5) is None


def test_a_host_that_the_version_before_never_served_on_decides_nothing() -> None:
    assert find_latency_regression({"fresh": spread(50.0, 400)}, {"other": 3.0}, 2.0, 200, 1e-5) is None
    assert find_latency_regression({}, {"other": 3.0}, 2.0, 200, 1e-5) is None


def test_a_version_exactly_at_the_limit_is_found_slower_no_more_often_than_the_level_says() -> None:
    level, runs = 0.05, 400
    p95 = float(np.exp(0.25 * 1.6448536))
    found = [
        find_latency_regression({"host": spread(2.0, 300, seed)}, {"host": p95}, 2.0, 200, level)
        for seed in range(runs)
    ]
    assert sum(each is not None for each in found) <= runs * level + 2 * (runs * level) ** 0.5


def test_the_usual_pace_is_what_clients_saw_and_no_less_than_was_measured() -> None:
    measured = {"a": HostLatency(3.0, 200), "b": HostLatency(9.0, 300), "few": HostLatency(1.0, 199)}
    seen = {"a": spread(8.0, 5000), "b": spread(2.0, 5000), "c": spread(5.0, 5000), "none": {}, "two": {9: 2}}
    usual = latency_limits(measured, seen)
    assert sorted(usual) == ["a", "b", "c"]
    assert usual["a"] == pytest.approx(8 * np.exp(0.25 * 1.645), rel=0.06)
    assert usual["b"] == 9.0


def test_a_level_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(WindowError, match="chance of 0"):
        find_latency_regression({}, {}, 2.0, 200, 0.0)
