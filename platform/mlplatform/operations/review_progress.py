"""Counts how far the review of drawn predictions is."""

from datetime import timedelta

from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.feedback.review_tasks import CLAIM_DURATION
from mlplatform.operations.views import ReviewStatus, ReviewWindow
from mlplatform.predictions import review_samples, sampling_plans
from mlplatform.promotion import promotion_history


def review_progress(context: AppContext) -> ReviewStatus:
    """How much was drawn of the champion's predictions in a day and a week, and how much of that is settled.

    Raises NotFoundError without a champion.
    """
    now, name = context.clock(), context.pipeline.name
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, name)
        if champion is None:
            raise NotFoundError("there is no champion whose answers could be drawn; `platform train` makes the first")
        published = sampling_plans.current_plan(connection, name, champion.to_version)
        windows = []
        for title, length in (("24h", timedelta(days=1)), ("7d", timedelta(days=7))):
            interval = (now - length, now + CLAIM_DURATION)
            progress = review_samples.review_progress(connection, name, champion.to_version, interval)
            windows.append(ReviewWindow(title, progress.drawn, progress.settled, progress.oldest_open))
    return ReviewStatus(
        version=champion.to_version,
        plan=None if published is None else published.plan,
        since=None if published is None else published.at,
        windows=windows,
    )
