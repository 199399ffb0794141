"""Inputs that wait for reviewers: drawn ones, tasks, and predictions of which another version says something else."""

from datetime import timedelta

from mlplatform.context import AppContext
from mlplatform.predictions import sampling_plans, shadow_predictions
from mlplatform.predictions.shadow_predictions import ShadowPrediction
from mlplatform.store import tasks
from monitors.statistics.review_sampling import SamplingPlan
from tests.support.monitoring_world import promote, with_rules
from tests.support.platform_world import prediction, recorded


def draw_all(context: AppContext) -> None:
    """From now on every prediction of version 1 is drawn."""
    promote(with_rules(context))
    with context.database.write() as connection:
        since = context.clock() - timedelta(minutes=1)
        sampling_plans.publish(connection, "digits", 1, SamplingPlan(uniform=1.0).to_json(), since)


def drawn(context: AppContext, count: int = 3) -> list[str]:
    """Drawn predictions."""
    return recorded(context.database, *(prediction(context.clock(), seed=seed) for seed in range(count)))


def undrawn(context: AppContext, count: int = 2) -> list[str]:
    """Predictions of a version that is not drawn from."""
    return recorded(context.database, *(prediction(context.clock(), seed=seed, version=2) for seed in range(count)))


def open_audit(context: AppContext, prediction_ids: list[str], about: str = "3") -> str:
    """A label audit of these predictions; returns its task."""
    details = {"class": about, "predictions": [{"id": key, "doubt": 0.5, "why": "uncertain"} for key in prediction_ids]}
    with context.database.write() as connection:
        task = tasks.open_task(connection, "label-audit", "digits", details, context.clock())
    assert task is not None
    return task


def disagreeing(context: AppContext, prediction_ids: list[str], label: str = "8") -> None:
    """Let version 3 say something of its own of these predictions."""
    rows = [ShadowPrediction(key, 3, "trial", context.clock(), label, [0.1] * 10, 0.9, 1.0) for key in prediction_ids]
    with context.database.write() as connection:
        shadow_predictions.insert_shadow_predictions(connection, rows)
