"""Two mixes of answered classes."""

import numpy as np
import pytest

from monitors.errors import WindowError
from monitors.statistics.class_mix import ClassCounts, class_mix_p_value, compare_mixes

EVEN = dict.fromkeys("0123456789", 100)


def total_variation(first: ClassCounts, newest: ClassCounts) -> float:
    return compare_mixes(first, newest).total_variation


def drawn(seed: int, n: int, chances: list[float]) -> dict[str, int]:
    counts = np.random.default_rng(seed).multinomial(n, chances)
    return {str(place): int(count) for place, count in enumerate(counts)}


def test_the_distance_is_the_share_of_answers_that_would_have_to_be_others() -> None:
    assert total_variation({"a": 50, "b": 50}, {"a": 5, "b": 5}) == 0
    assert total_variation({"a": 50, "b": 50}, {"a": 3, "b": 1}) == pytest.approx(0.25)
    assert total_variation({"a": 7}, {"b": 9}) == 1


def test_mixes_of_nothing_are_refused() -> None:
    with pytest.raises(WindowError, match="mixes of 0 and 9 answers cannot be compared"):
        total_variation({}, {"a": 9})


def test_equal_mixes_have_a_large_p_value_and_others_a_small_one() -> None:
    assert class_mix_p_value(EVEN, dict.fromkeys(EVEN, 30), 0.01) == 1.0
    assert class_mix_p_value(EVEN, {**dict.fromkeys(EVEN, 30), "3": 90}, 0.001) <= 0.001


def test_a_class_that_was_never_answered_before_counts() -> None:
    assert class_mix_p_value({"a": 500, "b": 500}, {"a": 450, "b": 450, "c": 100}, 0.001) <= 0.001


def test_the_same_samples_always_give_the_same_p_value() -> None:
    newest = drawn(1, 300, [0.1] * 10)
    assert class_mix_p_value(EVEN, newest, 0.01) == class_mix_p_value(EVEN, newest, 0.01)


@pytest.mark.parametrize("n", [40, 400])
def test_equal_mixes_are_told_apart_at_most_as_often_as_the_level_says_even_where_classes_are_rare(n: int) -> None:
    chances = [0.4, 0.3, 0.15, 0.1, 0.03, 0.01, 0.005, 0.003, 0.0015, 0.0005]
    p_values = [
        class_mix_p_value(drawn(seed, 1_000, chances), drawn(10_000 + seed, n, chances), 0.02) for seed in range(600)
    ]
    for level in (0.1, 0.05, 0.02):
        wrong = sum(p <= level for p in p_values) / len(p_values)
        assert wrong <= level + 3 * (level * (1 - level) / len(p_values)) ** 0.5


@pytest.mark.parametrize("classes", [10, 62, 200, 1_000])
@pytest.mark.parametrize("moved", [0.0, 0.1, 0.3])
def test_the_distance_beyond_luck_means_the_same_however_many_classes_there_are(classes: int, moved: float) -> None:
    generator = np.random.default_rng(classes)
    before = np.full(classes, 1 / classes)
    now = np.concatenate([np.full(classes // 2, (0.5 - moved)), np.full(classes // 2, (0.5 + moved))]) * 2 / classes
    found = []
    for _ in range(3):
        first, newest = (named(generator.multinomial(5_000, mix).tolist()) for mix in (before, now))
        found.append(compare_mixes(first, newest).distance)
    assert np.mean(found) == pytest.approx(moved, abs=0.045)


def named(counts: list[int]) -> dict[str, int]:
    return {str(place): count for place, count in enumerate(counts)}


def test_without_the_correction_luck_alone_is_over_a_threshold_of_a_fifth() -> None:
    found = compare_mixes(drawn(1, 1_000, [0.001] * 1_000), drawn(2, 1_000, [0.001] * 1_000))
    assert found.total_variation > 0.4
    assert found.distance < 0.15


def test_counts_beyond_a_thousand_million_are_compared_too() -> None:
    assert compare_mixes({"a": 800_000_000, "b": 1}, {"a": 400_000_000, "b": 400_000_000}).distance == pytest.approx(
        0.5, abs=0.001
    )
