"""Decides whether enough labels have arrived for a retraining that alerts asked for to pass the gate.

A candidate is promoted only when the gate sees its benefit on held-back labels of the world as it is now. Before there
are enough of them even a perfect candidate is refused, and the attempt only brings the breaker nearer. So an attempt
waits until a candidate that regains all that was lost could be expected to gain MIN_EXPECTED_GAINS held-back rows, and
the next one until there are LABEL_GROWTH times as many labels as the last one had. What was lost is estimated with the
labels' weights, for doubtful answers are drawn for review more often than others.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from mlplatform.alerting import alert_records, evaluations
from mlplatform.feedback import outcomes
from mlplatform.promotion import promotion_history
from mlplatform.retraining import retraining_limits, retraining_queue
from pipelines.data import HOLDOUT_SHARE

MIN_EXPECTED_GAINS: Final = 10
"""Six gains and no loss are the least that convinces the gate of a first attempt; some luck is allowed for."""
LABEL_GROWTH: Final = 1.5
MIN_ERROR_INCREASE: Final = 0.005


@dataclass(frozen=True)
class Readiness:
    """The labels there are (since a moment, or all of them), and how many a retraining should have."""

    since: datetime | None
    labels: int
    required_labels: int

    @property
    def is_ready(self) -> bool:
        """Whether there are as many as it should have."""
        return self.labels >= self.required_labels


def assess_readiness(
    connection: Connection,
    queued: retraining_queue.Retraining,
    min_feedback: int,
    now: datetime,
    until: datetime | None = None,
) -> Readiness:
    """How ready the queued retraining is: first by labels of any time, then by those since predictions have been bad.

    Where no alert can say since when, only the former counts. Labels of answers after `until` count nothing: the
    training leaves them out.
    """
    since = alert_records.earliest_change_point(connection, retraining_queue.alerts_of(queued))
    champion = promotion_history.latest_promotion(connection, queued.pipeline)
    total = outcomes.count_labelled(connection, queued.pipeline, until)
    if since is None or champion is None or total < min_feedback:
        return Readiness(None, total, min_feedback)
    name, version = champion.model_name, champion.to_version
    found = outcomes.estimate_errors_since(connection, name, version, since, until=until)
    error_increase = max(MIN_ERROR_INCREASE, found.error_share - _baseline_error_share(connection, champion))
    required = math.ceil(MIN_EXPECTED_GAINS / (HOLDOUT_SHARE * error_increase))
    last_attempt = retraining_limits.last_attempt_start(connection, queued.pipeline, since, now)
    if last_attempt is not None:
        before = outcomes.estimate_errors_since(connection, name, version, since, last_attempt, until)
        required = max(required, math.ceil(LABEL_GROWTH * before.labels))
    return Readiness(since, found.labels, required)


def _baseline_error_share(connection: Connection, champion: promotion_history.Promotion) -> float:
    counts = (
        evaluations.load_baselines(connection, champion.model_name, champion.to_version).get("accuracy", {}).get("")
    )
    return 0.0 if not counts or not counts["total"] else 1 - counts["correct"] / counts["total"]
