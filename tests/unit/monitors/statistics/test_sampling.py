"""Sampling plans: their budget, their floor, and that what is drawn speaks for the whole."""

import numpy as np
import pytest

from monitors.errors import WindowError
from monitors.statistics.review_sampling import SamplingPlan, make_sampling_plan, poisson_draw, stratum_of

ANSWERS = {"1 0": 50.0, "1 3": 5_000.0, "7 0": 200.0, "7 3": 4_750.0}
ERROR = {"1 0": 0.4, "1 3": 0.002, "7 0": 0.3, "7 3": 0.004}


def expected(plan: SamplingPlan, answers: dict[str, float]) -> float:
    return sum(plan.chance(name) * many for name, many in answers.items())


@pytest.mark.parametrize("per_day", [20.0, 100.0, 1_000.0, 9_999.0])
@pytest.mark.parametrize("uniform_share", [0.2, 0.5, 1.0])
def test_a_plan_draws_its_budget(per_day: float, uniform_share: float) -> None:
    plan = make_sampling_plan(per_day, ANSWERS, ERROR, uniform_share)
    assert expected(plan, ANSWERS) == pytest.approx(per_day, rel=1e-6)
    assert plan.uniform >= uniform_share * per_day / 10_000 - 1e-12
    assert all(plan.uniform <= plan.chance(name) <= 1 for name in ANSWERS)


def test_doubtful_answers_are_drawn_more_often() -> None:
    plan = make_sampling_plan(300, ANSWERS, ERROR)
    assert plan.chance("1 0") > 3 * plan.chance("1 3")
    assert plan.chance("a new stratum") == plan.uniform


def test_traffic_below_the_budget_is_drawn_whole() -> None:
    assert make_sampling_plan(100, {"1 0": 40, "2 0": 60}, {}) == SamplingPlan(1.0)
    assert make_sampling_plan(100, {}, {}) == SamplingPlan(1.0)


def test_a_plan_comes_back_from_json_as_it_was() -> None:
    plan = make_sampling_plan(300, ANSWERS, ERROR)
    assert SamplingPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    "raw", [{}, {"uniform": 0.1}, {"uniform": "much", "strata": {}}, {"uniform": 0.1, "strata": 3}]
)
def test_what_is_no_plan_is_refused(raw: dict[str, object]) -> None:
    with pytest.raises(WindowError, match="no sampling plan"):
        SamplingPlan.from_json(raw)


@pytest.mark.parametrize("chance", [0.0, 1.1, float("nan"), 1e-9])
def test_an_impossible_chance_is_refused(chance: float) -> None:
    with pytest.raises(WindowError, match="cannot be"):
        SamplingPlan(chance)
    with pytest.raises(WindowError, match="cannot be"):
        SamplingPlan(0.1, {"1 0": chance})


@pytest.mark.parametrize(("per_day", "share"), [(0, 0.5), (-1, 0.5), (float("nan"), 0.5), (10, 0), (10, 1.5)])
def test_an_impossible_budget_is_refused(per_day: float, share: float) -> None:
    with pytest.raises(WindowError, match="cannot be drawn"):
        make_sampling_plan(per_day, ANSWERS, ERROR, share)


def test_a_draw_is_repeatable_and_depends_on_the_salt() -> None:
    plan = SamplingPlan(0.3)
    ids = [f"p{number}" for number in range(2_000)]
    first = [poisson_draw(plan, key, "salt", "1", 0.9) for key in ids]
    assert first == [poisson_draw(plan, key, "salt", "1", 0.9) for key in ids]
    other = [poisson_draw(plan, key, "pepper", "1", 0.9) for key in ids]
    both = sum(a is not None and b is not None for a, b in zip(first, other, strict=True))
    assert 0.06 < both / 2_000 < 0.12, "knowing one salt says nothing about another"


def test_bands_of_confidence_meet_at_the_cuts() -> None:
    bands = [stratum_of("3", confidence) for confidence in (0.0, 0.6, 0.89, 0.9, 0.98, 1.0)]
    assert bands == ["3 0", "3 1", "3 1", "3 2", "3 3", "3 3"]


def test_weighted_labels_of_drawn_answers_speak_for_the_whole() -> None:
    rng = np.random.default_rng(4)
    names = list(ANSWERS)
    strata = rng.choice(4, 10_000, p=np.array(list(ANSWERS.values())) / 10_000)
    wrong = rng.random(10_000) < np.array([ERROR[name] for name in names])[strata]
    confidence = {"0": 0.3, "3": 1.0}
    plan = make_sampling_plan(400, ANSWERS, ERROR)
    shares, numbers = [], []
    for repetition in range(60):
        total = weights = count = 0.0
        for place, (stratum, bad) in enumerate(zip(strata, wrong, strict=True)):
            label, band = names[stratum].split()
            chance = poisson_draw(plan, f"{place}", f"{repetition}", label, confidence[band])
            if chance is not None:
                total, weights, count = total + bad / chance, weights + 1 / chance, count + 1
        shares.append(total / weights)
        numbers.append(count)
    assert np.mean(numbers) == pytest.approx(400, rel=0.03)
    assert np.mean(shares) == pytest.approx(wrong.mean(), abs=3 * np.std(shares) / np.sqrt(60))
