"""Gaffke's test and bounds."""

import numpy as np
import pytest
from scipy import stats

from monitors.statistics.gaffke import gaffke_quantile
from registry.gate.bounded_mean import positive_mean_p_value, ratio_bounds
from registry.gate.paired_comparison import mcnemar_exact

BOTH = (-1.0, 1.0)


@pytest.mark.parametrize(("gained", "lost"), [(1, 0), (6, 0), (5, 1), (9, 3), (60, 30), (3, 9)])
def test_on_rows_that_weigh_the_same_it_is_mcnemars_test(gained: int, lost: int) -> None:
    values = np.repeat([1.0, -1.0, 0.0], [gained, lost, 50])
    exact, ours = mcnemar_exact(lost, gained), positive_mean_p_value(values, -1.0)
    assert exact <= ours <= min(1.0, 1.08 * exact)


def test_values_on_one_side_are_certain_or_say_nothing() -> None:
    assert positive_mean_p_value(np.array([-0.5, 0.0]), -1.0) == 1.0
    assert positive_mean_p_value(np.array([0.5] * 200), 0.0) == 0.0
    assert positive_mean_p_value(np.zeros(0), -1.0) == 1.0


def test_the_formula_agrees_with_integration() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        values = generator.choice([-1, 0, 1], 60, p=[0.1, 0.6, 0.3]) * generator.choice([0.05, 0.3, 1], 60)
        places, counts = np.unique(values, return_counts=True)
        cells = [(1.0, (1 + value) / 2, int(n)) for value, n in zip(places.tolist(), counts.tolist(), strict=True)]
        integrated = 2 * gaffke_quantile([*cells, (1.0, 0.0, 1)], 0.05) - 1
        assert ratio_bounds(values, np.ones(60), BOTH, 0.05)[0] == pytest.approx(integrated, abs=0.01)


def test_bounds_without_rows_are_the_limits_and_narrow_with_rows() -> None:
    assert ratio_bounds(np.zeros(0), np.zeros(0), BOTH, 0.05) == BOTH
    assert ratio_bounds(np.array([-1.0]), np.ones(1), BOTH, 0.05)[0] == -1.0
    few, many = (ratio_bounds(np.zeros(n), np.ones(n), BOTH, 0.05) for n in (50, 500))
    assert few[0] < many[0] < 0 < many[1] < few[1]
    assert few[0] == pytest.approx(-few[1], abs=1e-5)


def test_rows_that_count_less_move_the_ratio_less() -> None:
    sizes = np.repeat([1.0, 0.1], [40, 400])
    low, high = ratio_bounds(sizes * np.repeat([0, 1], [40, 400]), sizes, (0.0, 1.0), 0.05)
    assert low < 0.5 < high


@pytest.mark.parametrize(("rows", "students"), [(60, 0.25), (200, 0.07)])
def test_a_few_large_losses_among_small_gains_deceive_student_and_not_gaffke(rows: int, students: float) -> None:
    """The mean is 0: 98 % gain 0.02, 2 % lose 0.98. Nominal level 5 %."""
    generator, runs = np.random.default_rng(1), 400
    values = np.where(generator.random((runs, rows)) < 0.02, -0.98, 0.02)
    low = values.mean(1) - stats.t.ppf(0.95, rows - 1) * values.std(1, ddof=1) / rows**0.5
    assert np.mean(low > 0) > students
    shown = np.mean([positive_mean_p_value(each, -1.0) < 0.05 for each in values])
    assert shown <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
