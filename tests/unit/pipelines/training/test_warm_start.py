"""The warm start of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines.data import Examples
from pipelines.engines.exportable import build_exportable, save_exportable
from pipelines.engines.torch_engine import TorchEngine, load_torch_engine
from pipelines.recipe import NetworkRecipe
from pipelines.training.network import build_network
from pipelines.training.training_loop import fit
from pipelines.training.warm_start import load_matching_weights

Bars = Callable[[int, int], Examples]


def champion(recipe: NetworkRecipe, bars: Bars, folder: Path) -> TorchEngine:
    network = build_network(recipe, 2, height=12, width=12, seed=1)
    fit(network, replace(recipe, epochs=6), bars(120, 1), bars(40, 2), seed=1)
    save_exportable(build_exportable(network, height=12, width=12), folder / "model.pt2")
    return load_torch_engine(folder / "model.pt2", ("upright", "lying"))


@pytest.mark.parametrize("body", ["plain", "lean"])
def test_a_network_built_alike_answers_as_the_champion_does(
    tiny: NetworkRecipe, bars: Bars, tmp_path: Path, body: str
) -> None:
    recipe = replace(tiny, body=body)  # type: ignore[arg-type]
    before = champion(recipe, bars, tmp_path)
    network = build_network(recipe, 2, height=12, width=12, seed=2)
    assert load_matching_weights(network, before)
    save_exportable(build_exportable(network, height=12, width=12), tmp_path / "again.pt2")
    batch = bars(30, 3).batch
    assert (load_torch_engine(tmp_path / "again.pt2", ("upright", "lying"))(batch) == before(batch)).all()


def test_training_on_leaves_the_champion_as_it_is(tiny: NetworkRecipe, bars: Bars, tmp_path: Path) -> None:
    before = champion(tiny, bars, tmp_path)
    answers = before(bars(30, 3).batch)
    network = build_network(tiny, 2, height=12, width=12, seed=2)
    assert load_matching_weights(network, before)
    fitted = fit(network, replace(tiny, epochs=1), bars(120, 1), bars(40, 2), seed=2)
    assert fitted.history[0].validation_accuracy >= 0.95
    assert (before(bars(30, 3).batch) == answers).all()


@pytest.mark.parametrize("changes", [{"channels": (4, 6)}, {"hidden": 8}, {"body": "lean"}, {"channels": (4,)}])
def test_a_network_built_differently_keeps_its_own_weights(
    tiny: NetworkRecipe, bars: Bars, tmp_path: Path, changes: dict[str, object]
) -> None:
    before = champion(tiny, bars, tmp_path)
    network = build_network(replace(tiny, **changes), 2, height=12, width=12)  # type: ignore[arg-type]
    own = {name: value.clone() for name, value in network.state_dict().items()}
    assert not load_matching_weights(network, before)
    assert all(torch.equal(own[name], value) for name, value in network.state_dict().items())
