"""How weights move."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from pipelines.recipe import NetworkRecipe
from pipelines.training.optimizer import (
    FINAL_RATE_SHARE,
    INITIAL_RATE_SHARE,
    ScheduledOptimizer,
    WeightAverage,
    one_cycle_rate,
)


def test_one_cycle_climbs_for_a_fifth_and_falls_to_almost_nothing() -> None:
    rates = [one_cycle_rate(step, 100, 2.0) for step in range(100)]
    assert rates[0] == pytest.approx(2.0 * INITIAL_RATE_SHARE)
    assert max(rates) == pytest.approx(rates[20]) == pytest.approx(2.0)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[-1] == pytest.approx(2.0 * FINAL_RATE_SHARE)
    assert one_cycle_rate(500, 100, 2.0) == pytest.approx(2.0 * FINAL_RATE_SHARE)
    assert one_cycle_rate(0, 1, 2.0) > 0


def line(start: float = 1.0) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, start)
    return layer


def test_a_cycles_rate_follows_the_steps_and_a_plateaus_the_validation(tiny: NetworkRecipe) -> None:
    cycle, plateau = (ScheduledOptimizer(line(), replace(tiny, schedule=kind), 10) for kind in ("one-cycle", "plateau"))
    assert cycle.learning_rate == pytest.approx(tiny.learning_rate * INITIAL_RATE_SHARE)
    assert plateau.learning_rate == tiny.learning_rate
    layer = line()
    moved = ScheduledOptimizer(layer, replace(tiny, schedule="one-cycle"), 10)
    moved.step(layer(torch.ones(1, 1)).sum())
    assert moved.learning_rate > tiny.learning_rate * INITIAL_RATE_SHARE
    assert layer.weight.item() < 1.0
    for _ in range(4):
        plateau.end_epoch(1.0)
        cycle.end_epoch(1.0)
    assert plateau.learning_rate == tiny.learning_rate / 2
    assert cycle.learning_rate == pytest.approx(tiny.learning_rate * INITIAL_RATE_SHARE)


def test_an_optimiser_goes_on_where_its_state_was_taken(tiny: NetworkRecipe) -> None:
    recipe = replace(tiny, schedule="one-cycle", weight_decay=0.1)
    layer = line()
    optimiser = ScheduledOptimizer(layer, recipe, 10)
    for _ in range(3):
        optimiser.step(layer(torch.ones(1, 1)).square().sum())
    other = line(layer.weight.item())
    again = ScheduledOptimizer(other, recipe, 10)
    again.restore(copy.deepcopy(optimiser.state()))
    assert again.learning_rate == optimiser.learning_rate
    for one, net in ((optimiser, layer), (again, other)):
        one.step(net(torch.ones(1, 1)).square().sum())
    assert torch.equal(layer.weight, other.weight)


def test_the_mean_forgets_the_start_soon_and_then_moves_slowly() -> None:
    layer = line(0.0)
    average = WeightAverage(layer, 0.99)
    nn.init.constant_(layer.weight, 1.0)
    weight = next(average.network.parameters())
    average.update()
    assert weight.item() == pytest.approx(10 / 11)
    for _ in range(2000):
        average.update()
    assert weight.item() == pytest.approx(1.0, abs=1e-4)
    nn.init.constant_(layer.weight, 2.0)
    average.update()
    assert weight.item() == pytest.approx(1.01, abs=1e-3)


def test_the_mean_takes_the_norms_too_and_counts_them_whole() -> None:
    network = nn.BatchNorm1d(2)
    average = WeightAverage(network, 0.5)
    network.train()
    network(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)) + 5)
    average.update()
    kept = average.network.state_dict()
    assert float(kept["running_mean"].min()) > 0.2
    assert int(kept["num_batches_tracked"]) == 1
