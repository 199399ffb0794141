"""The scikit-learn pipeline that every system answers with: 16 numbers and 4 categories, always the same.

It needs pandas and scikit-learn alone, and is fitted where it is needed: no pickle travels.
"""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = [f"n{place}" for place in range(16)]
NAMES = [f"c{place}" for place in range(4)]
CLASSES = ("no", "yes")
ROWS = 4000


def make_rows(count: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Rows with their truth; one number in twenty is missing."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({name: rng.normal(0, 1, count).round(4) for name in NUMBERS})
    for name in NAMES:
        rows[name] = rng.choice(["red", "green", "blue", "white", "black"], count)
    score = rows["n0"] - rows["n1"] + (rows["c0"] == "red") + rng.normal(0, 0.5, count)
    rows["truth"] = np.where(score > 0, "yes", "no")
    rows[NUMBERS] = rows[NUMBERS].mask(rng.random((count, len(NUMBERS))) < 0.05)
    return rows


def unfitted() -> Pipeline:
    """Imputer, scaler, one-hot encoder and a logistic regression."""
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
        (OneHotEncoder(handle_unknown="ignore"), NAMES),
    )
    return make_pipeline(columns, LogisticRegression(max_iter=500))


def fitted() -> Pipeline:
    """The pipeline, fitted on the rows."""
    rows = make_rows()
    return unfitted().fit(rows[NUMBERS + NAMES], rows["truth"])
