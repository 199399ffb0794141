"""A world whose answers have no labels yet: a champion with a calibration, and traffic of chosen confidence."""

import json
from collections.abc import Iterable

from mlplatform.alerting.evaluations import Evaluation
from mlplatform.context import AppContext
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from tests.support.monitoring_world import RULES, rule, tick
from tests.support.platform_world import FakeCatalog, prediction, recorded

SURE = 0.995
WATCHED = (
    RULES.replace("channels:", "audit: {per_day: 50, boost: 4}\nchannels:", 1)
    + """\
  - {name: expected-drop, metric: expected_drop, above: 2 points, window: 1h, min_samples: 100, severity: info,
      false_alarms: 1 per 90d, notify: [team-slack]}
  - {name: prediction-drift, metric: prediction_drift, above: 15 %, window: 1h, min_samples: 200, severity: info,
      every: 1h, reference: 10m, false_alarms: 1 per 90d, notify: [team-slack]}
"""
)


CALIBRATION = {"offset": 0.0, "slope": 1.0, "rows": 160, "golden": {"54": 980, "30": 20}}


def crown(context: AppContext, version: int, expected: int | None, calibration: object = CALIBRATION) -> None:
    assert isinstance(context.catalog, FakeCatalog)
    tags = {"golden_correct": "990", "golden_total": "1000"}
    if calibration is not None:
        tags["calibration"] = json.dumps(calibration)
    context.catalog.add("digits", version, tags)
    kind: str = "first" if expected is None else "promote"
    promotion_service(context).promote(PromotionRequest("digits", version, expected, kind, "test", "because"))  # type: ignore[arg-type]


def serve(context: AppContext, minutes: int, confidences: Iterable[float], labels: str = "0123456789") -> None:
    """These answers each minute, the classes in turn; the clock moves on."""
    every = list(confidences)
    for _ in range(minutes):
        now = context.clock()
        rows = [prediction(now, label=labels[n % len(labels)], confidence=each) for n, each in enumerate(every)]
        recorded(context.database, *rows)
        tick(context, minutes=1)


def look(context: AppContext, name: str) -> Evaluation:
    made = evaluate(context, rule(context, name), context.clock())
    assert made is not None
    return made
