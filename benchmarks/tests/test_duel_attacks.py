"""The attacks on the comparison of versions: none sends an equal version back; read label by label they did."""

import numpy as np
import pytest

from benchmarks.guarantee_attacks import duel


@pytest.mark.parametrize(
    "name",
    [
        "clumps-of-5-at-100-a-day",
        "clumps-of-20-at-100-a-day",
        "worse-at-weekends-at-100-a-day",
        "errors-after-1-d-right-after-7-d",
        "errors-sooner-exponential-at-100-a-day",
        "right-answers-unlabelled-at-100-a-day",
    ],
)
def test_no_attack_sends_an_equal_version_back(name: str) -> None:
    """At most 1 of 100 is promised; of 60 more than 3 would be sent back with a chance of 3 in 1 000 if it were 1."""
    generator = np.random.default_rng(5)
    weeks = [duel.ATTACKS[name](generator) for _ in range(60)]
    assert sum(map(duel.is_sent_back, weeks)) <= 3


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("clumps-of-20-at-100-a-day", 0.2),
        ("worse-at-weekends-at-1000-a-day", 0.9),
        ("errors-after-1-d-right-after-7-d", 0.8),
        ("right-answers-unlabelled-at-1000-a-day", 0.7),
    ],
)
def test_read_label_by_label_the_same_weeks_would_have(name: str, least: float) -> None:
    generator = np.random.default_rng(6)
    assert np.mean([duel.was_sent_back(duel.ATTACKS[name](generator)) for _ in range(60)]) >= least


def test_one_week_of_a_strong_weekend_at_many_labels_decides_nothing() -> None:
    generator = np.random.default_rng(7)
    weeks = [duel.ATTACKS["worse-at-weekends-at-1000-a-day"](generator) for _ in range(6)]
    assert not any(map(duel.is_sent_back, weeks))
