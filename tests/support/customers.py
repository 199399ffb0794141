"""Rows of mixed columns with missing values and categories that were never seen, for tests of exports."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.batch import Batch
from registry.model_contract import Column, ModelContract, TableInputs
from registry.prediction_task import Classification

NUMBERS, TEXTS = ("age", "income", "balance"), ("plan", "region")
CLASSES = ("no", "maybe", "yes")
CONTRACT = ModelContract(
    TableInputs((*(Column(name, "number") for name in NUMBERS), *(Column(name, "category") for name in TEXTS))),
    Classification(CLASSES),
    truth="event",
)


def customers(count: int, seed: int, *, unseen: bool = False) -> tuple[Batch, NDArray[np.object_]]:
    """Rows, and whether each customer left; `unseen` adds a plan that training never had."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, count).astype(np.float64)
    income, balance = rng.lognormal(8, 0.6, count), rng.normal(0, 1000, count)
    income[rng.random(count) < 0.1] = np.nan
    balance[rng.random(count) < 0.05] = np.nan
    plans = np.array(["basic", "silver", "gold", None, *(["platinum"] if unseen else [])], dtype=object)
    plan = plans[rng.integers(0, len(plans), count)]
    region = np.array(["north", "south", "east", "west"], dtype=object)[rng.integers(0, 4, count)]
    score = (age - 50) / 20 + np.nan_to_num(balance) / 800 + (plan == "gold") * 1.5
    score = score - np.where(np.isnan(income), 1, np.log(np.nan_to_num(income, nan=1.0)) - 8)
    left = np.where(score + rng.normal(0, 1, count) > 1, "yes", np.where(score > -0.3, "maybe", "no")).astype(object)
    return Batch({"age": age, "income": income, "balance": balance, "plan": plan, "region": region}), left
