"""Models as MLflow stores them, written by hand, and golden rows of customers for them."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skops.io import dump

NUMBERS, NAMES = ["age", "income"], ["plan"]
SIGNATURE = [
    {"type": "long", "name": "age"},
    {"type": "double", "name": "income"},
    {"type": "string", "name": "plan"},
]


def customer_frame(count: int = 400, seed: int = 0) -> pd.DataFrame:
    """Customers with missing incomes and plans; the young and those on basic leave."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, count)
    income = rng.lognormal(8, 0.4, count)
    income[rng.random(count) < 0.1] = np.nan
    plan = np.array(["basic", "gold", None], dtype=object)[rng.integers(0, 3, count)]
    leaves = (age - 50) / 10 + (plan == "gold") * 2 + rng.normal(0, 0.5, count) < 0
    return pd.DataFrame(
        {
            "customer": [f"c{number}" for number in range(count)],
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(count) % 60, unit="D"),
            "age": age,
            "income": income,
            "plan": plan,
            "churned": np.where(leaves, "yes", "no"),
        }
    )


def fitted_pipeline(frame: pd.DataFrame) -> Pipeline:
    """A pipeline of scikit-learn, fitted on the rows as their owner has them."""
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
        (OneHotEncoder(handle_unknown="ignore"), NAMES),
    )
    return make_pipeline(columns, LogisticRegression()).fit(frame[NUMBERS + NAMES], frame["churned"])


def write_mlflow_model(folder: Path, model: object, stored: str = "skops") -> Path:
    """A folder as `mlflow.sklearn.save_model` writes one, with skops or a pickle."""
    folder.mkdir()
    file = f"model.{'skops' if stored == 'skops' else 'pkl'}"
    if stored == "skops":
        dump(model, folder / file)
    else:
        (folder / file).write_bytes(pickle.dumps(model))
    flavors = {"python_function": {}, "sklearn": {"pickled_model": file, "serialization_format": stored}}
    document = {"flavors": flavors, "signature": {"inputs": json.dumps(SIGNATURE)}}
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    return folder
