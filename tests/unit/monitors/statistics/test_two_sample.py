"""Two samples of pictures, held against each other measure by measure."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from monitors.statistics.two_sample import (
    EMBEDDING,
    FeatureSample,
    classifier_two_sample_test,
    compare_samples,
    ks_p_value,
)

Floats = NDArray[np.float64]


def cloud(seed: int, n: int, shift: float = 0.0, width: float = 1.0, d: int = 8) -> Floats:
    made: Floats = np.random.default_rng(seed).normal(0, width, (n, d))
    made[:, 0] += shift
    return made


@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 0.0, 0.12), (1.0, 0.2, 0.5), (6.0, 0.98, 1.0)])
def test_samples_are_told_apart_as_far_as_they_lie_apart(shift: float, least: float, most: float) -> None:
    apart, p = classifier_two_sample_test(cloud(1, 300), cloud(2, 300, shift), 0.01)
    assert least <= apart <= most
    assert (p <= 0.01) == (shift > 0)


def test_a_sample_that_is_only_wider_is_told_apart_too() -> None:
    apart, p = classifier_two_sample_test(cloud(1, 300), cloud(2, 300, width=1.7), 0.01)
    assert apart > 0.3
    assert p <= 0.01


def test_samples_of_one_distribution_are_told_apart_at_most_as_often_as_the_level_says() -> None:
    p_values = [classifier_two_sample_test(cloud(seed, 60), cloud(1_000 + seed, 60), 0.05)[1] for seed in range(300)]
    for level in (0.2, 0.1, 0.05):
        assert np.mean([p <= level for p in p_values]) <= level + 3 * np.sqrt(level * (1 - level) / 300)


def test_samples_that_are_all_one_point_are_not_told_apart() -> None:
    apart, p = classifier_two_sample_test(np.ones((30, 3)), np.ones((30, 3)), 0.05)
    assert apart == 0
    assert p > 0.05


def test_the_left_out_prediction_is_that_of_a_ridge_that_never_saw_the_picture() -> None:
    first, newest = cloud(1, 20), cloud(2, 20, 1.0)
    rows = np.concatenate([first, newest])
    distances = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    kernel = np.exp(-distances / np.median(distances[np.triu_indices(40, 1)])) + 1
    marks, right = np.repeat([1.0, -1.0], 20), 0
    for place in range(40):
        rest = np.delete(np.arange(40), place)
        learnt = np.linalg.solve(kernel[np.ix_(rest, rest)] + np.eye(39), marks[rest])
        right += int((kernel[place, rest] @ learnt > 0) == (marks[place] > 0))
    assert classifier_two_sample_test(first, newest, 0.5)[0] == pytest.approx(max(0.0, 2 * right / 40 - 1), abs=1e-9)


def test_each_number_of_a_picture_and_the_embedding_are_measured_under_their_names() -> None:
    generator = np.random.default_rng(3)
    first = FeatureSample({"mean": generator.normal(0, 1, 200), "noise": generator.normal(0, 1, 200)}, cloud(1, 200))
    newest = FeatureSample({"mean": generator.normal(2, 1, 150), "noise": generator.normal(0, 1, 150)}, cloud(2, 150))
    mean, noise, embedding = compare_samples(
        first, newest, {"mean": "mean light", EMBEDDING: "what the network sees"}, 0.01
    )
    assert (mean.name, mean.text, noise.text, embedding.text) == (
        "mean",
        "mean light",
        "noise",
        "what the network sees",
    )
    assert mean.distance == pytest.approx(0.68, abs=0.1)  # of two normal distributions, two deviations apart
    assert mean.p_value < 1e-6
    assert min(noise.p_value, embedding.p_value) > 0.01


@pytest.mark.parametrize("n", [12, 40, 500])
def test_the_p_value_of_two_empirical_distributions_is_exact(n: int) -> None:
    assert ks_p_value(n, 0) == 1
    for steps in (n // 4 + 1, n // 2):
        generator = np.random.default_rng(steps)
        first = np.arange(n, dtype=float)
        newest = first + steps - 0.5
        theirs = ks_2samp(first, newest, method="exact")
        assert compare_samples(FeatureSample({"x": first}), FeatureSample({"x": newest}), {}, 0.1)[
            0
        ].distance == pytest.approx(theirs.statistic)
        assert ks_p_value(n, steps) == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-12)
        mixed = generator.permutation(newest)
        assert compare_samples(FeatureSample({"x": mixed}), FeatureSample({"x": first}), {}, 0.1)[
            0
        ].p_value == pytest.approx(theirs.pvalue)


def test_equal_values_never_make_a_difference_surer_than_it_is() -> None:
    generator, p_values = np.random.default_rng(8), []
    for _ in range(1_000):
        sides = [FeatureSample({"x": generator.integers(0, 4, 100).astype(float)}) for _ in range(2)]
        p_values.append(compare_samples(sides[0], sides[1], {}, 0.1)[0].p_value)
    for level in (0.1, 0.05, 0.01):
        assert np.mean([p <= level for p in p_values]) <= level


def test_a_model_without_an_embedding_is_watched_by_the_plain_numbers() -> None:
    numbers = {"mean": np.arange(50.0)}
    assert [
        each.name for each in compare_samples(FeatureSample(numbers), FeatureSample(numbers, cloud(1, 50)), {}, 0.01)
    ] == ["mean"]
