"""Retrainings that brought nothing, told to people once each, with what became of the labels; it judges none."""

from collections.abc import Sequence

from sqlalchemy import Connection

from mlplatform.alerting.notifications import enqueue_notice
from mlplatform.context import AppContext
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.label_use import usage_sentence
from monitors.notices.unsuccessful_retraining_notice import UnsuccessfulRetrainingNotice


def enqueue_stall_notice(connection: Connection, context: AppContext, streak: Sequence[str]) -> int:
    """Put a notice about the newest of a streak of useless retrainings into the outbox; returns how many are new."""
    row = retraining_queue.find(connection, streak[0])
    notice = build_stall(context, row, len(streak))
    return enqueue_notice(connection, context, notice, row.finished_at or context.clock())


def build_stall(context: AppContext, row: retraining_queue.Retraining, streak: int) -> UnsuccessfulRetrainingNotice:
    """What to say about a retraining that brought nothing."""
    verdict, base = row.verdict or {}, context.settings.public_url.rstrip("/")
    reasons = [str(each) for each in verdict.get("reasons", ())] or [row.error or f"the retraining {row.state}"]
    return UnsuccessfulRetrainingNotice(
        model=row.pipeline,
        retraining=row.id,
        outcome="rolled back" if row.promoted else str(verdict.get("outcome", row.state)),
        reasons=tuple(reasons),
        label_summary=usage_sentence(verdict),
        streak=streak,
        breaker=context.rules.retraining.breaker,
        at=row.finished_at or context.clock(),
        links={"Dashboard": f"{base}/"} if base else {},
        idempotency_key=f"retraining-useless-{row.id}",
        candidate=row.candidate_version,
    )
