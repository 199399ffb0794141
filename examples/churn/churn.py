"""Who leaves within 30 days: a pipeline of one's own from a table, in one file.

`python examples/churn/make_customers.py DATA` writes its rows; README.md beside this file has the commands.
"""

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlplatform.pipeline import Classification, TrainingContext, table

NUMBERS, NAMES = ["age", "income", "balance"], ["plan", "region"]


def rows(folder):
    """Every customer whose month is over: features as they were known on `day`, and whether they left."""
    return pd.read_parquet(folder / "customers.parquet")


def train(context: TrainingContext):
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
        (OneHotEncoder(handle_unknown="ignore"), NAMES),
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=500, random_state=context.seed))
    return model.fit(context.x, context.y, logisticregression__sample_weight=context.weights)


PIPELINE = table(
    name="churn",
    columns=NUMBERS + NAMES,
    target="churned",
    task=Classification(("no", "yes"), costs={("yes", "no"): 5.0, ("no", "yes"): 1.0}),  # (truth, answer)
    time="day",
    group="customer_id",
    rows=rows,
    train=train,
    about="Who leaves within 30 days, for a call by the service team.",
)
