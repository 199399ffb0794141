"""P-values by permutations."""

import numpy as np
import pytest
from numpy.typing import NDArray

from monitors.errors import WindowError
from monitors.statistics.holm import holm_rejections
from monitors.statistics.permutation_test import ENOUGH_EXCEEDANCES, permutation_p_value

Floats = NDArray[np.float64]


class Draws:
    """Uniform draws that count themselves."""

    def __init__(self, seed: int) -> None:
        self.generator, self.drawn = np.random.default_rng(seed), 0

    def __call__(self, times: int) -> Floats:
        self.drawn += times
        return self.generator.random(times)


@pytest.mark.parametrize("level", [0.5, 0.05, 0.01])
def test_a_true_hypothesis_is_rejected_at_most_as_often_as_the_level_says(level: float) -> None:
    chance = np.random.default_rng(7)
    p_values = np.array([permutation_p_value(float(chance.random()), Draws(seed), 0.005) for seed in range(2_000)])
    assert (p_values <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / 2_000)


def test_what_is_nothing_special_costs_few_draws() -> None:
    draws = Draws(1)
    assert permutation_p_value(0.5, draws, 1e-5) == pytest.approx(0.5, abs=0.2)
    assert draws.drawn == 10 * ENOUGH_EXCEEDANCES


def test_what_is_beyond_every_draw_proves_the_level_asked_for() -> None:
    draws = Draws(2)
    assert permutation_p_value(1.1, draws, 1e-4) == pytest.approx(1 / 20_001)
    assert draws.drawn == 20_000


def test_a_draw_that_equals_the_observation_counts_against_it() -> None:
    assert permutation_p_value(1.0, lambda times: np.ones(times), 0.01) == 1.0


@pytest.mark.parametrize("level", [0.0, 1e-9, 1.5])
def test_a_level_out_of_reach_is_refused(level: float) -> None:
    with pytest.raises(WindowError, match="is out of reach for permutations"):
        permutation_p_value(0.5, Draws(1), level)


def test_holm_rejects_step_by_step_in_the_order_of_the_p_values() -> None:
    assert holm_rejections([0.04, 0.001, 0.02], 0.05) == [True, True, True]
    assert holm_rejections([0.06, 0.001, 0.03], 0.05) == [False, True, False]
    assert holm_rejections([0.2, 0.3], 0.05) == [False, False]
    assert holm_rejections([], 0.05) == []
