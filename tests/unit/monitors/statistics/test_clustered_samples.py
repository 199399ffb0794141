"""Pictures that come writer by writer: whole writers are left out, and permuted together."""

import numpy as np
import pytest

from monitors.statistics.holm import holm_rejections
from monitors.statistics.two_sample import EMBEDDING, FeatureSample, cluster_counts, compare_samples


def written(seed: int, writers: int, side: str, shift: float = 0.0, n: int = 120) -> FeatureSample:
    """Pictures of some writers; a third of the variance is the writer's."""
    generator = np.random.default_rng(seed)
    writer = generator.integers(0, writers, n)
    numbers = generator.normal(size=(writers, 9))[writer] * 0.58 + generator.normal(size=(n, 9)) * 0.82 + shift
    clusters = tuple(f"{side}{number}" for number in writer)
    return FeatureSample({"first": numbers[:, 0]}, numbers[:, 1:], clusters)


def singly(sample: FeatureSample) -> FeatureSample:
    return FeatureSample(sample.features, sample.embedding)


def is_rejected(first: FeatureSample, newest: FeatureSample, level: float) -> bool:
    return any(holm_rejections([test.p_value for test in compare_samples(first, newest, {}, level)], level))


def test_writers_that_differ_are_no_drift_where_each_counts_as_a_whole() -> None:
    level, pairs = 0.1, [(written(seed, 12, "a"), written(500 + seed, 12, "b")) for seed in range(40)]
    clustered = sum(is_rejected(*pair, level) for pair in pairs)
    alone = sum(is_rejected(singly(first), singly(newest), level) for first, newest in pairs[:10])
    assert clustered <= 40 * level + 2 * (40 * level * (1 - level)) ** 0.5
    assert alone >= 8


def test_a_real_difference_is_still_seen() -> None:
    first, newest = written(1, 30, "a"), written(2, 30, "b", shift=1.2)
    tests = compare_samples(first, newest, {}, 0.01)
    assert all(test.p_value <= 0.01 for test in tests)
    assert {test.name: test.distance > 0.3 for test in tests} == {"first": True, EMBEDDING: True}


def test_few_clusters_are_not_compared_and_single_pictures_are_no_clusters() -> None:
    first, newest = written(1, 9, "a"), written(2, 20, "b")
    assert cluster_counts(first, newest) == (9, 20)
    assert compare_samples(first, newest, {}, 0.01) == ()
    names = tuple(str(number) for number in range(240))
    apart = (
        FeatureSample(first.features, first.embedding, names[:120]),
        FeatureSample(newest.features, newest.embedding, names[120:]),
    )
    assert cluster_counts(*apart) is None
    assert compare_samples(*apart, {}, 0.01) == compare_samples(singly(first), singly(newest), {}, 0.01)


def test_a_cluster_in_both_samples_makes_the_test_careful() -> None:
    """The same writers come again: what they have in common hides nothing and accuses nobody."""
    first, newest = written(3, 15, "same"), written(3, 15, "same")
    assert min(test.p_value for test in compare_samples(first, newest, {}, 0.05)) > 0.05


@pytest.mark.parametrize("each", [40, 80])
def test_equally_many_pictures_of_either_sample_are_used(each: int) -> None:
    first, newest = written(1, 30, "a", n=each), written(2, 30, "b")
    counts = cluster_counts(first, newest)
    assert counts is not None
    assert max(counts) <= min(30, each)
    assert len(compare_samples(first, newest, {}, 0.01)) == 2
