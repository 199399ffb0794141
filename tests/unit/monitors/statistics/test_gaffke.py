"""Gaffke's quantiles against closed forms, far in the tail and for a million labels."""

from itertools import product

import numpy as np
import pytest
from scipy.special import betaincinv

from monitors.statistics.gaffke import gaffke_quantile

LABELS = (100, 10_000, 1_000_000)
CHANCES = (0.95, 0.99, 0.999, 0.9999)


@pytest.mark.parametrize(("labels", "wrong", "chance"), list(product(LABELS, (0, 1, 5, 50), CHANCES)))
def test_labels_that_weigh_the_same_have_the_exact_limits(labels: int, wrong: int, chance: float) -> None:
    right, bad = labels - wrong, wrong + 1
    exact = float(betaincinv(bad, right, chance))
    assert gaffke_quantile([(3.0, 0.0, right), (3.0, 1.0, bad)], chance) == pytest.approx(exact, rel=1e-6)
    mirrored = gaffke_quantile([(3.0, 1.0, right), (3.0, 0.0, bad)], 1 - chance)
    assert 1 - mirrored == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(("labels", "chance"), list(product(LABELS, CHANCES)))
def test_without_a_wrong_label_unlike_weights_have_the_exact_limits(labels: int, chance: float) -> None:
    cells = [(1.0, 0.0, labels // 2), (1.0 + 1e-9, 0.0, labels // 2), (1.0 + 1e-9, 1.0, 1)]
    exact = float(betaincinv(1, labels, chance))
    assert gaffke_quantile(cells, chance) == pytest.approx(exact, rel=1e-6)
    heavy = gaffke_quantile([(1.0, 0.0, labels), (20.0, 0.0, labels), (20.0, 1.0, 1)], chance)
    odds = heavy / (1 - heavy)
    passed = -labels * (np.log1p(odds / 20) + np.log1p(odds))  # that an exponential exceeds the others' sum
    assert np.exp(passed) == pytest.approx(1 - chance, rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_values_that_are_all_the_same_are_their_own_quantile(value: float) -> None:
    for chance in (0.001, 0.95):
        assert gaffke_quantile([(1.0, value, 20), (7.0, value, 1)], chance) == value
