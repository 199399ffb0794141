"""Which flights from New York arrive more than 15 minutes late, asked when they are scheduled and the weather is known.

`python make_flights.py DATA` writes the rows; README.md beside this file has the commands.
"""

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from mlplatform.pipeline import Classification, TrainingContext, table

SCHEDULE = ["hour", "weekday", "distance"]
WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
NAMES = ["carrier", "origin", "dest"]


def rows(folder):
    """Every flight that arrived, with its schedule, the weather of its hour, and whether it was late."""
    return pd.read_parquet(folder / "flights.parquet")


def train(context: TrainingContext):
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((codes, NAMES), remainder="passthrough")
    small = {"max_iter": 50, "max_leaf_nodes": 8, "min_samples_leaf": 500}  # larger trees learn which days were stormy
    model = make_pipeline(columns, HistGradientBoostingClassifier(**small, random_state=context.seed))
    return model.fit(context.x, context.y, histgradientboostingclassifier__sample_weight=context.weights)


PIPELINE = table(
    name="flights",
    columns=SCHEDULE + WEATHER + NAMES,
    target="arrival",
    task=Classification(("on time", "late")),
    time="scheduled",
    rows=rows,
    train=train,
    about="Which flights arrive more than 15 minutes late, to warn passengers.",
    card={
        "training_data": "Departures from the three airports of New York in 2013 that arrived, with hourly weather.",
        "caveats": "Flights of one day are late together: a storm is one observation. Cancelled flights are not there.",
    },
    sensitive_columns=["origin"],
    first_accuracy=0.7,  # always naming "on time" is right on 76 %, and warns nobody
)
