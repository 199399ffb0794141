"""A training run."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.data import Examples, images_of
from pipelines.errors import DataError, TrainingError, TrainingStopped
from pipelines.recipe import NetworkRecipe
from pipelines.trainer import EpochMetrics
from pipelines.training.network import build_network
from pipelines.training.training_loop import TrainingResult, fit

Bars = Callable[[int, int], Examples]


def trained(recipe: NetworkRecipe, bars: Bars, seed: int = 0) -> TrainingResult:
    network = build_network(recipe, 2, height=12, width=12, seed=seed)
    return fit(network, recipe, bars(120, 1), bars(40, 2), seed=seed)


def test_a_network_learns_what_is_easy(tiny: NetworkRecipe, bars: Bars) -> None:
    fitted = trained(replace(tiny, epochs=6), bars)
    assert fitted.history[fitted.best_epoch - 1].validation_accuracy >= 0.95
    assert not fitted.network.training


def test_the_same_seed_gives_the_same_weights(tiny: NetworkRecipe, bars: Bars) -> None:
    first = trained(tiny, bars).network.state_dict()
    torch.rand(7)  # the global random state must not matter
    again = trained(tiny, bars).network.state_dict()
    other = trained(tiny, bars, seed=1).network.state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_the_weights_are_those_of_the_best_epoch(tiny: NetworkRecipe, bars: Bars) -> None:
    fitted = trained(replace(tiny, epochs=6, learning_rate=0.05), bars)
    best = min(fitted.history, key=lambda each: each.validation_loss)
    assert fitted.best_epoch == best.epoch
    rows = bars(40, 2)
    with torch.inference_mode():
        logits = fitted.network(torch.from_numpy(images_of(rows.batch)).float().div(255).unsqueeze(1))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(rows.labels))
    assert float(loss) == pytest.approx(best.validation_loss, rel=1e-5)


def test_every_epoch_is_told_as_it_ends(tiny: NetworkRecipe, bars: Bars) -> None:
    told: list[EpochMetrics] = []
    ticks = iter(range(1000))
    network = build_network(tiny, 2, height=12, width=12)
    fitted = fit(network, tiny, bars(40, 1), bars(20, 2), seed=0, on_epoch=told.append, clock=lambda: next(ticks))
    assert tuple(told) == fitted.history
    assert [each.epoch for each in told] == [1, 2, 3]
    assert [each.seconds for each in told] == [1, 1, 1]
    assert fitted.seconds == 7
    assert set(told[0].as_metrics()) >= {"train_loss", "validation_accuracy", "learning_rate"}


def test_training_ends_early_and_slows_down_when_nothing_gets_better(tiny: NetworkRecipe, bars: Bars) -> None:
    recipe = replace(tiny, epochs=40, learning_rate=0.1, patience=4, plateau_patience=0)
    fitted = trained(recipe, bars)
    assert len(fitted.history) == fitted.best_epoch + 4 < 40
    assert fitted.history[-1].learning_rate < 0.1


def test_a_training_stops_when_it_is_asked_to(tiny: NetworkRecipe, bars: Bars) -> None:
    asked = iter([False, False, True])
    network = build_network(tiny, 2, height=12, width=12)
    with pytest.raises(TrainingStopped, match="'tiny' was asked to stop"):
        fit(network, tiny, bars(80, 1), bars(20, 2), seed=0, should_stop=lambda: next(asked))


def test_a_training_that_diverges_is_an_error_not_a_model(tiny: NetworkRecipe, bars: Bars) -> None:
    network = build_network(tiny, 2, height=12, width=12)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="lower the learning rate"):
        fit(network, tiny, bars(40, 1), bars(20, 2), seed=0)


def test_a_last_batch_of_one_row_is_joined_to_the_one_before(tiny: NetworkRecipe, bars: Bars) -> None:
    network = build_network(tiny, 2, height=12, width=12)
    fitted = fit(network, replace(tiny, epochs=1), bars(17, 1), bars(4, 2), seed=0)
    assert len(fitted.history) == 1


@pytest.mark.parametrize(("train_rows", "validation_rows"), [(1, 5), (5, 0)])
def test_too_few_rows_are_refused(tiny: NetworkRecipe, bars: Bars, train_rows: int, validation_rows: int) -> None:
    network = build_network(tiny, 2, height=12, width=12)
    with pytest.raises(DataError, match="at least 2 to train on"):
        fit(network, tiny, bars(train_rows, 1), bars(validation_rows, 2), seed=0)


def test_the_thread_count_is_put_back(tiny: NetworkRecipe, bars: Bars) -> None:
    before = torch.get_num_threads()
    trained(replace(tiny, epochs=1, threads=2), bars)
    assert torch.get_num_threads() == before


CYCLE = {"schedule": "one-cycle", "averaging": 0.9, "label_smoothing": 0.1, "dropout": 0.2}


class Killed(Exception): ...  # noqa: N818 - stands for the end of a process


def killed_after(epoch: int) -> Callable[[EpochMetrics], None]:
    def told(metrics: EpochMetrics) -> None:
        if metrics.epoch == epoch:
            raise Killed

    return told


@pytest.mark.parametrize("changes", [{}, CYCLE, {**CYCLE, "body": "lean", "precision": "bfloat16"}])
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_killed_training_goes_on_to_the_same_weights(
    tiny: NetworkRecipe, bars: Bars, tmp_path: Path, changes: dict[str, Any], epoch: int
) -> None:
    recipe = replace(tiny, **changes)

    def run(on_epoch: Callable[[EpochMetrics], None], kept: Path | None) -> TrainingResult:
        network = build_network(recipe, 2, height=12, width=12, seed=4)
        rows, checks = bars(60, 1), bars(20, 2)
        return fit(network, recipe, rows, checks, seed=4, on_epoch=on_epoch, checkpoint_folder=kept)

    whole = run(lambda _: None, None)
    with pytest.raises(Killed):
        run(killed_after(epoch), tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    told: list[EpochMetrics] = []
    again = run(told.append, tmp_path)
    assert tuple(told) == again.history
    assert again.best_epoch == whole.best_epoch
    assert [replace(each, seconds=0) for each in again.history] == [replace(each, seconds=0) for each in whole.history]
    first, second = whole.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert len(list(tmp_path.iterdir())) == 1  # what was trained is not safe elsewhere yet
    again.discard_checkpoint()
    assert not list(tmp_path.iterdir())


def test_a_training_on_other_rows_begins_anew(tiny: NetworkRecipe, bars: Bars, tmp_path: Path) -> None:
    network = build_network(tiny, 2, height=12, width=12)
    with pytest.raises(Killed):
        fit(network, tiny, bars(60, 1), bars(20, 2), seed=0, on_epoch=killed_after(2), checkpoint_folder=tmp_path)
    network = build_network(tiny, 2, height=12, width=12)
    fitted = fit(network, tiny, bars(60, 3), bars(20, 2), seed=0, checkpoint_folder=tmp_path)
    fresh = fit(build_network(tiny, 2, height=12, width=12), tiny, bars(60, 3), bars(20, 2), seed=0)
    assert torch.equal(fitted.network.state_dict()["0.weight"], fresh.network.state_dict()["0.weight"])
    fitted.discard_checkpoint()
    assert len(list(tmp_path.iterdir())) == 1  # the killed one may still go on


def test_a_training_that_was_asked_to_stop_goes_on_when_started_again(
    tiny: NetworkRecipe, bars: Bars, tmp_path: Path
) -> None:
    done: list[EpochMetrics] = []
    network = build_network(tiny, 2, height=12, width=12)
    with pytest.raises(TrainingStopped):
        fit(
            network,
            tiny,
            bars(60, 1),
            bars(20, 2),
            seed=0,
            on_epoch=done.append,
            should_stop=lambda: len(done) == 2,
            checkpoint_folder=tmp_path,
        )
    asked = itertools.count()
    network = build_network(tiny, 2, height=12, width=12)
    fitted = fit(
        network,
        tiny,
        bars(60, 1),
        bars(20, 2),
        seed=0,
        should_stop=lambda: next(asked) < 0,
        checkpoint_folder=tmp_path,
    )
    assert fitted.history[:2] == tuple(done)
    assert next(asked) == 4  # batches of the last epoch alone


def test_a_cycle_keeps_its_last_epoch_and_the_mean_of_its_weights(tiny: NetworkRecipe, bars: Bars) -> None:
    recipe = replace(tiny, **CYCLE, epochs=4, patience=1)  # type: ignore[arg-type]
    fitted = trained(recipe, bars)
    assert fitted.best_epoch == len(fitted.history) == 4
    plain = trained(replace(recipe, averaging=0.0), bars)
    assert fitted.history[-1].train_loss == plain.history[-1].train_loss
    assert not torch.equal(fitted.network.state_dict()["0.weight"], plain.network.state_dict()["0.weight"])


def test_bfloat16_products_learn_the_same_and_leave_float32_weights(tiny: NetworkRecipe, bars: Bars) -> None:
    recipe = replace(tiny, epochs=6, body="lean")
    whole, halved = trained(recipe, bars), trained(replace(recipe, precision="bfloat16"), bars)
    assert {tensor.dtype for tensor in halved.network.state_dict().values()} == {torch.float32, torch.int64}
    assert halved.history[0].train_loss != whole.history[0].train_loss
    assert halved.history[0].train_loss == pytest.approx(whole.history[0].train_loss, rel=0.05)
    assert halved.history[halved.best_epoch - 1].validation_accuracy >= 0.9


def test_the_fitted_network_lies_in_memory_as_files_want_it(tiny: NetworkRecipe, bars: Bars) -> None:
    fitted = trained(replace(tiny, epochs=1), bars)
    assert all(parameter.is_contiguous() for parameter in fitted.network.parameters())


@pytest.mark.parametrize("device", ["cuda:7", "toaster"])
def test_a_device_that_is_not_there_is_refused_by_name(tiny: NetworkRecipe, bars: Bars, device: str) -> None:
    network = build_network(tiny, 2, height=12, width=12)
    with pytest.raises(TrainingError, match=f"cannot train on '{device}'.*give cpu"):
        fit(network, tiny, bars(40, 1), bars(20, 2), seed=0, device=device)
