"""The search for a recipe."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.data import Examples
from pipelines.errors import SearchError
from pipelines.recipe import NetworkRecipe
from pipelines.training.recipe_search import (
    PARENT_TAG,
    SearchResult,
    TrialResult,
    _next_trial,
    _open_study,
    initial_parameters,
    search,
    with_parameters,
)
from tests.support.fake_registry import FakeTracking, bars_family, bars_split

pytest.importorskip("optuna", reason="Optuna is not installed; it comes with the extra `search`")

Bars = Callable[[int, int], Examples]


def run(
    tiny: NetworkRecipe, folder: Path, tracking: FakeTracking, trials: int, told: list[TrialResult] | None = None
) -> SearchResult:
    split = bars_split(12)
    return search(
        bars_family(split),
        replace(tiny, epochs=4),
        split.train,
        split.validation,
        tracking,
        storage=f"sqlite:///{folder / 'search.db'}",
        trials=trials,
        seed=0,
        on_trial=(told if told is not None else []).append,
    )


def test_each_trial_is_a_run_nested_in_the_searchs_and_the_best_wins(tiny: NetworkRecipe, tmp_path: Path) -> None:
    tracking, told = FakeTracking(), list[TrialResult]()
    found = run(tiny, tmp_path, tracking, 3, told)
    parent, *nested = tracking.runs
    assert [each.tags[PARENT_TAG] for each in nested] == [parent.id] * 3
    assert [each.status for each in (parent, *nested)] == ["FINISHED"] * 4
    assert [each.state for each in told] == ["complete"] * 3
    assert told == list(found.trials)
    losses = [min(each.metrics["validation_loss"]) for each in nested]
    assert found.best_trial.number == losses.index(min(losses))
    assert found.best_trial.validation_loss == pytest.approx(min(losses))
    assert found.recipe == with_parameters(replace(tiny, epochs=4), found.best_trial.choices)
    assert found.recipe.name == "tiny+search"
    assert parent.metrics["best_trial"] == [found.best_trial.number]
    assert parent.texts["trials.json"].count('"choices"') == 3


def test_the_first_trial_is_the_recipe_as_it_is(tiny: NetworkRecipe, tmp_path: Path) -> None:
    tracking = FakeTracking()
    run(tiny, tmp_path, tracking, 1)
    params, base = tracking.runs[1].params, tiny.as_params()
    same = {"learning_rate", "batch_size", "dropout", "augmentation_rotation", "augmentation_shear", "channels_2"}
    assert {name: params[name] for name in same} == {name: base[name] for name in same}


def test_a_search_goes_on_where_the_last_one_ended(tiny: NetworkRecipe, tmp_path: Path) -> None:
    first = run(tiny, tmp_path, FakeTracking(), 2)
    second = run(tiny, tmp_path, FakeTracking(), 1)
    assert second.trials[:2] == first.trials
    assert [each.number for each in second.trials] == [0, 1, 2]
    assert (second.best_trial.validation_loss or 0) <= (first.best_trial.validation_loss or 0)


@pytest.mark.slow
def test_trials_that_are_behind_are_broken_off_and_their_runs_say_so(tiny: NetworkRecipe, tmp_path: Path) -> None:
    tracking = FakeTracking()
    found = run(tiny, tmp_path, tracking, 14)
    pruned = [each.number for each in found.trials if each.state == "pruned"]
    assert pruned
    assert min(pruned) >= 5
    for number in pruned:
        assert tracking.runs[1 + number].status == "KILLED"
        assert 2 <= len(tracking.runs[1 + number].metrics["validation_loss"]) < 4
    assert found.best_trial.state == "complete"


def test_movement_scales_how_far_images_are_moved(tiny: NetworkRecipe) -> None:
    moved = with_parameters(tiny, {**initial_parameters(tiny), "movement": 1.5}).augmentation
    assert (moved.rotation, moved.shift, moved.noise) == (7.5, 1.5, 0.0)
    far = replace(tiny, augmentation=replace(tiny.augmentation, stroke=0.9, zoom=0.4))
    most = with_parameters(far, {**initial_parameters(far), "movement": 1.75}).augmentation
    assert (most.stroke, most.zoom) == (1.0, 0.45)


def test_a_search_of_nothing_is_refused(tiny: NetworkRecipe, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="0 trials finds nothing; give 1 or more"):
        run(tiny, tmp_path, FakeTracking(), 0)


def test_workers_that_begin_together_propose_different_trials(tiny: NetworkRecipe, tmp_path: Path) -> None:
    """Both opened the study before either had a trial; each asks in turn, as two processes would."""
    import optuna

    storage = f"sqlite:///{tmp_path / 'search.db'}"
    with _open_study("bars", storage, 0) as one, _open_study("bars", storage, 0) as other:
        workers = (one, other)
        for worker in workers:
            worker.enqueue_trial(initial_parameters(tiny))
        proposed = [_next_trial(workers[number % 2], tiny, 0) for number in range(8)]
        states = [trial.state for trial in one.get_trials()]
    params = [tuple(sorted(trial.params.items())) for trial, _ in proposed]
    assert len(set(params)) == 8
    assert dict(params[0]) == pytest.approx(initial_parameters(tiny))
    assert states.count(optuna.trial.TrialState.PRUNED) == 1, "the base recipe that was asked for twice gives way once"


def test_what_a_trial_is_follows_from_the_seed_and_its_number(tiny: NetworkRecipe, tmp_path: Path) -> None:
    runs = []
    for place in ("a", "b"):
        with _open_study("bars", f"sqlite:///{tmp_path / place}.db", 7) as study:
            runs.append([_next_trial(study, tiny, 7)[0].params for _ in range(4)])
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    "tables", [["trials"], ["predictions", "trials"], ["alembic_version"], ["studies", "experiments"]]
)
def test_a_database_of_something_else_is_refused_and_left_as_it_is(
    tiny: NetworkRecipe, tmp_path: Path, tables: list[str]
) -> None:
    with closing(sqlite3.connect(tmp_path / "search.db")) as connection:
        for name in tables:
            connection.execute(f"CREATE TABLE {name} (x)")
    with pytest.raises(SearchError, match=r"search\.db holds tables of something else.*sqlite:///search\.db"):
        run(tiny, tmp_path, FakeTracking(), 1)
    with closing(sqlite3.connect(tmp_path / "search.db")) as connection:
        assert [row[0] for row in connection.execute("SELECT name FROM sqlite_master ORDER BY 1")] == sorted(tables)
