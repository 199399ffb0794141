"""The golden set as evidence: that it is an e-value, and what it makes of the detector, by simulation."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from math import factorial, prod

import numpy as np
import pytest

from monitors.errors import WindowError
from monitors.statistics.e_detector import CompositeNull, Observation, start_detector, update_detector
from monitors.statistics.golden_evidence import (
    CELLS,
    expected_largest,
    golden_evidence,
    golden_mean_evidence,
    golden_mean_null,
    golden_null,
)
from monitors.statistics.intervals import binomial_tail, clopper_pearson

START = datetime(2026, 1, 1, tzinfo=UTC)
BUDGET = 1 / timedelta(days=90).total_seconds()


@pytest.mark.parametrize("total", [1, 7, 100, 1000])
@pytest.mark.parametrize("share", [0.0, 0.003, 0.05, 0.5, 0.97])
def test_its_mean_over_golden_sets_is_at_most_one(total: int, share: float) -> None:
    tails = [binomial_tail(errors, total, share) for errors in range(total + 1)] + [0.0]
    mean = sum(
        (tails[errors] - tails[errors + 1]) * golden_evidence(errors, total, share)
        for errors in range(total + 1)
        if tails[errors] - tails[errors + 1] > 0
    )
    assert mean == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("errors", "total"), [(0, 400), (4, 400), (30, 3000), (0, 5), (3, 5), (5, 5), (600, 1000)])
def test_it_rises_with_the_share_so_cells_may_be_taken_at_their_ends(errors: int, total: int) -> None:
    evidence = [golden_evidence(errors, total, share) for share in np.linspace(0, 0.9999, 2000).tolist()]
    assert all(before <= after * (1 + 1e-9) for before, after in pairwise(evidence))


@pytest.mark.parametrize(("errors", "total"), [(0, 400), (4, 400), (100, 10_000), (0, 3), (2, 3), (3, 3)])
def test_the_cells_cover_every_share_and_each_is_as_strict_as_its_strictest(errors: int, total: int) -> None:
    null = golden_null(errors, total, 0.005)
    assert 2 <= len(null.bounds) <= CELLS
    assert list(null.bounds) == sorted(null.bounds)
    assert null.bounds[-1] == 1
    assert list(null.goals) == sorted(null.goals, reverse=True)
    for share in np.linspace(0, 1, 500).tolist():
        place = next(place for place, bound in enumerate(null.bounds) if share + 0.005 <= bound or bound == 1)
        assert 1 / null.goals[place] <= golden_evidence(errors, total, min(share, 1 - 1e-12)) * (1 + 1e-9)


MIXES = [
    ([0.6, 0.3, 0.1, 0.02], [0.02, 0.03, 0.05, 0.9]),
    ([1.0, 0.2, 0.0], [0.01, 0.08, 0.91]),
    ([0.4, 0.1], [0.9, 0.1]),
]


@pytest.mark.parametrize("rows", [1, 5, 30])
@pytest.mark.parametrize(("values", "chances"), MIXES)
def test_the_evidence_of_golden_values_has_a_mean_of_one(values: list[float], chances: list[float], rows: int) -> None:
    expected, mean = 0.0, float(np.dot(values, chances))
    for counts in product(range(rows + 1), repeat=len(values)):
        if sum(counts) == rows:
            chance = factorial(rows) * prod(p**n / factorial(n) for p, n in zip(chances, counts, strict=True))
            expected += chance * golden_mean_evidence(dict(zip(values, counts, strict=True)), max(values), mean)
    assert expected == pytest.approx(1.0)


@pytest.mark.parametrize(("values", "chances"), MIXES)
@pytest.mark.parametrize("rows", [5, 400])
def test_cells_of_a_golden_mean_cover_every_mean_and_each_is_as_strict_as_its_strictest(
    values: list[float], chances: list[float], rows: int
) -> None:
    counts = dict(zip(values, np.random.default_rng(1).multinomial(rows, chances).tolist(), strict=True))
    largest = max(values)
    evidence = [golden_mean_evidence(counts, largest, mean) for mean in np.linspace(0, 0.999 * largest, 500).tolist()]
    assert all(before <= after * (1 + 1e-9) for before, after in pairwise(evidence))
    null, chosen = golden_mean_null(counts, largest, 0.02), golden_mean_null(counts, largest, 0.02, versions=4)
    assert chosen.bounds == null.bounds
    assert chosen.goals == pytest.approx([4 * goal for goal in null.goals])
    assert list(null.bounds) == sorted(null.bounds)
    for mean in np.linspace(0, largest, 300).tolist():
        place = next(place for place, bound in enumerate(null.bounds) if mean + 0.02 <= bound + 1e-12 or bound == 1)
        against = golden_mean_evidence(counts, largest, min(mean, largest * (1 - 1e-12)))
        assert 1 / null.goals[place] <= against * (1 + 1e-9)


def test_golden_values_that_cannot_be_are_refused() -> None:
    for values, largest, versions in (({}, 1.0, 1), ({0.5: 3}, 0.4, 1), ({0.5: 3}, 1.0, 0), ({0.0: 3}, 0.0, 1)):
        with pytest.raises(WindowError, match="cannot be"):
            golden_mean_null(values, largest, 0.02, versions)


@pytest.mark.parametrize(("total", "share"), [(100, 0.01), (400, 0.02), (1000, 0.3), (3000, 0.01)])
@pytest.mark.parametrize("versions", [1, 3, 10])
def test_the_evidence_of_the_best_of_several_versions_is_what_a_simulation_finds(
    total: int, share: float, versions: int
) -> None:
    fewest = np.random.default_rng(1).binomial(total, share, (400_000, versions)).min(axis=1)
    counts, times = np.unique(fewest, return_counts=True)
    found = [golden_evidence(int(errors), total, share) for errors in counts]
    assert expected_largest(total, share, versions) == pytest.approx(np.average(found, weights=times), rel=0.05)


def test_a_version_chosen_among_several_needs_more_evidence() -> None:
    alone, chosen = golden_null(4, 400, 0.005), golden_null(4, 400, 0.005, versions=7)
    assert chosen.bounds == alone.bounds
    assert all(1 <= more / goal <= 7 for goal, more in zip(alone.goals, chosen.goals, strict=True))
    assert max(more / goal for goal, more in zip(alone.goals, chosen.goals, strict=True)) > 2.5
    with pytest.raises(WindowError, match="among 0"):
        golden_null(4, 400, 0.005, versions=0)


@pytest.mark.parametrize(("errors", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_counts_that_cannot_be_are_refused(errors: int, total: int) -> None:
    with pytest.raises(WindowError, match="cannot be"):
        golden_null(errors, total, 0.005)


def delay(null: float | CompositeNull, share: float, seed: int, most: int) -> float:
    """The median labels until alarm at 100 a day."""
    generator, delays = np.random.default_rng(seed), []
    for _ in range(25):
        wrong = generator.random(most) < share
        labels = [Observation(START + timedelta(days=(n + 1) / 100), float(bad)) for n, bad in enumerate(wrong)]
        found = update_detector(start_detector(null, START - timedelta(hours=1)), labels, BUDGET, 20)
        delays.append(found.n if found.alarmed_at else 10 * most)
    return float(np.median(delays))


@pytest.mark.parametrize(("errors", "total", "drop", "most"), [(4, 400, 0.05, 600), (10, 1000, 0.03, 1000)])
def test_a_drop_is_found_sooner_than_against_a_confidence_limit(
    errors: int, total: int, drop: float, most: int
) -> None:
    limit = clopper_pearson(errors, total, 0.99)[1] + 0.005
    share = errors / total + drop
    assert delay(golden_null(errors, total, 0.005), share, 3, most) <= 0.75 * delay(limit, share, 3, most)


def test_right_labels_never_alarm_however_good_the_golden_set() -> None:
    for errors, total in ((0, 5), (0, 400), (30, 3000), (200, 400)):
        files = [Observation(START + timedelta(days=91 * (1 + n // 50)), 0.0) for n in range(500)]
        found = update_detector(start_detector(golden_null(errors, total, 0.005), START), files, BUDGET)
        assert found.alarmed_at is None
        assert found.evidence < 0.25
