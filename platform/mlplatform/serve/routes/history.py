"""Routes of how the served model did over a time: volume, accuracy with its limits, latency."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.routing import APIRoute
from pydantic import Field

from mlplatform.context import AppContext
from mlplatform.promotion import promotion_history
from mlplatform.schema_base import NO_NUL_PATTERN, ApiModel
from mlplatform.serve.openapi_examples import TIMESTAMP, response_example
from mlplatform.serve.schemas import PROBLEM_RESPONSES, IsoTime
from mlplatform.web.model_series import ModelSeries, load_series, serving_versions
from mlplatform.web.time_ranges import DEFAULT_RANGE, TIME_RANGES, time_range

SECOND: Final = timedelta(seconds=1)
HISTORY_EXAMPLE: Final = {
    "model": "digits",
    "range": "7d",
    "stretch_seconds": 21600,
    "source": "audit",
    "versions": [7, 6],
    "points": [
        {
            "at": TIMESTAMP,
            "answers": 4200,
            "labels": 118,
            "accuracy": 0.983,
            "low": 0.941,
            "high": 0.998,
            "p50_ms": 2.1,
            "p95_ms": 3.4,
        }
    ],
}


class HistoryPointOut(ApiModel):
    """One stretch of time; accuracy with limits of 95 % where it has labels, latencies where it was measured."""

    at: IsoTime
    answers: int
    labels: int
    accuracy: float | None
    low: float | None
    high: float | None
    p50_ms: float | None
    p95_ms: float | None


class HistoryOut(ApiModel):
    """The stretches that had anything, oldest first; `source` is the kind of labels that estimates accuracy."""

    model: str
    range: str
    stretch_seconds: int = Field(description="How long one stretch is.")
    source: str = Field(description="audit or delayed, whichever has more labels; empty without any.")
    versions: list[int] = Field(description="The versions that are counted, newest first.")
    points: list[HistoryPointOut]


def history_router(context: AppContext, route_class: type[APIRoute]) -> APIRouter:
    """GET of the served model's history."""
    router = APIRouter(route_class=route_class, tags=["models"], responses=PROBLEM_RESPONSES)
    names = ", ".join(known.name for known in TIME_RANGES)

    @router.get("/v1/models/history", responses=response_example(HISTORY_EXAMPLE))
    def history(
        range_name: Annotated[
            str, Query(alias="range", max_length=40, pattern=NO_NUL_PATTERN, description=f"One of {names}.")
        ] = DEFAULT_RANGE,
        version: Annotated[
            int | None, Query(ge=1, lt=2**31, description="This version alone; those that served otherwise.")
        ] = None,
    ) -> HistoryOut:
        """How the served model did over a time, from counts that are kept; its cost does not grow with the traffic."""
        period, now, model = time_range(range_name), context.clock(), context.model_name
        with context.database.read() as connection:
            promotions = promotion_history.promotion_history(connection, model, limit=1000)
            versions = serving_versions(promotions, period.start(now)) if version is None else [version]
            series = load_series(connection, model, versions, period, now)
        return HistoryOut(
            model=model,
            range=period.name,
            stretch_seconds=period.stretch // SECOND,
            source=series.source,
            versions=versions,
            points=_points(series),
        )

    return router


def _points(series: ModelSeries) -> list[HistoryPointOut]:
    volume, accuracy = dict(series.volume), {estimate.at: estimate for estimate in series.accuracy}
    median, p95 = dict(series.latency(0.5)), dict(series.latency(0.95))
    points = []
    for at in sorted(volume.keys() | accuracy.keys()):
        estimate = accuracy.get(at)
        points.append(
            HistoryPointOut(
                at=at,
                answers=volume.get(at, 0),
                labels=0 if estimate is None else estimate.n,
                accuracy=None if estimate is None else estimate.value,
                low=None if estimate is None else estimate.low,
                high=None if estimate is None else estimate.high,
                p50_ms=median.get(at),
                p95_ms=p95.get(at),
            )
        )
    return points
