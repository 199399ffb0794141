"""Whether a retraining that alerts asked for could show yet that it helps; it starts nothing.

A candidate is promoted only when the gate sees its benefit on held-back labels of the world as it is now. Before there
are enough of them even a perfect candidate is refused, and the attempt only brings the breaker nearer. So an attempt
waits until a candidate that regains all that was lost could be expected to gain GAINS held-back rows, and the next one
until there are GROWTH times as many labels as the last one had.
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
from pipelines.data import HELD_BACK_SHARE

GAINS: Final = 8
"""Five gains and no loss are the least that an exact McNemar test believes at 5 %; some luck is allowed for."""
GROWTH: Final = 1.5
LEAST_LOSS: Final = 0.005


@dataclass(frozen=True)
class Ripeness:
    """The labels there are (since a moment, or all of them), and how many a retraining should have."""

    since: datetime | None
    labels: int
    needed: int

    @property
    def is_ripe(self) -> bool:
        return self.labels >= self.needed


def ripeness(connection: Connection, queued: retraining_queue.Retraining, min_feedback: int, now: datetime) -> Ripeness:
    """How ripe the queued retraining is: first by labels of any time, then by those since answers have been bad.

    Where no alert can say since when, only the former counts.
    """
    since = alert_records.changed_since(connection, retraining_queue.alerts_of(queued))
    champion = promotion_history.latest(connection, queued.pipeline)
    every = outcomes.all_labels(connection, queued.pipeline)
    if since is None or champion is None or every < min_feedback:
        return Ripeness(None, every, min_feedback)
    name, version = champion.model_name, champion.to_version
    labels, wrong = outcomes.errors_since(connection, name, version, since)
    lost = max(LEAST_LOSS, (wrong / labels if labels else 0.0) - _usual_share(connection, champion))
    needed = math.ceil(GAINS / (HELD_BACK_SHARE * lost))
    tried = retraining_limits.last_attempt(connection, queued.pipeline, since, now)
    if tried is not None:
        before, _ = outcomes.errors_since(connection, name, version, since, known_by=tried)
        needed = max(needed, math.ceil(GROWTH * before))
    return Ripeness(since, labels, needed)


def _usual_share(connection: Connection, champion: promotion_history.Promotion) -> float:
    counts = evaluations.baselines_of(connection, champion.model_name, champion.to_version).get("accuracy", {}).get("")
    return 0.0 if not counts or not counts["total"] else 1 - counts["correct"] / counts["total"]
