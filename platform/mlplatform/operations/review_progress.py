"""How far the review of drawn predictions is."""

from datetime import timedelta
from typing import Any

from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.feedback.review_tasks import CLAIM_DURATION
from mlplatform.predictions import review_samples, sampling_plans
from mlplatform.promotion import promotion_history


def review_progress(context: AppContext) -> dict[str, Any]:
    """How much was drawn of the champion's answers, how much is settled, since when the oldest waits, by which plan."""
    now, name = context.clock(), context.pipeline.name
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, name)
        if champion is None:
            raise NotFoundError("there is no champion whose answers could be drawn; `platform train` makes the first")
        published = sampling_plans.current_plan(connection, name, champion.to_version)
        spans = {
            words: review_samples.review_progress(
                connection, name, champion.to_version, (now - length, now + CLAIM_DURATION)
            )
            for words, length in (("24h", timedelta(days=1)), ("7d", timedelta(days=7)))
        }
    return {
        "version": champion.to_version,
        "plan": None if published is None else published.plan,
        "since": None if published is None else published.at,
        "windows": [{"window": words, **vars(each)} for words, each in spans.items()],
    }
