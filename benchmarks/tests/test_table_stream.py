"""The benchmark of tables: the rows that a blind training is validated on teach it nothing."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from benchmarks.tables.stream import TableStream, Versions, blind_monthly, table_rules
from mlplatform.pipeline import Classification, TrainingContext, table

ROWS = 4000


def test_a_blind_training_is_validated_on_rows_that_it_does_not_learn(tmp_path: Path) -> None:
    learnt: list[tuple[set[float], set[float]]] = []

    def train(context: TrainingContext) -> LogisticRegression:
        learnt.append((set(context.x["x"]), set(context.validation_x["x"])))
        return LogisticRegression().fit(context.x, context.y)

    x = np.random.default_rng(0).normal(size=ROWS).round(5) + np.arange(ROWS)
    frame = pd.DataFrame({"x": x, "at": pd.date_range("2013-01-01", "2013-04-30", periods=ROWS)})
    frame["y"] = np.where(np.arange(ROWS) % 2, "yes", "no")
    pipeline = table(
        name="stream",
        columns=["x"],
        target="y",
        time="at",
        task=Classification(("no", "yes")),
        rows=lambda _: frame,
        train=train,
        about="a test",
    )
    stream = TableStream(pipeline, frame, datetime(2013, 3, 1, tzinfo=UTC), table_rules("stream"), 0.02)
    versions = Versions(stream, tmp_path, by_day=True)
    blind_monthly(stream, versions, np.zeros(ROWS, dtype=bool), 45)
    [(taught, validated)] = learnt
    assert not taught & validated
    assert len(taught) > 8 * len(validated) > 0
