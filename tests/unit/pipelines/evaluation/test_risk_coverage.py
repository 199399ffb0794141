"""What is accepted unseen at which error."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.evaluation.risk_coverage import accepted_shares, best_operating_point, operating_points, point_at


def test_the_curve_accepts_the_surest_first_and_equal_ones_together() -> None:
    confidences = np.array([0.9, 0.5, 0.9, 0.7])
    right = np.array([True, False, False, True])
    points = operating_points(confidences, right)
    assert [(point.threshold, point.accepted, point.error) for point in points] == [
        (0.9, 0.5, 0.5),
        (0.7, 0.75, pytest.approx(1 / 3)),
        (0.5, 1.0, 0.5),
    ]
    assert operating_points(np.zeros(0), np.zeros(0, bool)) == ()


def test_most_is_accepted_that_keeps_the_error_also_behind_an_early_mistake() -> None:
    confidences = np.linspace(1, 0, 101)
    right = np.ones(101, bool)
    right[3] = False
    points = operating_points(confidences, right)
    assert best_operating_point(points, 0.01).accepted == 1.0
    assert best_operating_point(points, 0.001).accepted == pytest.approx(3 / 101)
    assert best_operating_point(operating_points(confidences[:1], ~right[:1]), 0.01).accepted == 0.0


def test_a_threshold_chosen_elsewhere_is_held_against_these_readings() -> None:
    point = point_at(np.array([0.9, 0.8, 0.2]), np.array([True, False, True]), 0.8)
    assert [point.accepted, point.error] == pytest.approx([2 / 3, 0.5])
    assert point_at(np.array([0.1]), np.array([True]), 0.8).accepted == 0.0


def test_shares_say_how_far_the_rows_prove_them() -> None:
    confidences = np.linspace(1.0, 0.5, 200)
    right = np.ones(200, bool)
    right[[100, 150, 160]] = False
    least, _, most = accepted_shares(confidences, right)
    assert (least.accepted, least.wrong) == (100, 0)
    assert (most.accepted, most.wrong) == (150, 1)
    assert most.threshold == pytest.approx(confidences[149])
    assert least.limits[0] < least.share == 0.5 < least.limits[1]
    assert 0.03 < least.error_limits[1] < 0.04
    assert accepted_shares(confidences[:1], ~right[:1])[2].accepted == 0
