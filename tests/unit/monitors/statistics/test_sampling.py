"""Sampling plans: their budget, their floor, and that what is drawn speaks for the whole."""

from dataclasses import replace

import numpy as np
import pytest

from monitors.errors import WindowError
from monitors.statistics.review_sampling import (
    SamplingPlan,
    draw_among_differing,
    make_sampling_plan,
    poisson_draw,
    settled_shares,
    stratum_of,
    with_disagreements,
)

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


@pytest.mark.parametrize("chance", [0.0, 1.1, float("nan"), 1e-13])
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


@pytest.mark.parametrize("answers_a_day", [1e5, 1e7, 1e8, 1e10])
def test_a_plan_keeps_its_budget_at_any_traffic(answers_a_day: float) -> None:
    answers = {name: many * answers_a_day / 10_000 for name, many in ANSWERS.items()}
    assert expected(make_sampling_plan(100, answers, ERROR), answers) == pytest.approx(100, rel=1e-6)


def test_a_share_of_the_budget_goes_to_answers_on_which_versions_differ_and_the_floor_stays() -> None:
    plan, alone = with_disagreements(300, ANSWERS, ERROR, 0.4, 0.5, 600), make_sampling_plan(300, ANSWERS, ERROR, 0.4)
    assert plan.differing == pytest.approx(0.25)
    assert expected(plan, ANSWERS) == pytest.approx(150)
    assert plan.uniform == pytest.approx(alone.uniform)
    few = with_disagreements(300, ANSWERS, ERROR, 0.5, 0.5, 30)
    assert few.differing == 1
    assert expected(few, ANSWERS) == pytest.approx(270), "what they are too few to use goes to the others"
    assert SamplingPlan.from_json(plan.to_json()) == plan
    assert with_disagreements(300, {"1 0": 40.0}, {}, 0.5, 0.5, 5) == SamplingPlan(1.0, differing=1.0)


def test_drawing_where_the_versions_differ_leaves_every_estimate_unbiased() -> None:
    """Errors lie where the versions differ; accuracy and difference are estimated by one over the stored chances."""
    rng, n, repetitions = np.random.default_rng(5), 6_000, 60
    differs = rng.random(n) < 0.05
    new_wrong = np.where(differs, rng.random(n) < 0.6, rng.random(n) < 0.01)
    old_wrong = differs & ~new_wrong
    asked = rng.random(n) < 0.7
    plan = SamplingPlan(0.02, {"3 0": 0.1}, differing=0.4)
    confidence = np.where(rng.random(n) < 0.1, 0.5, 0.99)
    errors, losses, drawn = [], [], []
    for repetition in range(repetitions):
        error = loss = 0.0
        for place in range(n):
            draw = draw_among_differing if asked[place] and differs[place] else poisson_draw
            chance = draw(plan, f"{place}", f"{repetition}", "3", confidence[place])
            if chance is not None:
                error += new_wrong[place] / chance
                loss += (float(new_wrong[place]) - float(old_wrong[place])) / chance
                drawn.append(place)
        errors.append(error / n)
        losses.append(loss / n)
    for estimates, truth in ((errors, new_wrong.mean()), (losses, (new_wrong * 1.0 - old_wrong).mean())):
        assert np.mean(estimates) == pytest.approx(truth, abs=3 * np.std(estimates) / np.sqrt(repetitions))
    assert np.mean(differs[drawn]) > 0.25, "one label in four, where one answer in twenty differs"


def test_whoever_was_drawn_before_the_other_version_was_asked_is_drawn_now() -> None:
    plan = SamplingPlan(0.1, differing=0.3)
    for place in range(300):
        first = poisson_draw(plan, f"{place}", "salt", "3", 0.5)
        assert first is None or draw_among_differing(plan, f"{place}", "salt", "3", 0.5) == 0.3


def test_reviewers_who_skip_sure_answers_are_told_from_luck() -> None:
    skipping = {"1 0": (60, 60), "7 0": (40, 40), "1 3": (200, 40), "7 3": (100, 22), "7 2": (9, 0)}
    assert settled_shares(skipping) == {"0": 1.0, "3": pytest.approx(62 / 300)}
    assert settled_shares({"1 0": (100, 55), "1 3": (300, 160), "versions differ": (80, 38)}) == {}
    assert settled_shares({"1 0": (100, 100), "1 3": (300, 300)}) == settled_shares({}) == {}
    assert settled_shares({"1 0": (100, 100), "1 3": (3000, 0)})["3"] == 0.05
    generator, found = np.random.default_rng(1), 0
    for _ in range(2000):
        found += bool(settled_shares({name: (80, int(generator.binomial(80, 0.6))) for name in ("1 0", "1 1", "1 3")}))
    assert found <= 8, "1 in 1 000 is found by luck"


def test_labels_weigh_by_what_reviewers_settle() -> None:
    """Doubtful answers are all labelled, sure ones 1 in 5; the estimate of the error is that of all answers."""
    rng = np.random.default_rng(6)
    answers, error = {"1 0": 300.0, "1 3": 2_700.0}, {"1 0": 0.08, "1 3": 0.002}
    plan = make_sampling_plan(500, answers, error)
    corrected = replace(plan, settled={"0": 1.0, "3": 0.2})
    assert SamplingPlan.from_json(corrected.to_json()) == corrected
    assert corrected.max_weight == pytest.approx(5 * plan.max_weight)
    estimates: dict[str, list[float]] = {"as drawn": [], "as settled": []}
    for _ in range(400):
        sums = {"as drawn": [0.0, 0.0], "as settled": [0.0, 0.0]}
        for name, many in answers.items():
            labelled = rng.binomial(int(many), plan.chance(name) * (1.0 if name == "1 0" else 0.2))
            wrong = rng.binomial(labelled, error[name])
            for key, weight in (
                ("as drawn", 1 / plan.chance(name)),
                ("as settled", 1 / corrected.inclusion(name, plan.chance(name))),
            ):
                sums[key][0] += weight * wrong
                sums[key][1] += weight * labelled
        for key, (weighted_wrong, weighted) in sums.items():
            estimates[key].append(weighted_wrong / weighted)
    truth = sum(many * error[name] for name, many in answers.items()) / 3_000
    assert np.mean(estimates["as settled"]) == pytest.approx(truth, abs=4 * float(np.std(estimates["as settled"])) / 20)
    assert np.mean(estimates["as drawn"]) > 2.5 * truth
