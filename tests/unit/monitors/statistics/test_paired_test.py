"""The evidence that a new version is worse: its guarantee and its power, by simulation."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from monitors.errors import WindowError
from monitors.statistics.paired_test import EARLY_STAKES, PairedBlock, early_evidence, whole_week_evidence

LEVEL = 0.004
Floats = NDArray[np.float64]


def blocks_of(excess: Floats, size: float = 1.0) -> list[PairedBlock]:
    return [PairedBlock(float(each), size) for each in excess]


def found(generator: np.random.Generator, labels: int, loss: float, runs: int = 400) -> float:
    """How often a week of labels on answers that differ proves a version worse: won 1 %, lost so much more."""
    lost = (0.01 + loss) / (0.02 + loss)
    draws = np.where(generator.random((runs, labels)) < lost, 1.0, -1.0)
    return float(np.mean([whole_week_evidence(blocks_of(row), LEVEL) * LEVEL >= 1 for row in draws]))


@pytest.mark.parametrize(
    ("labels", "loss", "least"),
    [(350, 0.01, 0.99), (700, 0.01, 0.999), (700, 0.005, 0.93), (118, 0.02, 0.95), (50, 0.05, 0.95)],
)
def test_so_many_labels_where_the_versions_differ_prove_a_loss(labels: int, loss: float, least: float) -> None:
    assert found(np.random.default_rng(1), labels, loss) >= least


def test_an_equal_version_is_blamed_no_more_often_than_the_level_says() -> None:
    assert found(np.random.default_rng(2), 300, 0.0, runs=3000) <= LEVEL + 2 * math.sqrt(LEVEL / 3000)


def test_blocks_weigh_by_their_size_and_one_block_proves_nothing() -> None:
    assert whole_week_evidence([PairedBlock(500.0, 500.0)], LEVEL) < 2
    assert early_evidence([PairedBlock(500.0, 500.0)], 500, 0.0) < 2
    mixed = [PairedBlock(20.0, 20.0), *blocks_of(-np.ones(20))]
    assert whole_week_evidence(mixed, LEVEL) < 1


def test_early_evidence_of_a_broken_version_grows_at_once_and_a_loss_below_the_margin_never_does() -> None:
    assert early_evidence(blocks_of(np.ones(30)), 60, 0.05) > 10 / LEVEL
    generator = np.random.default_rng(3)
    saturday = np.where(generator.random(4000) < 0.95, 1.0, -1.0)
    assert early_evidence(blocks_of(saturday), 100_000, 0.05) < 1, "3.6 points worse, on 100,000 answers"
    assert early_evidence(blocks_of(saturday), 100_000, 0.0) > 10 / LEVEL


def test_early_evidence_keeps_its_level_over_all_looks() -> None:
    """A version that is worse by just the margin, looked at after every 20 answers."""
    generator, runs, level = np.random.default_rng(4), 600, 0.05
    proved = 0
    for _ in range(runs):
        outcomes = np.where(generator.random(400) < 0.06, 1.0, np.where(generator.random(400) < 0.01 / 0.94, -1.0, 0.0))
        looks = (
            early_evidence(blocks_of(outcomes[:n][outcomes[:n] != 0]), n, 0.05) * level >= 1 for n in range(20, 401, 20)
        )
        proved += any(looks)
    assert proved / runs <= level + 2 * math.sqrt(level / runs)


def test_no_block_is_no_evidence() -> None:
    assert (early_evidence([], 1000, 0.05), whole_week_evidence([], LEVEL)) == (1.0, 1.0)


@pytest.mark.parametrize(("excess", "size"), [(1.5, 1.0), (0.0, 0.0), (-2.0, 1.0), (math.nan, 1.0)])
def test_a_block_that_cannot_be_is_refused(excess: float, size: float) -> None:
    with pytest.raises(WindowError, match="does not fit a block"):
        PairedBlock(excess, size)


def test_no_stake_can_be_ruined() -> None:
    assert max(EARLY_STAKES) < 1
    assert math.isfinite(early_evidence(blocks_of(np.ones(100_000)), 100_000, 0.05))
