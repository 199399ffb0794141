"""A watched table: a champion whose version noted how its rows were spread, and rows answered at any moment."""

from collections.abc import Iterable
from datetime import datetime

import numpy as np

from mlplatform.context import AppContext
from mlplatform.ids import uuid7
from mlplatform.predictions.prediction_records import PredictionWithInput, insert_predictions
from mlplatform.store.prediction import PredictionRecord
from pipelines.inputs.column_counter import with_profile
from pipelines.inputs.table_codec import TableCodec
from registry.model_contract import Column, ModelContract, TableInputs
from registry.prediction_task import Classification
from tests.support.monitoring_world import promote
from tests.support.platform_world import FakeCatalog

Values = tuple[float | None, str | None]


def customers(count: int, seed: int, *, older: float = 0.0, gaps: float = 0.0, new_plan: float = 0.0) -> list[Values]:
    """Ages and plans; with shares of people that are older, of ages that are missing and of a plan that is new."""
    rng = np.random.default_rng(seed)
    ages = rng.integers(18, 70, count).astype(float)
    ages[rng.random(count) < older] = 69.0
    plans = np.where(rng.random(count) < 0.3, "gold", "free").astype(object)
    plans[rng.random(count) < new_plan] = "platinum"
    missing = rng.random(count) < gaps
    return [(None if gap else age, plan) for age, plan, gap in zip(ages.tolist(), plans, missing, strict=True)]


def profiled_columns(rows: Iterable[Values]) -> tuple[Column, Column]:
    ages, plans = zip(*rows, strict=True)
    return (
        with_profile(Column("age", "number", low=18, high=69), np.array(ages, dtype=np.float64)),
        with_profile(Column("plan", "category", known=("free", "gold")), np.array(plans, dtype=object)),
    )


COLUMNS = profiled_columns(customers(6_000, seed=0))
CONTRACT = ModelContract(TableInputs(COLUMNS), Classification(("no", "yes")), truth="event")
CODEC = TableCodec(COLUMNS)


def promote_table(context: AppContext, version: int = 1, contract: ModelContract = CONTRACT) -> None:
    """Make a version champion whose rows are customers."""
    assert isinstance(context.catalog, FakeCatalog)
    context.catalog.contracts["digits", version] = contract
    promote(context, version)


def answer_rows(
    context: AppContext,
    rows: Iterable[Values],
    at: datetime,
    version: int = 1,
    instance: str = "one",
    codec: TableCodec = CODEC,
) -> list[str]:
    """Record answers to these rows, all at one moment; returns their ids."""
    made = []
    for content in codec.rows_of(list(rows)):
        record = PredictionRecord(
            id=uuid7(), at=at, model_name="digits", model_version=version, image_hash=content.content_hash, label="no",
            probabilities=[0.9, 0.1], confidence=0.9, latency_ms=1.0, request_id="", client_id="",
        )  # fmt: skip
        made.append(PredictionWithInput(record, content))
    with context.database.write() as connection:
        insert_predictions(connection, made, instance)
    return [each.prediction.id for each in made]
