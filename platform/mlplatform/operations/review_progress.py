"""Counts how far the review of drawn predictions is, and says what reviewers skip."""

from collections.abc import Mapping
from datetime import timedelta

from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.feedback.review_tasks import CLAIM_DURATION
from mlplatform.operations.views import ReviewStatus, ReviewWindow
from mlplatform.predictions import review_samples, sampling_plans
from mlplatform.promotion import promotion_history
from monitors.statistics.review_sampling import CONFIDENCE_CUTS, DISAGREEMENT_STRATUM


def review_progress(context: AppContext) -> ReviewStatus:
    """How much was drawn of the champion's predictions in a day and a week, and how much of that is settled.

    Raises NotFoundError without a champion.
    """
    now, name = context.clock(), context.model_name
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


def skipped_reviews_sentence(settled: Mapping[str, float]) -> str:
    """What reviewers skip, in words, by the share of its drawn answers that each group labels beside the best one."""
    groups = ", ".join(
        f"{review_group_text(group)} {share:.0%}" for group, share in sorted(settled.items(), key=lambda item: item[1])
    )
    return (
        f"reviewers label some drawn answers more often than others ({groups} of what the most labelled group has): "
        "labels weigh accordingly from the next plan on, which is right only if what they skip within a group does not "
        "depend on being right; label every answer that `platform audit next` shows"
    )


def review_group_text(group: str) -> str:
    """A group of drawn answers in words."""
    if group == DISAGREEMENT_STRATUM:
        return "where two versions differ"
    cuts = (0.0, *CONFIDENCE_CUTS, 1.0)
    return f"confidence {cuts[int(group)]:.0%} to {cuts[int(group) + 1]:.0%}"
