"""Two samples counted by cell: p-values that are never too small, and a distance beyond luck."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from monitors.errors import WindowError
from monitors.statistics.cell_counts import _upper_tail, cells_p_value, distance_beyond_luck

ORDER = (5, 0, 1, 2, 3, 4, 6)
"""Five bins of numbers, below, above and missing, as columns lay them out."""


@pytest.mark.parametrize(("size", "other", "total"), [(50, 80, 30), (400, 100, 90), (9, 9, 9)])
def test_the_bound_of_a_tail_is_never_below_it_and_close_where_it_matters(size: int, other: int, total: int) -> None:
    counts = np.arange(max(0, total - other), min(size, total) + 1, dtype=float)
    bound = _upper_tail(counts, np.full_like(counts, total), np.full_like(counts, size), np.full_like(counts, other))
    exact = hypergeom.sf(counts - 1, size + other, total, size)
    assert (bound >= exact * (1 - 1e-9)).all()
    far = (exact < 1e-3) & (exact > 0)
    assert far.any()
    assert (bound[far] <= 1.5 * exact[far]).all()


def test_one_table_is_fishers_test_on_both_sides() -> None:
    exact = 2 * hypergeom.sf(19, 200, 24, 100)
    p = cells_p_value((4, 96), (20, 80))
    assert 2 * exact <= p <= 2.2 * exact  # two cells: two tables


@pytest.mark.parametrize("dispersed", [False, True], ids=["even", "uneven"])
def test_healthy_samples_are_blamed_no_more_often_than_the_level_says(dispersed: bool) -> None:
    rng, runs, level = np.random.default_rng(11), 2_000, 0.05
    shares = rng.dirichlet(np.full(8, 0.4 if dispersed else 30.0))
    blamed = sum(
        cells_p_value(rng.multinomial(900, shares).tolist(), rng.multinomial(300, shares).tolist(), ORDER) <= level
        for _ in range(runs)
    )
    assert blamed / runs <= level


def test_values_that_moved_are_found_through_their_order() -> None:
    """Lower values have become a little rarer: no cell tells much, the cuts between them do."""
    reference, newest = (100,) * 10 + (0, 0, 0), (78,) * 5 + (122,) * 5 + (0, 0, 0)
    in_order = (10, *range(10), 11)
    assert cells_p_value(reference, newest) > 0.5
    assert cells_p_value(reference, newest, in_order) < 1e-4


def test_a_value_that_became_common_is_found_however_small_the_level() -> None:
    assert cells_p_value((1000, 1000, 0), (900, 1000, 100)) < 1e-20


def test_cells_that_are_empty_or_full_on_both_sides_decide_nothing() -> None:
    assert cells_p_value((100, 0, 0, 0), (40, 0, 0, 0), (2, 0, 1)) == 1.0
    assert cells_p_value((100, 5), (40, 2)) == 1.0


def test_the_distance_is_what_is_left_beyond_luck() -> None:
    rng, shares = np.random.default_rng(3), np.full(35, 1 / 35)
    alike = [
        distance_beyond_luck(rng.multinomial(2_000, shares).tolist(), rng.multinomial(500, shares).tolist())
        for _ in range(200)
    ]
    assert np.mean(alike) < 0.03
    assert max(alike) < 0.15
    assert distance_beyond_luck((500, 500, 0), (250, 250, 500)) == pytest.approx(0.5, abs=0.01)
    assert distance_beyond_luck((1000, 0), (0, 1000)) == pytest.approx(1, abs=0.01)


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(WindowError, match="wait for the first"):
        cells_p_value((0, 0), (1, 2))
