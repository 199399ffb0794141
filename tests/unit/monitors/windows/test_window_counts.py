"""Windows as counts."""

import numpy as np
import pytest

from monitors.errors import WindowError
from monitors.windows.latency_bins import bin_of_rank, latency_bin, latency_bin_limits
from monitors.windows.window_counts import LabelCount, Outcome
from tests.support.monitor_examples import NOON, labelled, tally
from tests.support.store_rows import is_new_for


@pytest.mark.parametrize("milliseconds", [0.0, 0.004, 0.01, 0.0101, 1.0, 4.99, 5.0, 250.0, 60_000.0])
def test_a_latency_lies_within_the_limits_of_its_bin(milliseconds: float) -> None:
    low, high = latency_bin_limits(latency_bin(milliseconds))
    assert low <= milliseconds <= high * (1 + 1e-9)
    assert high <= max(0.01, 1.021 * milliseconds)


def test_a_latency_beyond_all_bins_is_in_the_last() -> None:
    assert latency_bin(1e12) == latency_bin(1e15)


@pytest.mark.parametrize("milliseconds", [-1.0, float("nan"), float("inf")])
def test_an_impossible_latency_is_refused(milliseconds: float) -> None:
    with pytest.raises(WindowError, match="latency"):
        latency_bin(milliseconds)


def test_the_value_of_a_rank_is_found_in_its_bin() -> None:
    values = np.sort(np.random.default_rng(2).gamma(3, 2, 500))
    bins: dict[int, int] = {}
    for value in values:
        bins[latency_bin(value)] = bins.get(latency_bin(value), 0) + 1
    for rank in (1, 17, 250, 475, 500):
        low, high = latency_bin_limits(bin_of_rank(bins, rank))
        assert low <= values[rank - 1] <= high
    with pytest.raises(WindowError, match="rank 501"):
        bin_of_rank(bins, 501)


def test_labels_of_other_sources_are_left_out() -> None:
    found = tally([*labelled(3, 1), *labelled(2, 0, start=4, source="correction")])
    assert sum(each.n for each in found.labels_from({"audit", "delayed"})) == 4
    assert [each.correct for each in found.labels_from({"correction"})] == [True]


def test_a_class_nobody_knows_is_refused() -> None:
    with pytest.raises(WindowError, match=r"\['1'\] not in .* pass the classes of version 3"):
        tally(labelled(1, 0), classes=("2",))


def test_an_answer_is_new_only_to_readers_that_never_heard_of_it() -> None:
    row = Outcome(11, "p", NOON, NOON, "1", "2", "audit", {"delayed": 10, "audit": 11}, 0.9, 1.0, loss=1.0)
    assert is_new_for(row, {"audit"}, 10)
    assert not is_new_for(row, {"audit", "delayed"}, 10)
    assert is_new_for(row, {"audit", "delayed"}, 9), "both came since this reader last read"
    assert not is_new_for(row, {"correction"}, 0)
    assert not LabelCount("audit", "1", "2", 1.0, 1).correct
