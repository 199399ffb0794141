"""Builds the notice about a retraining that brought nothing, with what became of the labels."""

from datetime import datetime

from mlplatform.alerting.links import dashboard_links
from mlplatform.retraining.label_use import usage_sentence
from mlplatform.retraining.retraining_queue import Retraining
from monitors.notices.unsuccessful_retraining_notice import UnsuccessfulRetrainingNotice


def build_unsuccessful_notice(
    row: Retraining, streak: int, breaker: int, public_url: str, now: datetime
) -> UnsuccessfulRetrainingNotice:
    """What to say about a retraining that brought nothing, the newest of a streak; at `breaker` people are asked."""
    verdict = row.verdict or {}
    is_refused = row.state == "succeeded" and not row.promoted and row.error is not None
    reasons = [] if is_refused else [str(reason) for reason in verdict.get("reasons", ())]
    if not reasons:
        reasons = [row.error or f"the retraining {row.state}"]
    outcome = "rolled back" if row.promoted else str(verdict.get("outcome", row.state))
    return UnsuccessfulRetrainingNotice(
        model=row.pipeline,
        retraining=row.id,
        outcome="not approved" if is_refused else outcome,
        reasons=tuple(reasons),
        label_summary=usage_sentence(verdict),
        streak=streak,
        breaker=breaker,
        at=row.finished_at or now,
        links=dashboard_links(public_url),
        idempotency_key=f"retraining-useless-{row.id}",
        candidate=row.candidate_version,
    )
